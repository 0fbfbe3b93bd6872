# -*- test-case-name: tests.conformance.test_transports -*-
"""Clients of encrypted listeners for tests on the memory network: TLS, HTTP/1.1 through h11, HTTP/2 through h2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h2.config
import h2.connection
import h2.events
import h11
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_PEM, load_certificate, load_privatekey
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import ClientFactory, Protocol
from zope.interface import implementer

from kdns.testing.memory import MemoryReactor


@implementer(IOpenSSLClientConnectionCreator)
class TlsClient:
    """
    The client's side of TLS; it takes any certificate.

    :param spoken: what to offer (RFC 7301).
    :param identity: certificate and key in PEM.
    :param most: the highest version of TLS.
    """

    def __init__(self, spoken: tuple[bytes, ...] = (), identity: bytes = b"", most: int = 0) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if most:
            self._context.set_max_proto_version(most)
        if spoken:
            self._context.set_alpn_protos(list(spoken))
        if identity:
            self._context.use_certificate(load_certificate(FILETYPE_PEM, identity))
            self._context.use_privatekey(load_privatekey(FILETYPE_PEM, identity))

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The client's side of a connection."""
        return SSL.Connection(self._context, None)


class Client(Protocol):
    """A client that keeps what it gets."""

    transport: Any

    def __init__(self) -> None:
        self.octets = b""
        self.closed = False
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.octets += data

    def connectionLost(self, reason: Any = None) -> None:
        """The server closed, or the client."""
        self.closed = True
        self.reason = reason.value

    @property
    def messages(self) -> list[bytes]:
        """The whole messages among the bytes, each behind its length."""
        found, rest = [], self.octets
        while len(rest) >= 2 and len(rest) >= (end := 2 + int.from_bytes(rest[:2], "big")):
            found.append(rest[2:end])
            rest = rest[end:]
        return found

    def send_messages(self, *messages: bytes) -> None:
        """Send messages, each behind its length."""
        self.transport.write(b"".join(len(message).to_bytes(2, "big") + message for message in messages))


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, client: Protocol) -> None:
        self.client = client

    def buildProtocol(self, addr: Any) -> Protocol:
        """The one connection."""
        return self.client


def connect(
    reactor: MemoryReactor, port: int, client: Client, tls: TlsClient | None = None, host: str = "127.0.0.1"
) -> Client:
    """Connect a client, with TLS or without."""
    if tls is None:
        reactor.connectTCP(host, port, _Connect(client))
    else:
        creator: Any = tls  # Twisted's stubs do not see its interface
        reactor.connectSSL(host, port, _Connect(client), creator)
    reactor.settle()
    return client


class Got:
    """A response."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.body = b""
        self.whole = False

    def take(self, headers: Any) -> None:
        """Take headers in."""
        for name, value in headers:
            self.headers[bytes(name).decode()] = bytes(value).decode()
        self.status = int(self.headers.pop(":status", self.status))


class Http1Client(Client):
    """Speaks HTTP/1.1: one request after another."""

    name = "HTTP/1.1"

    def __init__(self) -> None:
        super().__init__()
        self.http = h11.Connection(h11.CLIENT)
        self.got: list[Got] = []

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Got:
        """Send a request; the response comes into what is returned."""
        fields = [("host", "dns.test"), *(headers or {}).items()]
        if body is not None:
            fields.append(("content-length", str(len(body))))
        self.got.append(Got())
        self.transport.write(self.http.send(h11.Request(method=method, target=path, headers=fields)))
        if body:
            self.transport.write(self.http.send(h11.Data(body)))
        self.transport.write(self.http.send(h11.EndOfMessage()) or b"")
        return self.got[-1]

    def dataReceived(self, data: bytes) -> None:
        """Read responses."""
        super().dataReceived(data)
        self.http.receive_data(data)
        while True:
            event = self.http.next_event()
            got = self.got[-1]
            if isinstance(event, h11.Response):
                got.status = event.status_code
                got.take(event.headers)
            elif isinstance(event, h11.Data):
                got.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                got.whole = True
                if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
                    self.http.start_next_cycle()
                return
            elif not isinstance(event, h11.InformationalResponse):
                return


class Http2Client(Client):
    """Speaks HTTP/2: many requests at once."""

    name = "HTTP/2"

    def __init__(self) -> None:
        super().__init__()
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.got: dict[int, Got] = {}
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self._frames = b""
        self._unsent: dict[int, bytes] = {}

    def connectionMade(self) -> None:
        """Begin."""
        self.http.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what the protocol has to say."""
        self.transport.write(self.http.data_to_send())

    def begin(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
        """Prepare a request."""
        number: int = self.http.get_next_available_stream_id()
        fields = [
            (":method", method), (":path", path), (":scheme", "https"), (":authority", "dns.test"), *(headers or {}).items(),
        ]  # fmt: skip
        self.http.send_headers(number, fields, end_stream=body is None)
        if body is not None:
            self._unsent[number] = body
            self._send(number)
        self.got[number] = Got()
        return number

    def _send(self, number: int) -> None:
        body = self._unsent.get(number)
        if body is None:
            return
        while True:
            room = min(self.http.local_flow_control_window(number), self.http.max_outbound_frame_size)
            if room <= 0 and body:
                self._unsent[number] = body
                return
            self.http.send_data(number, body[:room], end_stream=len(body) <= room)
            body = body[room:]
            if not body:
                del self._unsent[number]
                return

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Got:
        """Send a request; the response comes into what is returned."""
        number = self.begin(method, path, body, headers)
        self.flush()
        return self.got[number]

    def dataReceived(self, data: bytes) -> None:
        """Read responses."""
        super().dataReceived(data)
        self._frames += data
        while len(self._frames) >= 9 and len(self._frames) >= (end := 9 + int.from_bytes(self._frames[:3], "big")):
            frame, self._frames = self._frames[:end], self._frames[end:]
            if frame[3] == 7:  # GOAWAY: h2 would take nothing that comes behind it
                self.goaway = int.from_bytes(frame[13:17], "big")
            else:
                self._received(frame)
        self.flush()

    def _received(self, frame: bytes) -> None:
        for event in self.http.receive_data(frame):
            number = getattr(event, "stream_id", 0) or 0
            match event:
                case h2.events.ResponseReceived():
                    self.got[number].take(event.headers)
                case h2.events.TrailersReceived():
                    fields = ((bytes(name).decode(), bytes(value).decode()) for name, value in event.headers)
                    self.got[number].trailers.update(fields)
                case h2.events.DataReceived():
                    self.got[number].body += event.data or b""
                    self.http.acknowledge_received_data(event.flow_controlled_length or 0, number)
                case h2.events.StreamEnded():
                    self.got[number].whole = True
                case h2.events.StreamReset():
                    self.resets[number] = int(event.error_code or 0)
                case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                    for one in list(self._unsent):
                        self._send(one)
