# -*- test-case-name: tests.plugins.pprof.test_plugin -*-
"""``pprof [ADDRESS] { block [RATE] }``: pages below ``/debug/pprof/``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from kdns.core.slices import in_slices
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, ListenAddress, parse_int, parse_listen_address
from kdns.plugin.http import HttpListener, Page, QueryPage, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Resource, ServerContext
from kdns.plugins.pprof.profile import Profile, as_pprof, as_text
from kdns.plugins.pprof.taking import PERIOD, Arm, CpuSamples, ObjectCount, by_signal, thread_stacks

DEFAULT_ADDRESS = ListenAddress("localhost", 6053)

DEFAULT_SECONDS = 30.0
MOST_SECONDS = 120.0
"""Seconds that a profile of the processor may take."""

PATIENCE = MOST_SECONDS + 30.0
"""Seconds until the response must have been sent."""

BUSY = Response(b"another profile is being taken\n", 503)

_PAGES = {
    "profile": "functions by processor time, over ?seconds=30; ?debug=1 for text",
    "heap": "objects by type; ?debug=1 for text",
    "goroutine": "where each thread is",
    "cmdline": "the command line",
}

Arguments = Mapping[bytes, list[bytes]]


@dataclass(frozen=True, slots=True)
class PprofConfig:
    """What a ``pprof`` says."""

    address: ListenAddress = DEFAULT_ADDRESS


class PprofDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "pprof"

    def parse(self, tokens: Dispenser, block: Block) -> PprofConfig:
        """``pprof [ADDRESS] { block [RATE] }``, once in a server block; there is nothing like ``block`` in Python."""
        address = DEFAULT_ADDRESS
        for _ in tokens.invocations(once=True):
            for word in tokens.args(0, 1):
                try:
                    address = parse_listen_address(word)
                except BadValue as error:
                    raise tokens.error(str(error)) from None
            for option in tokens.block():
                if option != "block":
                    raise tokens.unknown_property("block")
                for word in tokens.args(0, 1):
                    try:
                        parse_int(word)
                    except BadValue:
                        raise tokens.error(f"property 'block' invalid integer value '{word}'") from None
        return PprofConfig(address)

    def build(self, config: PprofConfig, builder: BlockBuilder) -> None:
        """Run the pages; blocks with the same address share them."""
        listener = listener_for(builder, self.name, config.address)
        builder.keep(("pprof", config.address), config, lambda: PprofPages(builder.context, listener))


directive = PprofDirective()


class PprofPages(Resource):
    """
    The pages.

    :param arm: what samples the stack.
    """

    at_parent = True

    def __init__(self, context: ServerContext, listener: HttpListener, arm: Arm = by_signal) -> None:
        self._context = context
        self._listener = listener
        self._arm = arm
        self._busy: Deferred[Response] | None = None
        self._pages: dict[str, Page | QueryPage] = {
            "/debug/pprof": lambda: Response(b"", 302, location="/debug/pprof/"),
            "/debug/pprof/": self.index,
            "/debug/pprof/profile": QueryPage(self.cpu, PATIENCE),
            "/debug/pprof/heap": QueryPage(self.objects, PATIENCE),
            "/debug/pprof/allocs": QueryPage(self.objects, PATIENCE),
            "/debug/pprof/goroutine": lambda: Response(thread_stacks().encode()),
            "/debug/pprof/cmdline": lambda: Response("\0".join(sys.orig_argv).encode()),
        }

    def start(self) -> None:
        """Open the pages."""
        self._listener.serve(self._pages)

    def stop(self) -> Deferred[None] | None:
        """Close them; a profile that is being taken ends."""
        if self._busy is not None:
            self._busy.cancel()
        return self._listener.withdraw(self._pages)

    def index(self) -> Response:
        """The list of the pages."""
        rows = "".join(f'<li><a href="{name}">{name}</a>: {escape(text)}</li>' for name, text in _PAGES.items())
        page = f"<html><head><title>/debug/pprof/</title></head><body><ul>{rows}</ul></body></html>\n"
        return Response(page.encode(), content_type="text/html; charset=utf-8")

    def cpu(self, arguments: Arguments) -> Response | Deferred[Response]:
        """Functions by processor time."""
        try:
            seconds = float(_last(arguments, b"seconds") or DEFAULT_SECONDS)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= MOST_SECONDS:
            return Response(f"seconds must be a number up to {MOST_SECONDS:g}\n".encode(), 400)
        if self._busy is not None:
            return BUSY
        samples, began = CpuSamples(), self._context.wall()
        disarm = self._arm(samples.take, PERIOD)

        def ended() -> Profile:
            return samples.profile(began, seconds)

        taken = deferLater(self._context.reactor, seconds, ended)
        return self._taken(taken.addBoth(_always(disarm)), arguments)

    def objects(self, arguments: Arguments) -> Response | Deferred[Response]:
        """Objects by type."""
        if self._busy is not None:
            return BUSY
        count = ObjectCount()
        counted = in_slices(self._context.reactor, count.counting(), at_once=False)
        return self._taken(counted.addCallback(lambda _: count.profile(self._context.wall())), arguments)

    def _taken(self, profile: Deferred[Profile], arguments: Arguments) -> Deferred[Response]:
        self._busy = made = profile.addCallback(_response, _last(arguments, b"debug") not in ("", "0"))

        def free(result: object) -> object:
            self._busy = None
            return result

        return made.addBoth(free)


def _always(call: Callable[[], None]) -> Callable[[Profile], Profile]:
    def then(result: Profile) -> Profile:
        call()
        return result

    return then


def _last(arguments: Arguments, name: bytes) -> str:
    return arguments.get(name, [b""])[-1].decode("ascii", "replace")


def _response(profile: Profile, text: bool) -> Response:
    if text:
        return Response(as_text(profile).encode())
    return Response(as_pprof(profile), content_type="application/octet-stream")
