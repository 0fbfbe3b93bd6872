"""What tests of HTTP pages share: a client that asks in memory and reads the raw reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from kdns.plugin.http import HttpListener
from kdns.plugin.seam import ServerContext
from kdns.testing.memory import MemoryReactor


@dataclass
class Answered:
    """A reply as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Talk(Protocol):
    """Sends what it was made with and keeps what comes."""

    transport: Any

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.ended = False

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The end."""
        self.ended = True

    def answered(self) -> Answered:
        """The reply taken apart."""
        head, _, body = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answered(int(first.split()[1]), headers, body)


@dataclass
class Client:
    """Talks to pages of one reactor."""

    reactor: MemoryReactor
    talks: list[Talk] = field(default_factory=list)

    def connect(self, port: int, request: bytes, host: str = "127.0.0.1", source: str = "") -> Talk:
        """Open a connection, from the address *source* if it is given, and send bytes."""
        talk = Talk(request)
        factory: ClientFactory[Talk] = ClientFactory()
        factory.noisy = False
        factory.protocol = lambda: talk
        self.reactor.connectTCP(host, port, factory, bindAddress=(source, 0) if source else None)
        self.talks.append(talk)
        self.reactor.settle()
        return talk

    def get(self, port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> Answered:
        """Ask for a page over a connection of its own."""
        request = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        return self.connect(port, request.encode(), host).answered()


def port_of(listener: HttpListener) -> int:
    """Where a listener on an ephemeral port listens."""
    number: int = listener.port.getHost().port
    return number


def memory_house(reactor: MemoryReactor) -> ServerContext:
    """A context on a reactor in memory."""
    return ServerContext(reactor, clock=reactor.seconds, wall=reactor.seconds, output=lambda line: None)
