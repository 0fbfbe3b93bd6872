# -*- test-case-name: tests.core.test_request -*-
"""A request as plugins see it: the question, the client, and how the query came."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from kdns.core.answer import Reply
from kdns.core.attempts import Watcher
from kdns.wire.constants import CD, DO, RD
from kdns.wire.query import HEADER, Edns, Query


class Transport(Enum):
    """How a query came in; the value is the scheme in a server block's key."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    HTTPS = "https"
    QUIC = "quic"
    HTTPS3 = "https3"
    GRPC = "grpc"

    __hash__ = object.__hash__  # members are singletons, and Enum's own hash is a slow Python function

    @property
    def protocol(self) -> str:
        """``udp`` or ``tcp``, as logs and metrics show it: what carries the transport."""
        return "udp" if self in _OVER_UDP else "tcp"


_OVER_UDP = frozenset((Transport.UDP, Transport.QUIC, Transport.HTTPS3))


class Server(Protocol):
    """The listener that took the query, as far as plugins may use it."""

    label: str
    """The listener as metrics name it: ``dns://:53``, with ``bind`` ``dns://127.0.0.1:53``."""

    def resolve(self, request: Request) -> Reply:
        """Answer a plugin's own request through block selection and chain, as if the client had sent it."""


Metadata = dict[str, str | Callable[[], str]]
"""Values by label such as ``kubernetes/namespace``; an expensive one is a callable."""


class Request(Struct, frozen=True):
    """One question from one client."""

    qname: bytes
    """The name asked for, in wire form and lower case."""

    spelled: bytes
    """The same in the client's spelling; owner names of answers use it."""

    qtype: int
    qclass: int
    ident: int
    flags: int
    """The second word of the query's header."""

    edns: Edns | None
    transport: Transport
    client: str
    """The client's IP address as text, without brackets or zone; IPv4-mapped addresses are shown as IPv4."""

    client_port: int
    local: str
    """The server's address that the query was sent to; ``::`` if unknown."""

    arrived: float
    """When the query came, in seconds of the server's clock."""

    size: int
    """Bytes of the query."""

    server: Server
    message: bytes = b""
    """The query as it came; empty for a lookup that a plugin makes."""

    udp_size: int = 0
    """A UDP payload size below the client's, set by a plugin; 0: the client's own."""

    metadata: Metadata | None = None
    """None if the block does not collect metadata."""

    for_client: bool = False
    """Whether the metadata tells things of this client, so that no other may be given the same reply without asking."""

    inside: int = 0
    """How deep an inner lookup is nested; 0 for the client's own query."""

    zone: bytes = b"\x00"
    """The zone of the server block that took the query, lower case."""

    watchers: tuple[Watcher, ...] = ()
    """Are told of the queries to upstreams that the request leads to."""

    @property
    def do(self) -> bool:
        """Whether the client wants DNSSEC records."""
        return self.edns is not None and bool(self.edns.flags & DO)

    @property
    def rd(self) -> bool:
        """Whether the client asks for recursion."""
        return bool(self.flags & RD)

    @property
    def cd(self) -> bool:
        """Whether the client validates DNSSEC itself."""
        return bool(self.flags & CD)

    @property
    def edns_size(self) -> int:
        """The payload size in the reply's OPT: the client's, or the lower one that a plugin set."""
        if self.udp_size:
            return self.udp_size
        return self.edns.size if self.edns is not None else 0

    @property
    def limit(self) -> int:
        """The largest reply in bytes (RFC 6891 section 6.2.3: at least 512 over UDP)."""
        if self.transport is not Transport.UDP:
            return 65535
        return max(512, self.edns_size)

    @property
    def question(self) -> bytes:
        """The question section in wire form, in the client's spelling."""
        return self.spelled + self.qtype.to_bytes(2, "big") + self.qclass.to_bytes(2, "big")

    @property
    def ipv6(self) -> bool:
        """Whether the client speaks IPv6."""
        return ":" in self.client

    def about(self, spelled: bytes, qtype: int | None = None) -> Request:
        """An inner lookup of another name (and type) for the same client."""
        return replace(
            self,
            qname=spelled.lower(),
            spelled=spelled,
            qtype=self.qtype if qtype is None else qtype,
            size=self.size - len(self.spelled) + len(spelled),
            metadata=None if self.metadata is None else {},
            message=b"",
            inside=self.inside + 1,
        )

    def wire(self, ident: int, set_flags: int = 0) -> bytes:
        """
        The request as a message for an upstream, with the client's question and OPT.

        :param set_flags: header bits to set in addition to the client's.
        """
        opt = b""
        if self.edns is not None:
            options = self.edns.options
            opt = (
                b"\x00\x00\x29"
                + self.edns_size.to_bytes(2, "big")
                + b"\x00\x00"
                + self.edns.flags.to_bytes(2, "big")
                + len(options).to_bytes(2, "big")
                + options
            )
        return HEADER.pack(ident, self.flags | set_flags, 1, 0, 0, 1 if opt else 0) + self.question + opt


def request_from(
    query: Query,
    transport: Transport,
    client: str,
    client_port: int,
    local: str,
    arrived: float,
    size: int,
    server: Server,
    message: bytes = b"",
) -> Request:
    """Join a query with what its transport knows."""
    return Request(
        query.qname,
        query.spelled,
        query.qtype,
        query.qclass,
        query.ident,
        query.flags,
        query.edns,
        transport,
        client,
        client_port,
        local,
        arrived,
        size,
        server,
        message,
    )
