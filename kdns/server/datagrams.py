# -*- test-case-name: tests.server.test_datagrams -*-
"""
DNS over UDP on any Twisted reactor: one datagram at a time through :meth:`IReactorUDP.listenUDP`.

Linux has a faster way (:mod:`kdns.server.mmsg`); this one serves other systems and tests.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.protocol import DatagramProtocol

from kdns.core.request import Transport
from kdns.server.addresses import plain_address
from kdns.server.listener import Listener
from kdns.server.table import AnswerTable

MAX_QUERY = 4096
"""Bytes of a datagram that are read; a longer query is cut and answered FORMERR."""


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
        """One query."""
        listener = self._listener
        now = listener.context.clock()
        client = plain_address(addr[0])
        key = listener.table_key(data, client)
        if len(data) > 12:
            reply = listener.replay.at_hand(self._table, key, data[0] << 8 | data[1], client, addr[1], now)
            if reply is not None:
                self._send(addr, data[:2] + reply)
                return
        send = partial(self._send, addr)
        listener.receive(data, Transport.UDP, client, addr[1], self._local, send, self._table, key)

    def _send(self, addr: Any, reply: bytes) -> None:
        if reply and self.transport is not None:
            self.transport.write(reply, addr)
