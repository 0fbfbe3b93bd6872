# -*- test-case-name: tests.server.test_doq -*-
"""
QUIC (RFC 9000) for the listeners that speak above it: DNS over QUIC (:mod:`kdns.server.doq`) and HTTP/3 (:mod:`kdns.server.https3`).

aioquic has the protocol and does no input or output; this module has sockets, timers, and which datagram belongs to which connection.
Datagrams wait for a turn (:mod:`kdns.plugin.turns`), as the bytes of TCP connections do: each takes some tenths of a millisecond, one that
belongs to a handshake two milliseconds. When many handshakes are in progress, clients must first prove their address with a Retry.
"""

from __future__ import annotations

from collections import deque
from os import urandom
from typing import Any, NamedTuple

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.tls import SessionTicket
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from kdns.core.request import Transport
from kdns.core.timing import stop_timer
from kdns.plugin.proxied import Origin
from kdns.plugin.quic import SOONEST, free
from kdns.server.addressed_port import Asked
from kdns.server.addresses import plain_address
from kdns.server.listener import Listener
from kdns.server.quic_core import BoundedConnection, RetryTokens
from kdns.server.secure import FailedHandshakes
from kdns.server.streams import SLICE_SECONDS
from kdns.server.table import AnswerTable

log = Logger(namespace="kdns.server")

MOST_DATAGRAM = 1500
"""Bytes of a datagram that are read; larger ones cannot come through most networks, and their end is not missed."""

LEAST_INITIAL = 1200
"""Bytes of a client's first datagram (RFC 9000 section 14.1)."""

ID_SIZE = 8
"""Bytes of a connection ID that kdns chooses."""

MOST_QUEUED = 32
"""Datagrams of one connection that wait for a turn. Further ones are dropped, which makes a client slow down."""

MOST_NEW = 64
"""First datagrams of clients that wait for a turn."""

MOST_UNPROVEN = 16
"""Handshakes in progress for clients whose address is not proven; with more, clients get a Retry."""

MOST_STREAM_DATA = 98_304
"""Bytes of a stream: the longest message behind its length, or a request of HTTP/3 with its headers."""

MOST_UNSENT = 262_144
"""Bytes of replies that a client has not acknowledged; with more, its queries are refused."""

MOST_TICKETS = 1000
"""Sessions that can be resumed, about 1 KiB each."""

CONNECTIONS = 10_000
"""Connections of a listener where the configuration has no limit; one takes about 50 KiB."""

BAD_CERTIFICATE = QuicErrorCode.CRYPTO_ERROR + 42
"""The alert bad_certificate (RFC 8446 section 6.2, RFC 9001 section 4.8)."""

NO_ERROR = 0x0


class QuicSocket(DatagramProtocol):
    """One socket of a listener."""

    transport: Any

    def __init__(self, factory: QuicFactory) -> None:
        self._factory = factory

    def startProtocol(self) -> None:
        """Remember the address that queries are sent to, as far as it is known."""
        host = self.transport.getHost().host if self.transport is not None else ""
        self.local = "::" if host in ("", "0.0.0.0", "::") else host

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        """Give a datagram to its connection."""
        self.asked(data, addr, None)

    def asked(self, data: bytes, addr: Any, asked: Asked | None) -> None:
        """See :class:`kdns.server.addressed_port.AddressedPort`."""
        self._factory.received(data, addr, Way(self, asked))

    def send(self, data: bytes, addr: Any, asked: Asked | None) -> None:
        """Send a datagram; what cannot be sent is lost, as it may be on its way."""
        if self.transport is None:
            return
        try:
            if asked is None:
                self.transport.write(data, addr)
            else:
                self.transport.send_from(asked, data, addr)
        except OSError:
            pass


