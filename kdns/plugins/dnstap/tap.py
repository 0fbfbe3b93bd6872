# -*- test-case-name: tests.plugins.dnstap.test_tap -*-
"""
What of a query becomes messages: a link that sees it come, an observer that sees the reply go, a watcher of its queries to upstreams.

A query that is answered from the answer table passes no link; the observer then makes both messages. Inner look-ups of plugins and
explanations are no messages on any wire, and make none here.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from kdns.core.answer import Answer
from kdns.core.attempts import Attempt
from kdns.core.explaining import Note
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.plugin import NOTHING, Link, Next, Reply, Request, ServerContext
from kdns.plugin.replies import DROPPED
from kdns.plugins.dnstap.config import TapConfig
from kdns.plugins.dnstap.frames import data_frame
from kdns.plugins.dnstap.messages import (
    CLIENT_QUERY,
    CLIENT_RESPONSE,
    FORWARDER_QUERY,
    FORWARDER_RESPONSE,
    client_message,
    dnstap,
    forwarder_message,
    head,
)
from kdns.plugins.dnstap.outputs import Output
from kdns.plugins.log.lines import MISSING, VALUES, metadata_value, placeholders

COOKIE_OPTION = b"\x00\x0a\x00\x08"
"""Code and length of an EDNS option that holds a client cookie alone (RFC 7873 section 4)."""

COOKIE = 8
"""Bytes of a client cookie."""


class Extra:
    """The text of ``extra``, a log format: what only the reply knows is missing."""

    def __init__(self, template: str) -> None:
        self._parts = list(placeholders(template)) if template else []

    def text(self, request: Request) -> bytes:
        if not self._parts:
            return b""
        exchange = Exchange(request, Answer(), None, "", "", 0.0)
        own = {"{remote}": request.client, "{port}": str(request.client_port), "{>id}": str(request.ident)}
        found = []
        for before, placeholder in self._parts:
            found.append(before)
            if placeholder in ("{duration}", "{rsize}"):
                found.append(MISSING)
            elif placeholder:
                known = own.get(placeholder)
                value = VALUES.get(placeholder) or metadata_value(placeholder[2:-1])
                found.append(value(exchange) if known is None else known)
        return "".join(found).encode()


class Tap:
    """One ``dnstap``: makes messages and puts them out."""

    def __init__(self, config: TapConfig, output: Output) -> None:
        self.name = output.name
        self.full = config.full
        self.extra = Extra(config.extra)
        self._output = output
        self._head = head(config.identity.encode(), config.version.encode())

    @property
    def wanted(self) -> bool:
        """Whether anybody may read what is made now."""
        return self._output.wanted

    def put(self, message: bytes, extra: bytes) -> None:
        self._output.put(data_frame(dnstap(self._head, extra, message)))

    def query(self, request: Request, query_time: float) -> None:
        query = request.message if self.full else b""
        about = (request.transport, request.client, request.client_port)
        self.put(client_message(CLIENT_QUERY, *about, query_time, query, 0, b""), self.extra.text(request))

    def response(self, request: Request, query_time: float, now: float, reply: bytes) -> None:
        about = (request.transport, request.client, request.client_port)
        response = reply if self.full else b""
        self.put(client_message(CLIENT_RESPONSE, *about, query_time, b"", now, response), self.extra.text(request))

    def attempt(self, attempt: Attempt, extra: bytes, began: float, ended: float) -> None:
        query, reply = (attempt.query, attempt.reply) if self.full else (b"", b"")
        about = (attempt.transport, attempt.local, attempt.remote)
        self.put(forwarder_message(FORWARDER_QUERY, *about, began, query, 0, b""), extra)
        if attempt.reply:
            self.put(forwarder_message(FORWARDER_RESPONSE, *about, began, b"", ended, reply), extra)


class UpstreamTap:
    """Watches one request on its way to upstreams."""

    __slots__ = ("_context", "_request", "_taps")

    def __init__(self, taps: tuple[Tap, ...], request: Request, context: ServerContext) -> None:
        self._taps = taps
        self._request = request
        self._context = context

    def asked_upstream(self, attempt: Attempt) -> None:
        """See :class:`kdns.core.attempts.Watcher`."""
        now = self._context.wall() - self._context.reactor.seconds()
        for tap in self._taps:
            if tap.wanted:
                extra = tap.extra.text(self._request)
                tap.attempt(attempt, extra, now + attempt.began, now + attempt.ended)


class TapLink(Link):
    name = "dnstap"
    varies = NOTHING

    def __init__(self, taps: tuple[Tap, ...], context: ServerContext) -> None:
        self._taps = taps
        self._context = context

    def answer(self, request: Request, next: Next) -> Reply:
        if request.message:  # else it is a look-up of a plugin
            query_time = self._context.wall() - (self._context.clock() - request.arrived)
            for tap in self._taps:
                if tap.wanted:
                    tap.query(request, query_time)
        if not any(isinstance(watcher, UpstreamTap) for watcher in request.watchers):
            watcher = UpstreamTap(self._taps, request, self._context)
            request = replace(request, watchers=(*request.watchers, watcher))
        return next(request)

    def explain(self, request: Request) -> list[Note]:
        return [Note(f"queries and replies are told to {', '.join(tap.name for tap in self._taps)}")]


class TapObserver(Observer):
    repeats = True

    def __init__(self, taps: tuple[Tap, ...], context: ServerContext) -> None:
        self._taps = taps
        self._context = context

    def finished(self, exchange: Exchange) -> None:
        request = exchange.request
        if not request.message:
            return
        now = self._context.wall()
        query_time = now - exchange.seconds
        for tap in self._taps:
            if tap.wanted:
                if exchange.zone == DROPPED:  # no block took the query, so no link saw it
                    tap.query(request, query_time)
                if exchange.reply is not None:
                    tap.response(request, query_time, now, exchange.reply)

    def repeat(self, exchange: Exchange) -> Repeat:
        request = exchange.request
        message = request.message[2:]
        # Queries that differ in the client's cookie alone share an entry; the cookie ends query and reply.
        edns = request.edns
        alone = edns is not None and edns.options[:4] == COOKIE_OPTION and len(edns.options) == 4 + COOKIE
        if alone and exchange.reply is not None and exchange.reply.endswith(message[-COOKIE:]):
            return Repeat(each=partial(self._repeated, request, message[:-COOKIE], COOKIE))
        return Repeat(each=partial(self._repeated, request, message, 0))

    def _repeated(
        self,
        request: Request,
        message: bytes,
        cookie: int,
        client: str,
        port: int,
        ident: int,
        seconds: float,
        reply: bytes = b"",
        /,
    ) -> None:
        now = self._context.wall()
        query_time = now - seconds
        number = ident.to_bytes(2, "big")
        query = number + message + (reply[-cookie:] if cookie else b"")
        asked = replace(request, client=client, client_port=port, ident=ident, message=query)
        for tap in self._taps:
            if tap.wanted:
                tap.query(asked, query_time)
                tap.response(asked, query_time, now, number + reply)
