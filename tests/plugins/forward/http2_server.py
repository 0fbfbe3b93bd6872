"""A DoH server that speaks HTTP/2, on top of h2, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class Http2Connection(Protocol):
    """One connection; each request goes to the factory."""

    def __init__(self, factory: Http2Server) -> None:
        self.server = factory
        self.bodies: dict[int, bytearray] = {}
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="ascii"))

    def connectionMade(self) -> None:
        """Say how many streams there may be."""
        self.server.open.append(self)
        self.http.initiate_connection()
        self.http.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.server.most_streams})
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Collect requests."""
        for event in self.http.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.bodies[event.stream_id] = bytearray()
                self.server.headers.append({str(name): str(value) for name, value in event.headers})
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.server.requested(self, event.stream_id, bytes(self.bodies.pop(event.stream_id)))
            elif isinstance(event, h2.events.StreamReset):
                self.server.cancelled += 1
        self.flush()

    def respond(self, stream: int, body: bytes, status: int = 200) -> None:
        """Send a response."""
        self.http.send_headers(stream, [(":status", str(status)), ("content-type", "application/dns-message")])
        self.http.send_data(stream, body, end_stream=True)
        self.flush()

    def refuse(self, stream: int) -> None:
        """Refuse a request that may be sent again."""
        self.http.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        self.flush()

    def flush(self) -> None:
        """Send what the protocol wants to be sent."""
        transport: Any = self.transport
        transport.write(self.http.data_to_send())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget it."""
        self.server.open.remove(self)


class Http2Server(Factory):
    """
    Makes connections.

    :param answer: the message that answers a query; None holds the request back.
    :ivar held: requests that are held back: connection, stream and query of each.
    """

    noisy = False

    def __init__(self, answer: Callable[[bytes], bytes | None], most_streams: int = 100) -> None:
        self.answer = answer
        self.most_streams = most_streams
        self.open: list[Http2Connection] = []
        self.accepted = 0
        self.cancelled = 0
        self.headers: list[dict[str, str]] = []
        self.held: list[tuple[Http2Connection, int, bytes]] = []

    def buildProtocol(self, addr: object) -> Http2Connection:
        """A new connection."""
        self.accepted += 1
        return Http2Connection(self)

    def requested(self, connection: Http2Connection, stream: int, body: bytes) -> None:
        """A whole request is there."""
        reply = self.answer(body)
        if reply is None:
            self.held.append((connection, stream, body))
        else:
            connection.respond(stream, reply)