class Way(NamedTuple):
    """How a datagram came, and how the answer goes."""

    socket: QuicSocket
    asked: Asked | None

    @property
    def local(self) -> str:
        """The server's address, as far as it is known."""
        return plain_address(self.asked.host) if self.asked is not None else self.socket.local

    def send(self, data: bytes, addr: Any) -> None:
        """Send a datagram."""
        self.socket.send(data, addr, self.asked)


class QuicClient:
    """One connection; subclasses say what is spoken on it."""

    def __init__(self, factory: QuicFactory, connection: BoundedConnection, way: Way, origin: Origin) -> None:
        self.factory = factory
        self.connection = connection
        self.client, self.port, self.local = plain_address(origin.client), origin.port, origin.local or way.local
        self.ids = {connection.host_cid, connection.original_destination_connection_id}
        self.in_flight = 0
        self.ended = False
        self.finishing = False
        self.established = False
        self._way = way
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._queued = False
        self._more = False
        """Whether a datagram brought more than one turn could take."""

        self._timer: Any = None
        self._due = self._timer_at = 0.0
        self.began = factory.listener.context.clock()
        self._tls: Any = factory.listener.zones.tls
        """What the certificate is of; a reload may bring another one to later connections."""

    # What subclasses have.

    def negotiated(self) -> None:
        """The handshake is complete."""

    def stream_data(self, number: int, data: bytes, end: bool) -> None:
        """Bytes of a stream."""
        raise NotImplementedError

    def stream_reset(self, number: int) -> None:
        """The client will send nothing more on a stream."""
        raise NotImplementedError

    def cancelled(self, number: int) -> None:
        """The client does not want what is sent on a stream."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """When something that the client has begun must be complete."""
        raise NotImplementedError

    def late(self) -> None:
        """The deadline has passed."""
        raise NotImplementedError

    def finish(self, reading: bool = True) -> None:
        """End as soon as nothing is in flight; queries that come until then are answered."""
        self.finishing = True
        self.end_if_done()

    def end_if_done(self) -> None:
        """Close a connection that is to end, if it waits for no reply."""
        if self.finishing and not self.in_flight and not self._queue and not self._more:
            self.close(self.factory.no_error)

    # Turns

    def received(self, data: bytes, addr: Any, way: Way) -> None:
        """A datagram waits for its turn."""
        self._way = way
        if len(self._queue) < MOST_QUEUED:
            self._queue.append((data, addr))
            self.wait_for_turn()

    def wait_for_turn(self) -> None:
        """Go on with what has come and what is to be sent when it is this connection's turn."""
        if not self._queued and not self.ended:
            self._queued = True
            self.factory.listener.context.turns.add(self._take_turn)

    def _take_turn(self, end: float) -> None:
        self._queued = False
        if self.ended:
            return
        clock = self.factory.listener.context.clock
        now = clock()
        until = min(end, now + SLICE_SECONDS)
        if self._more:
            self._look_at_events(until)
            now = clock()
        while self._queue and not self._more and not self.ended:
            self._take(*self._queue.popleft(), now, until)
            now = clock()
            if now >= until:
                break
        if self._queue or self._more:
            self.wait_for_turn()
        self.flush(now)

    def _take(self, data: bytes, addr: Any, now: float, until: float) -> None:
        try:
            self.connection.receive_datagram(data, addr, now)
        except Exception as error:
            # aioquic refuses most of what is wrong by itself; what it does not foresee ends this connection alone.
            log.debug("connection of {client} ended: {error!r}", client=self.client, error=error)
            self.gone()
            return
        if not self.connection.begun:
            self.gone()  # noise, in the form of a first datagram
            return
        if self.connection.fragmented:
            self.fail(self.factory.excessive_load)
            return
        self._look_at_events(until)

    def _look_at_events(self, until: float) -> None:
        clock = self.factory.listener.context.clock
        self._more = False
        while not self.ended and (event := self.connection.next_event()) is not None:
            match event:
                case StreamDataReceived():
                    # One datagram has room for some twenty queries.
                    self.stream_data(event.stream_id, event.data, event.end_stream)
                    if clock() >= until:
                        self._more = True
                        self.wait_for_turn()
                        return
                case StreamReset():
                    self.stream_reset(event.stream_id)
                case StopSendingReceived():
                    self.cancelled(event.stream_id)
                case ConnectionIdIssued():
                    self.ids.add(event.connection_id)
                    self.factory.by_id[event.connection_id] = self
                case ConnectionIdRetired():
                    self.ids.discard(event.connection_id)
                    self.factory.by_id.pop(event.connection_id, None)
                case HandshakeCompleted():
                    if self.connection.asks and (why := self._tls.client_fault(*self.connection.shown)):
                        self.factory.failures.failed(self.client, why)
                        self._turn_away(why)
                        return
                    self.established = True
                    self.connection.handshake_over()
                    self.factory.proven(self)
                    self.negotiated()

    def flush(self, now: float) -> None:
        """Send what is to be sent, and set the timer."""
        if self.ended:
            return
        connection = self.connection
        ending = connection.ending
        self._send(now)
        if ending:
            # Nothing is sent any more, so the draining period of RFC 9000 section 10.2 needs no state.
            why = "" if self.established else connection.handshake_failure
            if why:
                self.factory.failures.failed(self.client, why)
            self.gone()
            return
        if not self._more:
            self._look_at_events(now)  # connection IDs that were issued
        self.end_if_done()
        if self.ended:
            return
        due = connection.get_timer()
        mine = self.deadline() if self.established else self.began + self.factory.timeouts.read
        if mine is not None and (due is None or mine < due):
            due = mine
        self._set_timer(due, now)

    def _set_timer(self, due: float | None, now: float) -> None:
        if due is None:
            return
        self._due = due
        if self._timer is not None:
            if self._timer_at <= due:
                return  # it looks again when it fires
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.factory.listener.context.reactor.callLater(max(SOONEST, due - now), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self.factory.listener.context.clock()
        if self.ended:
            return
        if now < self._due:
            self._set_timer(self._due, now)
            return
        mine = self.deadline() if self.established else self.began + self.factory.timeouts.read
        if mine is not None and now >= mine:
            if self.established:
                self.late()
            else:
                self.gone()  # nobody is there, or nobody who means to shake hands
                return
        if self.ended:
            return
        connection = self.connection
        due = connection.get_timer()
        if due is not None and now >= due:
            connection.handle_timer(now)
            if connection.ending:
                self.gone()  # it was idle too long
                return
            if not self._more:
                self._look_at_events(now)
        self.flush(now)

    # The end

    def fail(self, code: int) -> None:
        """End the connection for something that the client did."""
        self.factory.count(code)
        self.close(code)

    def _turn_away(self, why: str) -> None:
        """End a handshake that is complete for aioquic, and not for kdns."""
        self.connection.close(BAD_CERTIFICATE, QuicFrameType.CRYPTO, why)
        self._send(self.factory.listener.context.clock())
        self.gone()

    def close(self, code: int) -> None:
        """Tell the client that the connection ends."""
        if self.ended:
            return
        now = self.factory.listener.context.clock()
        if code == self.factory.no_error:
            self._send(now)  # the last replies
        self.connection.close(error_code=code)
        self._send(now)
        self.gone()

    def _send(self, now: float) -> None:
        for data, addr in self.connection.datagrams_to_send(now):
            self._way.send(data, addr)

    def gone(self) -> None:
        """The connection has ended; answers that come from now on are dropped."""
        if self.ended:
            return
        self.ended = True
        stop_timer(self._timer)
        self._timer = None
        self._queue.clear()
        self.factory.left(self)
        free(self.connection)


class QuicFactory:
    """All connections of one listener, over all its sockets."""

    kind: type[QuicClient] = QuicClient
    spoken: tuple[str, ...] = ()
    """What is agreed on in the handshake (RFC 7301)."""

    no_error = NO_ERROR
    excessive_load = NO_ERROR

    def __init__(self, listener: Listener, table: AnswerTable, transport: Transport) -> None:
        self.listener = listener
        self.table = table
        self.transport = transport
        self.by_id: dict[bytes, QuicClient] = {}
        self.in_flight = 0
        self.ports: list[Any] = []
        """See :class:`kdns.server.streams.StreamFactory`."""

        self._clients: dict[QuicClient, None] = {}
        """In the order of their last queries."""

        self._unproven: set[QuicClient] = set()
        self._new: deque[tuple[bytes, Any, Way, Origin]] = deque()
        self._waiting = False
        self._leaving = False
        self._tokens = RetryTokens(urandom(32))
        self._identity: Any = None
        self._configuration: QuicConfiguration | None = None
        self._tickets: dict[bytes, SessionTicket] = {}
        registry = listener.context.registry
        self.failures = FailedHandshakes(listener)
        self._open = registry.gauge(
            "kdns_stream_connections", "Open connections of DNS clients.", ["server", "transport"]
        ).gauge(listener.label, transport.value)
        self._evicted = registry.counter(
            "kdns_stream_evictions_total", "Connections closed to make room for new ones.", ["server", "transport"]
        ).counter(listener.label, transport.value)

    @property
    def timeouts(self) -> Any:
        """The timeouts of the current configuration."""
        return self.listener.zones.timeouts

    @property
    def streams(self) -> int:
        """Queries that a client may have in flight."""
        return self.listener.zones.limits.streams or 100

    def count(self, code: int) -> None:
        """A connection was closed, or a query refused, with this code."""

    # Datagrams

    def received(self, data: bytes, addr: Any, way: Way) -> None:
        """A datagram has come."""
        origin = Origin(addr[0], addr[1], "")
        proxy = self.listener.zones.proxy
        if proxy is not None:
            found = proxy.datagram(data, plain_address(addr[0]), addr[1], self.listener.context.clock())
            if found is None:
                return
            origin, data = found[0] or origin, found[1]
        if len(data) < 1 + ID_SIZE:
            return
        long = data[0] & 0x80
        number = data[6 : 6 + data[5]] if long else data[1 : 1 + ID_SIZE]
        client = self.by_id.get(number)
        if client is not None:
            client.received(data, addr, way)
        elif long and len(data) >= LEAST_INITIAL and not self._leaving and len(self._new) < MOST_NEW:
            self._new.append((data, addr, way, origin))
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if not self._waiting:
            self._waiting = True
            self.listener.context.turns.add(self._take_new)

    def _take_new(self, end: float) -> None:
        self._waiting = False
        if self._new and not self._leaving:
            self._begin(*self._new.popleft())
        if self._new:
            self._wait_for_turn()

    def _begin(self, data: bytes, addr: Any, way: Way, origin: Origin) -> None:
        """Take the first datagram of a connection."""
        configuration = self._configured()
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=ID_SIZE)
        except ValueError:
            return
        client = self.by_id.get(header.destination_cid)
        if client is not None:  # the first datagram of this connection was waiting, too
            client.received(data, addr, way)
            return
        if header.version not in configuration.supported_versions:
            if header.version:
                way.send(
                    encode_quic_version_negotiation(
                        source_cid=header.destination_cid,
                        destination_cid=header.source_cid,
                        supported_versions=configuration.supported_versions,
                    ),
                    addr,
                )
            return
        if header.packet_type is not QuicPacketType.INITIAL:
            return
        now = self.listener.context.clock()
        original, retried = header.destination_cid, None
        if header.token:
            proof = self._tokens.read(addr, header.token, now)
            if proof is not None and proof[1] == header.destination_cid:
                original, retried = proof
        if retried is None and len(self._unproven) >= MOST_UNPROVEN:
            source = urandom(ID_SIZE)
            way.send(
                encode_quic_retry(
                    version=header.version,
                    source_cid=source,
                    destination_cid=header.source_cid,
                    original_destination_cid=header.destination_cid,
                    retry_token=self._tokens.make(addr, header.destination_cid, source, now),
                ),
                addr,
            )
            return
        asks = self.listener.zones.tls.asks_clients
        connection = BoundedConnection(
            streams=self.streams,
            asks=asks,
            configuration=configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
            # A client that resumes a session shows no certificate.
            session_ticket_fetcher=None if asks else self._ticket,
            session_ticket_handler=None if asks else self._keep_ticket,
        )
        client = self.kind(self, connection, way, origin)
        client.ids.add(header.destination_cid)
        if retried is None:
            self._unproven.add(client)
        self._joined(client)
        client.received(data, addr, way)

    # The certificate, and sessions that are resumed

    def _configured(self) -> QuicConfiguration:
        """The configuration for a new connection; a renewed certificate makes a new one, and ends the sessions of the old."""
        tls = self.listener.zones.tls
        identity = tls.identity()
        if identity is not self._identity or self._configuration is None:
            self._identity = identity
            self._tickets = {}
            self._configuration = QuicConfiguration(
                alpn_protocols=list(self.spoken),
                is_client=False,
                connection_id_length=ID_SIZE,
                max_data=MOST_STREAM_DATA,
                max_stream_data=MOST_STREAM_DATA,
            )
            if tls.logs_keys:
                log_file: Any = _KeyLog(tls)
                self._configuration.secrets_log_file = log_file
            self._configuration.certificate = identity.certificate
            self._configuration.certificate_chain = list(identity.chain)
            self._configuration.private_key = identity.key
        self._configuration.idle_timeout = self.timeouts.idle
        return self._configuration

    def _ticket(self, label: bytes) -> SessionTicket | None:
        return self._tickets.get(label)

    def _keep_ticket(self, ticket: SessionTicket) -> None:
        if len(self._tickets) >= MOST_TICKETS:
            del self._tickets[next(iter(self._tickets))]
        self._tickets[ticket.ticket] = ticket

    # Connections

    def _joined(self, client: QuicClient) -> None:
        most = self.listener.zones.limits.connections or CONNECTIONS
        while len(self._clients) >= most:
            self._evicted.value += 1
            next(iter(self._clients)).fail(self.excessive_load)
        self._clients[client] = None
        for number in client.ids:
            self.by_id[number] = client
        self._open.value = len(self._clients)

    def asked(self, client: QuicClient) -> None:
        """A client has asked: it is the last to give way to others."""
        if client in self._clients:
            del self._clients[client]
            self._clients[client] = None

    def proven(self, client: QuicClient) -> None:
        """A client's address is known to be its own."""
        self._unproven.discard(client)

    def left(self, client: QuicClient) -> None:
        """A connection has ended."""
        self._clients.pop(client, None)
        self._unproven.discard(client)
        for number in client.ids:
            self.by_id.pop(number, None)
        self._open.value = len(self._clients)

    # As StreamFactory

    @property
    def empty(self) -> bool:
        """Whether no client is connected."""
        return not self._clients

    def leave(self) -> None:
        """Begin no further connections."""
        self._leaving = True
        self._new.clear()

    def finish_all(self, reading: bool = True) -> None:
        """End each connection as soon as it has no query in flight."""
        for client in list(self._clients):
            client.finish(reading)

    def close_all(self) -> None:
        """End each connection."""
        for client in list(self._clients):
            client.close(self.no_error)


class _KeyLog:
    """Where aioquic writes the keys of sessions: into the key log of ``tls``, if it has one."""

    def __init__(self, tls: Any) -> None:
        self._tls = tls

    def write(self, text: str) -> int:
        """Write a line."""
        self._tls.log_key(text.encode())
        return len(text)

    def flush(self) -> None:
        """Lines are written at once."""
