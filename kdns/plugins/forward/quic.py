# -*- test-case-name: tests.plugins.forward.test_quic -*-
"""
Queries over QUIC (RFC 9250): many on a connection, each on a stream of its own. aioquic has the protocol and does no input or output.

A lost datagram holds up its own query alone, unlike a lost segment of TCP. Sessions are resumed; no early data is sent.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from functools import partial
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection as Protocol
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived, StreamReset
from aioquic.tls import SessionTicket
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from kdns.core.config_files import read_config_file
from kdns.core.timing import stop_timer
from kdns.plugin.quic import SOONEST, free
from kdns.plugins.forward.config import TlsFiles
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.streams import Connection

MOST_STREAMS = 100
"""Queries in flight on a connection: what most servers allow; further ones would wait within the protocol."""

LONGEST = 65_537
"""Bytes of a stream: a message behind its length."""

MOST_DATAGRAM = 1500
"""Bytes of a datagram that are read."""

AT_ONCE = 4
"""Datagrams that are read in one turn of the reactor, which takes a millisecond."""

MOST_QUEUED = 256
"""Datagrams that wait until those before them were read; further ones are dropped, and sent again."""

REQUEST_CANCELLED = 0x3
"""RFC 9250 section 8.4."""

IDLE = 60.0
"""Seconds without a datagram after which a connection ends by itself; the pool closes it earlier."""


def configuration_for(files: TlsFiles, name: str) -> QuicConfiguration:
    """
    The configuration of all connections to an upstream, whose certificate must be for *name*.

    :raises OSError: a file cannot be read.
    :raises ValueError: a file holds no certificate or key.
    """
    made = QuicConfiguration(
        alpn_protocols=["doq"],
        is_client=True,
        idle_timeout=IDLE,
        max_stream_data=LONGEST,
        server_name=name,
        verify_mode=ssl.CERT_REQUIRED,
    )
    if files.authority:
        made.cadata = read_config_file(files.authority)
        if b"-----BEGIN CERTIFICATE-----" not in made.cadata:
            raise ValueError(f"tls: no certificate in {files.authority}")
    else:
        paths = ssl.get_default_verify_paths()
        # A folder has a file for each authority, of which one is read; a file is read whole for each handshake.
        made.capath = paths.capath if paths.capath and os.path.isdir(paths.capath) else None
        made.cafile = None if made.capath else paths.cafile
    if files.certificate:
        for path in (files.certificate, files.key):
            read_config_file(path)  # its errors are those of all other files
        try:
            made.load_cert_chain(files.certificate, files.key)
        except Exception as error:
            raise ValueError(f"tls: no usable certificate or key: {error!r}") from error
    return made


class QuicConnection(Connection):
    protocol = "quic"
    network = "udp"
    shared = True

    def __init__(self, configuration: QuicConfiguration, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._configuration = configuration
        self._quic: Protocol | None = None
        self._datagrams: deque[bytes] = deque()
        self._reading = False
        self._parts: dict[int, bytearray] = {}
        """Replies that have come in part."""

        self._timer: Any = None
        self._address: tuple[str, int] = ("", 0)
        self._why = "closed"

    def most(self) -> int:
        return MOST_STREAMS

    # Dialling

    def connect(self, reactor: Any, host: str, port: int, patience: float, source: str, tls: Any) -> QuicConnection:
        """Open a socket and begin the handshake; it is its own connector."""
        self._address = (host, port)
        self._quic = Protocol(
            configuration=self._configuration, session_ticket_handler=partial(_keep_ticket, self._configuration)
        )
        local = source or ("::" if ":" in host else "0.0.0.0")
        reactor.listenUDP(0, _Socket(self), local, MOST_DATAGRAM)
        self._quic.connect(self._address, self._clock.seconds())
        self._flush()
        return self

    def stopConnecting(self) -> None:
        """See ``IConnector``: dialling is given up."""
        self._end("closed here")

    def refused(self) -> None:
        """Nobody listens there."""
        if self._quic is not None:
            self.dialled(ConnectionRefusedError())
        self._end("connection refused")

    def opened(self, transport: Any) -> None:
        """There is a socket."""
        self.transport = transport
        transport.connect(*self._address)

    # Queries

    def send(self, message: bytes) -> int:
        quic = self._quic
        assert quic is not None, "queries are sent when it is established"
        number = quic.get_next_available_stream_id()
        # RFC 9250 section 4.2.1: the identifier is 0.
        quic.send_stream_data(number, (len(message) + 2).to_bytes(2, "big") + b"\0\0" + message, True)
        self._parts[number] = bytearray()
        self._flush()
        return number

    def forgotten(self, number: int) -> None:
        if self._quic is not None and self._parts.pop(number, None) is not None:
            self._quic.stop_stream(number, REQUEST_CANCELLED)
            self._flush()

    def received(self, data: bytes) -> None:
        """A datagram waits: each takes some tenths of a millisecond."""
        if len(self._datagrams) < MOST_QUEUED:
            self._datagrams.append(data)
        if not self._reading:
            self._reading = True
            self._read()

    def _read(self) -> None:
        """Read some datagrams, and others in the next turn."""
        for _ in range(AT_ONCE):
            if self._datagrams and self._quic is not None:
                self._take(self._datagrams.popleft())
        self._flush()
        self._reading = bool(self._datagrams)
        if self._reading:
            self._clock.callLater(0, self._read)

    def _take(self, data: bytes) -> None:
        quic = self._quic
        assert quic is not None, "it is open"
        try:
            quic.receive_datagram(data, self._address, self._clock.seconds())
        except Exception as error:
            # aioquic refuses most of what is wrong by itself; what it does not foresee ends this connection alone.
            self._end(f"broken protocol: {error!r}")
            return
        self._look_at_events()

    def _look_at_events(self) -> None:
        while self._quic is not None and (event := self._quic.next_event()) is not None:
            match event:
                case HandshakeCompleted():
                    self.establish()
                case StreamDataReceived():
                    self._data(event.stream_id, event.data, event.end_stream)
                case StreamReset():
                    if self._parts.pop(event.stream_id, None) is not None:
                        text = f"stream reset with 0x{event.error_code:x}"
                        self._failed(event.stream_id, text)
                case ConnectionTerminated():
                    self._end(event.reason_phrase or f"closed with 0x{event.error_code:x}")
                    return
        self.rest()

    def _data(self, number: int, data: bytes, end: bool) -> None:
        part = self._parts.get(number)
        if part is None:
            return  # it was given up, or is none of kdns's
        part += data
        if len(part) > LONGEST:
            del self._parts[number]
            self._failed(number, "the reply is too long")
        elif end:
            del self._parts[number]
            if len(part) < 2 or int.from_bytes(part[:2], "big") != len(part) - 2:
                self._failed(number, "malformed reply")
            else:
                self.replied(number, bytes(part[2:]))

    def _failed(self, number: int, text: str) -> None:
        self.replied(number, ExchangeFailed(f"quic {self._upstream}: {text}"))

    # Sending and time

    def _flush(self) -> None:
        quic, transport = self._quic, self.transport
        if quic is None or transport is None:
            return
        now = self._clock.seconds()
        socket: Any = transport
        for data, _ in quic.datagrams_to_send(now):
            try:
                socket.write(data)
            except OSError:
                pass  # lost, as it may be on its way
        stop_timer(self._timer)
        self._timer = None
        due = quic.get_timer()
        if due is not None:
            self._timer = self._clock.callLater(max(SOONEST, due - now), self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._quic is not None:
            self._quic.handle_timer(self._clock.seconds())
            self._look_at_events()
            self._flush()

    # The end

    def abort(self) -> None:
        self.retired = True
        self._end("closed here")

    def _close(self) -> None:
        self._end("closed here")

    def _end(self, why: str) -> None:
        """Tell the server, close the socket, and fail what waits."""
        quic, self._quic = self._quic, None
        if quic is None:
            return
        socket: Any = self.transport
        if socket is not None:
            quic.close()
            for data, _ in quic.datagrams_to_send(self._clock.seconds()):
                try:
                    socket.write(data)
                except OSError:
                    break
        stop_timer(self._timer)
        self._timer = None
        self._datagrams.clear()
        self._parts.clear()
        free(quic)
        self._why = why
        if socket is not None:
            socket.stopListening()
        self.connectionLost(Failure(ConnectionDone(why)))

    def closed_text(self) -> str:
        return f"quic {self._upstream}: {self._why}"


class _Socket(DatagramProtocol):
    """The socket of one connection."""

    def __init__(self, connection: QuicConnection) -> None:
        self._connection: QuicConnection | None = connection

    def startProtocol(self) -> None:
        """The socket is open."""
        if self._connection is not None:
            self._connection.opened(self.transport)

    def stopProtocol(self) -> None:
        """The socket is closed: by the connection, or by a reactor that saw an error at it, which is mostly that nobody listens."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport = None  # no cycle is left
            connection.refused()

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Read a datagram of the server's."""
        if self._connection is not None:
            self._connection.received(data)

    def connectionRefused(self) -> None:
        """Nobody listens there."""
        if self._connection is not None:
            self._connection.refused()


def _keep_ticket(configuration: QuicConfiguration, ticket: SessionTicket) -> None:
    """The next connection resumes the session, without early data."""
    ticket.max_early_data_size = None
    configuration.session_ticket = ticket
