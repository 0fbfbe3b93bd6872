# -*- test-case-name: tests.server.test_doq -*-
"""A client of QUIC for tests on the memory network: aioquic's, driven by the reactor of the test."""

from __future__ import annotations

import ssl
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.tls import SessionTicket
from twisted.internet.protocol import DatagramProtocol

from kdns.testing.memory import MemoryReactor


class QuicPeer(DatagramProtocol):
    """
    A client that keeps what it gets.

    :param ticket: a session to resume.
    :ivar data: what came on each stream.
    :ivar whole: the streams that the server has ended.
    :ivar closed: how the connection ended, once it has.
    """

    transport: Any

    def __init__(
        self,
        reactor: MemoryReactor,
        server: tuple[str, int],
        alpn: str = "doq",
        ticket: SessionTicket | None = None,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> None:
        self.reactor = reactor
        self.data: dict[int, bytes] = {}
        self.whole: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        self.tickets: list[SessionTicket] = []
        self.closed: ConnectionTerminated | None = None
        self.handshake: HandshakeCompleted | None = None
        self.received = 0
        self.silent = False
        """Whether it does not read."""

        self._server = server
        self._timer: Any = None
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[alpn], server_name="dns.test", session_ticket=ticket, **options
        )
        configuration.verify_mode = ssl.CERT_NONE
        self.connection = QuicConnection(configuration=configuration, session_ticket_handler=self.tickets.append)
        self._port = reactor.listenUDP(0, self, host, 65535)

    def connect(self) -> QuicPeer:
        """Shake hands."""
        self.connection.connect(self._server, self.reactor.seconds())
        self.flush()
        self.reactor.settle()
        return self

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Read a datagram."""
        self.received += 1
        if self.silent:
            return
        self.connection.receive_datagram(data, addr, self.reactor.seconds())
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent, and look at what has happened."""
        while (event := self.connection.next_event()) is not None:
            self.happened(event)
        for data, addr in self.connection.datagrams_to_send(self.reactor.seconds()):
            self.transport.write(data, addr)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.connection.get_timer()
        if due is not None:
            self._timer = self.reactor.callLater(max(0.0, due - self.reactor.seconds()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.connection.handle_timer(self.reactor.seconds())
        self.flush()

    def happened(self, event: Any) -> None:
        """Note an event."""
        match event:
            case StreamDataReceived():
                self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
                if event.end_stream:
                    self.whole.add(event.stream_id)
            case StreamReset():
                self.resets[event.stream_id] = event.error_code
            case StopSendingReceived():
                self.stopped[event.stream_id] = event.error_code
            case ConnectionTerminated():
                self.closed = event
            case HandshakeCompleted():
                self.handshake = event

    def send(self, data: bytes, end: bool = True, stream: int | None = None) -> int:
        """Send bytes on a stream, by default a new one."""
        number = self.connection.get_next_available_stream_id() if stream is None else stream
        self.connection.send_stream_data(number, data, end)
        self.flush()
        return number

    def ask(self, message: bytes, end: bool = True) -> int:
        """Send a query behind its length."""
        return self.send(len(message).to_bytes(2, "big") + message, end)

    def reply(self, number: int) -> bytes | None:
        """The message on a stream that has ended."""
        data = self.data.get(number, b"")
        if number not in self.whole or len(data) < 2:
            return None
        assert int.from_bytes(data[:2], "big") == len(data) - 2, "a reply has its length in front"
        return data[2:]

    def leave(self) -> None:
        """Go away without a word."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._port.stopListening()
