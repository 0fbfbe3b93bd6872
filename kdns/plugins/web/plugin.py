# -*- test-case-name: tests.plugins.web_page.test_plugin -*-
"""
The directive ``web``, and its pages.

The recorder asks the command ``status`` every ten seconds for the plots, and every two seconds while somebody looks. All viewers get the
same bytes. Nothing here changes the server: the pages reach the commands ``status``, ``explain`` without upstreams, and ``corefile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.timing import Timer, stop_timer
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import ListenAddress, parse_listen_address
from kdns.plugin.http import HttpListener, Page, QueryPage, Reply, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Resource, ServerContext
from kdns.plugins.web.history import FIELDS, INTERVAL, History

log = Logger(namespace="plugin/web")

DEFAULT_ADDRESS = ListenAddress("localhost", 9154)

LIVE = 2.0
"""Seconds between two looks while somebody looks at the page."""

MOST_VIEWERS = 50
"""Open pages that are told what happens; further ones are refused."""

TOP = 10
"""Names and clients of each list."""

EXPLAIN_ARGUMENTS = ("name", "type", "client", "search")
MOST_TEXT = 512
"""Characters of one argument of an explanation."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""No inline script or style, nothing from elsewhere, no frame around the page, and no text that becomes markup."""

HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
)

JSON = "application/json"

ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/web/page.css": ("page.css", "text/css; charset=utf-8"),
    "/web/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/web/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Paths, files of the package, and their types."""

Arguments = Mapping[bytes, list[bytes]]


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a ``web`` says."""

    address: ListenAddress = DEFAULT_ADDRESS


class WebDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "web"
    after = "prometheus"

    def parse(self, tokens: Dispenser, block: Block) -> WebConfig:
        """``web [ADDRESS]``, once in a server block."""
        address = DEFAULT_ADDRESS
        for _ in tokens.invocations(once=True):
            for text in tokens.args(0, 1):
                address = tokens.convert(parse_listen_address, text)
                if text.startswith(":"):
                    address = ListenAddress(DEFAULT_ADDRESS.host, address.port)
            for _ in tokens.block():
                raise tokens.unknown_property()
        return WebConfig(address)

    def build(self, config: WebConfig, builder: BlockBuilder) -> None:
        """Run the page; blocks with the same address share it, and all pages of a process share what is recorded."""
        listener = listener_for(builder, self.name, config.address)
        recorder = builder.keep(("web", "recorder"), (), lambda: Recorder(builder.context))
        builder.keep(("web", config.address), config, lambda: WebPages(listener, recorder, builder.context))


directive = WebDirective()


class Recorder(Resource):
    """
    Keeps the last hour, and tells viewers.

    :ivar viewers: the streams that are open.
    """

    at_parent = True

    def __init__(self, context: ServerContext) -> None:
        self.history = History()
        self.viewers: list[Reply] = []
        self._context = context
        self._timer: Timer | None = None
        self._asking: Deferred[Any] | None = None
        self._row_due = 0.0
        self._event = b""

    def start(self) -> None:
        """Take the first look in the next turn, when the server answers."""
        self._timer = self._context.reactor.callLater(0, self._look)

    def stop(self) -> None:
        """Record no more."""
        stop_timer(self._timer)
        self._timer = None
        if self._asking is not None:
            self._asking.cancel()

    def view(self, reply: Reply) -> None:
        """A viewer's stream was opened."""
        self.viewers.append(reply)
        reply.closed().addCallback(lambda _: self._left(reply))
        rows = [*self.history.rows]
        first = event("history", {"interval": INTERVAL, "fields": FIELDS, "rows": rows})
        reply.push(first + self._event)
        if self._timer is not None and len(self.viewers) == 1:
            self._wait(0)

    def _left(self, reply: Reply) -> None:
        if reply in self.viewers:
            self.viewers.remove(reply)

    def _wait(self, seconds: float) -> None:
        stop_timer(self._timer)
        self._timer = self._context.reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._asking = self._ask()
        self._asking.addCallbacks(self._seen, self._failed)

    def _ask(self) -> Deferred[Any]:
        ask = self._context.ask
        return succeed(None) if ask is None else ask("status", {"top": TOP})

    def _seen(self, look: Any) -> None:
        self._asking = None
        now = self._context.reactor.seconds()
        if look is not None:
            row = None
            if now >= self._row_due:
                # From the time it was due, so that rows stay ten seconds apart; not after a pause.
                late = now - self._row_due
                self._row_due = now + INTERVAL - (late if late < INTERVAL else 0.0)
                row = self.history.add(look)
            if self.viewers:
                self._event = event("look", look) + (b"" if row is None else event("row", row))
                for viewer in self.viewers:
                    viewer.push(self._event)
        self._wait(LIVE if self.viewers else max(LIVE, self._row_due - now))

    def _failed(self, failure: Failure) -> None:
        self._asking = None
        if failure.check(CancelledError):
            return
        if _is_refusal(failure):
            self._wait(LIVE)  # no worker process answers yet, or not at this moment
            return
        log.failure("The web page learns nothing about the server", failure=failure)
        self._wait(INTERVAL)


