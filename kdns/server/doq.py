# -*- test-case-name: tests.server.test_doq -*-
"""
DNS over QUIC (RFC 9250): each query has a stream of its own, and its reply ends the stream.

What a client does wrong ends its connection, with the code that says so; replies come in the order in which they are ready.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from kdns.core.request import Transport
from kdns.server.listener import Listener
from kdns.server.quic import MOST_UNSENT, QuicClient, QuicFactory
from kdns.server.table import AnswerTable
from kdns.wire.constants import RCODE_MASK, SERVFAIL, TCP_KEEPALIVE
from kdns.wire.query import options_of, read_query

NO_ERROR = 0x0
INTERNAL_ERROR = 0x1
PROTOCOL_ERROR = 0x2
EXCESSIVE_LOAD = 0x4
"""RFC 9250 section 8.4."""

MOST_PARTIAL = 131_072
"""Bytes of queries of one connection that have come in part."""


class _Partial:
    """A query that has come in part."""

    __slots__ = ("data", "deadline")

    def __init__(self, deadline: float) -> None:
        self.data = bytearray()
        self.deadline = deadline


class DoqClient(QuicClient):
    """One connection."""

    factory: DoqFactory

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._partial: dict[int, _Partial] = {}
        """By stream, the oldest first."""

        self._partial_bytes = 0
        self._asked: dict[int, bool] = {}
        """Streams whose query was asked and whose reply is not sent; whether the client has ended its side."""

        self._open: set[int] = set()
        """Streams whose reply is sent, and on which the client has not said that its query is all."""

    def stream_data(self, number: int, data: bytes, end: bool) -> None:
        """See :class:`QuicClient`."""
        if number & 2:
            self.fail(PROTOCOL_ERROR)  # RFC 9250 section 4.2: only bidirectional streams
            return
        if number in self._asked:
            self._asked[number] = end
            return
        if number in self._open:
            if end:
                self._open.discard(number)
            return
        begun = self._partial.get(number)
        if begun is not None:
            begun.data += data
            self._partial_bytes += len(data)
            data = bytes(begun.data)
        size = int.from_bytes(data[:2], "big") if len(data) >= 2 else -1
        if 0 < size <= len(data) - 2:
            self._forget(number)
            self._take_query(number, data[2 : size + 2], end)
        elif size == 0 or end:
            self.fail(PROTOCOL_ERROR)
        elif begun is None:
            made = self._partial[number] = _Partial(self.factory.listener.context.clock() + self.factory.timeouts.read)
            made.data += data
            self._partial_bytes += len(data)
        if self._partial_bytes > MOST_PARTIAL:
            self.fail(EXCESSIVE_LOAD)

    def _forget(self, number: int) -> None:
        begun = self._partial.pop(number, None)
        if begun is not None:
            self._partial_bytes -= len(begun.data)

    def stream_reset(self, number: int) -> None:
        """See :class:`QuicClient`."""
        if number in self._asked:
            self._asked[number] = True
        elif number in self._open:
            self._open.discard(number)
        else:
            self.fail(PROTOCOL_ERROR)  # before its query was complete (RFC 9250 section 4.3.3)

    def cancelled(self, number: int) -> None:
        """See :class:`QuicClient`."""
        if number in self._partial:
            self._forget(number)
            self._open.add(number)
        elif number in self._asked and not self._asked.pop(number):
            self._open.add(number)

    def deadline(self) -> float | None:
        """See :class:`QuicClient`."""
        oldest = next(iter(self._partial.values()), None)
        return None if oldest is None else oldest.deadline

    def late(self) -> None:
        """See :class:`QuicClient`."""
        self.fail(PROTOCOL_ERROR)

    # Queries

    def _take_query(self, number: int, message: bytes, end: bool) -> None:
        factory = self.factory
        factory.asked(self)
        if (
            self.connection.unsent(MOST_UNSENT) or self.in_flight >= factory.streams
        ):  # those of cancelled streams included
            self._asked[number] = end
            self.refuse(number)
            return
        # RFC 9250 section 4.2.1: the identifier is 0.
        if len(message) < 12 or message[0] or message[1] or message[2] & 0x80:
            self.fail(PROTOCOL_ERROR)
            return
        listener = factory.listener
        key = listener.table_key(message, self.client)
        now = listener.context.clock()
        given = listener.replay.at_hand(factory.table, key, 0, self.client, self.port, now)
        if given is not None:
            self._asked[number] = end
            self._answer(number, b"\0\0" + given)
            return
        query = read_query(message)
        if query is None:
            self.fail(PROTOCOL_ERROR)
        elif isinstance(query, bytes):
            # No plugin sees it. CoreDNS replies only where it is SERVFAIL.
            if query[3] & RCODE_MASK != SERVFAIL:
                self.fail(PROTOCOL_ERROR)
            else:
                self._asked[number] = end
                self._answer(number, query)
        elif query.edns is not None and any(code == TCP_KEEPALIVE for code, _ in options_of(query.edns.options)):
            self.fail(PROTOCOL_ERROR)  # RFC 9250 section 5.5.2
        else:
            self._asked[number] = end
            factory.ask(self, number, message, key)

    def ask(self, number: int, message: bytes, key: bytes) -> None:
        """Ask the listener."""
        factory = self.factory
        self.in_flight += 1
        respond = partial(self._answered, number)
        factory.listener.receive(
            message, factory.transport, self.client, self.port, self.local, respond, factory.table, key
        )

    def _answered(self, number: int, reply: bytes) -> None:
        self.in_flight -= 1
        self.factory.ended_one()
        if not self.ended:
            self._answer(number, reply)
            self.wait_for_turn()

    def _answer(self, number: int, reply: bytes) -> None:
        ended = self._asked.pop(number, None)
        self.factory.count(NO_ERROR)
        if ended is None:
            return  # the client does not want it any more
        if not reply:
            self.connection.reset_stream(number, INTERNAL_ERROR)
        else:
            self.connection.send_stream_data(number, len(reply).to_bytes(2, "big") + reply, True)
        if not ended:
            self._open.add(number)

    def refuse(self, number: int) -> None:
        """There is no room for a query."""
        if not self.ended and self._asked.pop(number, None) is not None:
            self.factory.count(EXCESSIVE_LOAD)
            self.connection.reset_stream(number, EXCESSIVE_LOAD)
            self.wait_for_turn()


class DoqFactory(QuicFactory):
    """All connections of one listener."""

    kind = DoqClient
    spoken = ("doq",)
    excessive_load = EXCESSIVE_LOAD

    def __init__(self, listener: Listener, table: AnswerTable, transport: Transport) -> None:
        super().__init__(listener, table, transport)
        self._responses = listener.context.registry.counter(
            "coredns_dns_quic_responses_total", "Queries over QUIC, by how they ended.", ["server", "status"]
        )
        self._queries: deque[tuple[DoqClient, int, bytes, bytes]] = deque()
        """Those that wait until others are answered."""

        self._planned = False

    def count(self, code: int) -> None:
        """See :class:`QuicFactory`."""
        self._responses.counter(self.listener.label, f"0x{code:x}").value += 1

    @property
    def _most(self) -> int:
        return self.listener.zones.limits.workers

    def ask(self, client: DoqClient, number: int, message: bytes, key: bytes) -> None:
        """Ask the listener, or wait until fewer queries are in flight."""
        if len(self._queries) >= self._most:
            client.refuse(number)
        elif self._queries or self.in_flight >= self._most:
            self._queries.append((client, number, message, key))
        else:
            self.in_flight += 1
            client.ask(number, message, key)

    def ended_one(self) -> None:
        """A query was answered; one that waits goes on."""
        self.in_flight -= 1
        self._let_them_in()

    def _let_them_in(self) -> None:
        if self._queries and self.in_flight < self._most and not self._planned:
            self._planned = True
            self.listener.context.turns.add(self._take_those_that_wait)

    def _take_those_that_wait(self, end: float) -> None:
        self._planned = False
        clock = self.listener.context.clock
        while self._queries and self.in_flight < self._most:
            client, number, message, key = self._queries.popleft()
            if not client.ended:
                self.in_flight += 1
                client.ask(number, message, key)
                if clock() >= end:
                    break
        self._let_them_in()
