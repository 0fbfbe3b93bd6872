# -*- test-case-name: tests.server.test_datagrams -*-
"""
DNS over UDP on any Twisted reactor: one datagram at a time through :meth:`IReactorUDP.listenUDP`.

Linux has a faster way (:mod:`kdns.server.mmsg`); this one serves other systems and tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from kdns.core.request import Transport
from kdns.plugin.proxied import Origin
from kdns.server.addresses import plain_address
from kdns.server.listener import Listener
from kdns.server.table import AnswerTable

MAX_QUERY = 4096
"""Bytes of a datagram that are read; a longer query is cut and answered FORMERR."""


def answer_datagram(
    listener: Listener, table: AnswerTable, data: bytes, sender: Origin, send: Callable[[bytes], None]
) -> None:
    """
    Answer one query from the table, else ask the listener.

    :param sender: where it came from; a header may say who asks in truth.
    """
    now = listener.context.clock()
    client, port, local = sender
    if listener.zones.proxy is not None:
        found = listener.zones.proxy.datagram(data, client, port, now)
        if found is None:
            return
        origin, data = found
        if origin is not None:
            client, port, local = origin.client, origin.port, origin.local or local
    key = listener.table_key(data, client)
    if len(data) > 12:
        reply = listener.replay.at_hand(table, key, data[0] << 8 | data[1], client, port, now)
        if reply is not None:
            send(data[:2] + reply)
            return
    listener.receive(data, Transport.UDP, client, port, local, send, table, key)


class DatagramShell(DatagramProtocol):
    """Answers from the answer table, else asks the listener."""

    transport: Any  # Twisted's own annotation of IUDPTransport cannot be called

    def __init__(self, listener: Listener, table: AnswerTable) -> None:
        self._listener = listener
        self._table = table
        self._local = "::"

    def startProtocol(self) -> None:
        """Remember the address that queries are sent to, as far as it is known."""
        host = self.transport.getHost().host if self.transport is not None else ""
        self._local = "::" if host in ("", "0.0.0.0", "::") else host

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Receive one query."""
        sender = Origin(plain_address(addr[0]), addr[1], self._local)
        answer_datagram(self._listener, self._table, data, sender, partial(self._send, addr))

    def _send(self, addr: Any, reply: bytes) -> None:
        if reply and self.transport is not None:
            self.transport.write(reply, addr)
