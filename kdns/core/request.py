# -*- test-case-name: tests.core.test_request -*-
"""A request: the question with all that is known of who asks, as every plugin sees it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from kdns.core.answer import Reply
from kdns.wire.constants import CD, DO, RD
from kdns.wire.query import HEADER, Edns, Query


class Transport(Enum):
    """How a query came in; the value is the scheme of its server key."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    HTTPS = "https"

    __hash__ = object.__hash__  # each is there once, and Enum's own is a function of Python's for each look-up

    @property
    def protocol(self) -> str:
        """``udp`` or ``tcp``: what logs and metrics show."""
        return "udp" if self is Transport.UDP else "tcp"


class Server(Protocol):
    """What a plugin may ask of the server that took the query."""

    label: str
    """The listener as metrics name it: ``dns://:53``, with ``bind`` ``dns://127.0.0.1:53``."""

    def resolve(self, request: Request) -> Reply:
        """Send a request of the plugin's own through block selection and chain, as if the client had asked it."""


Metadata = dict[str, str | Callable[[], str]]
"""Values by label such as ``kubernetes/namespace``; one that costs something is a callable."""


class Request(Struct, frozen=True):
    """One question from one client."""

    qname: bytes
    """The name asked for, in wire form and lower case."""

    spelled: bytes
    """The same as the client spelled it; answers' owner names use it."""

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
    """The address the query was sent to; ``::`` where it is not known."""

    arrived: float
    """When it came, in seconds of the server's clock."""

    size: int
    """Octets of the query."""

    server: Server
    udp_size: int = 0
    """Octets of UDP payload to believe the client capable of, when a plugin lowered it; 0 means as the client said."""

    metadata: Metadata | None = None
    """None unless the block collects metadata."""

    for_client: bool = False
    """Whether the metadata tells things of this client, so that no other may be given the same reply without asking."""

    inside: int = 0
    """Of a lookup made inside: how many led to it, one from within the other; 0 is the client's own question."""

    zone: bytes = b"\x00"
    """Zone of the server block that took the query, lower case."""

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
        """Whether the client checks DNSSEC itself."""
        return bool(self.flags & CD)

    @property
    def edns_size(self) -> int:
        """The payload size that the reply's OPT shows: the client's own, or what a plugin lowered it to."""
        if self.udp_size:
            return self.udp_size
        return self.edns.size if self.edns is not None else 0

    @property
    def limit(self) -> int:
        """Octets that the reply may have (RFC 6891 section 6.2.3: never less than 512 on UDP)."""
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
        """A request for another name (and type) in the same client's name, for lookups made inside."""
        return replace(
            self,
            qname=spelled.lower(),
            spelled=spelled,
            qtype=self.qtype if qtype is None else qtype,
            size=self.size - len(self.spelled) + len(spelled),
            metadata=None if self.metadata is None else {},
            inside=self.inside + 1,
        )

    def wire(self, ident: int, set_flags: int = 0) -> bytes:
        """
        The request as a message for an upstream: question and OPT as the client sent them.

        :param ident: the identifier of the message.
        :param set_flags: header bits to set in addition.
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
    )