class WebPages(Resource):
    """The pages at one address."""

    at_parent = True

    def __init__(self, listener: HttpListener, recorder: Recorder, context: ServerContext) -> None:
        self._listener = listener
        self._recorder = recorder
        self._context = context
        # At another address than the loopback, people ask by a name that only they know.
        self._local = listener.address.host in ("localhost", "127.0.0.1", "::1")
        self._pages: dict[str, Page | QueryPage] = {
            path: self._page(partial(_asset, _response((folder() / name).read_bytes(), kind)))
            for path, (name, kind) in ASSETS.items()
        }
        self._pages["/web/events"] = self._page(self.events)
        self._pages["/web/explain"] = self._page(self.explain)
        self._pages["/web/corefile"] = self._page(self.corefile)

    def _page(self, make: Any) -> QueryPage:
        return QueryPage(make, local_only=self._local)

    def start(self) -> None:
        """Open the pages."""
        self._listener.serve(self._pages)

    def stop(self) -> Deferred[None] | None:
        """Close them."""
        return self._listener.withdraw(self._pages)

    def events(self, arguments: Arguments) -> Response:
        """``/web/events``: the last hour, and then what happens, as server-sent events."""
        if len(self._recorder.viewers) >= MOST_VIEWERS:
            return _response(b"too many look at this page\n", "text/plain; charset=utf-8", 503)
        return Response(b"retry: 5000\n\n", 200, "text/event-stream", headers=HEADERS, stream=self._recorder.view)

    def explain(self, arguments: Arguments) -> Response | Deferred[Response]:
        """``/web/explain?name=&type=&client=&search=``: how the server would answer, without asking upstreams."""
        wanted = {name: _text(arguments, name) for name in EXPLAIN_ARGUMENTS}
        return self._ask("explain", {**wanted, "forward": False})

    def corefile(self, arguments: Arguments) -> Response | Deferred[Response]:
        """``/web/corefile``: the configuration that runs, and how the file differs."""
        return self._ask("corefile", {})

    def _ask(self, command: str, arguments: Mapping[str, Any]) -> Response | Deferred[Response]:
        ask = self._context.ask
        if ask is None:
            return _json({"error": "this server has no commands"}, 503)
        return ask(command, arguments).addCallbacks(_json, _refused)


def folder() -> Any:
    """Where the files of the page are."""
    return files("kdns.plugins.web") / "assets"


def event(name: str, data: Any) -> bytes:
    """A server-sent event; JSON has no line ends of its own."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def _asset(response: Response, arguments: Arguments) -> Response:
    return response


def _text(arguments: Arguments, name: str) -> str:
    values = arguments.get(name.encode()) or [b""]
    return values[0].decode("utf-8", "replace").strip()[:MOST_TEXT]


def _response(body: bytes, kind: str, status: int = 200) -> Response:
    return Response(body, status, kind, headers=HEADERS)


def _json(data: Any, status: int = 200) -> Response:
    return _response(msgspec.json.encode(data), JSON, status)


def _is_refusal(failure: Failure) -> bool:
    """Whether a command could not be carried out, and says why."""
    return type(failure.value).__name__ == "CommandError"


def _refused(failure: Failure) -> Response:
    """The error of a command; what nobody foresaw goes on to the log."""
    if not _is_refusal(failure):
        failure.raiseException()
    return _json({"error": failure.getErrorMessage()}, 400)
