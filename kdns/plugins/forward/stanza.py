# -*- test-case-name: tests.plugins.forward.test_config -*-
"""What one ``forward`` of a Corefile says, as a value with every default filled in. A core module."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kdns.plugins.forward.policy import Policy
from kdns.plugins.forward.targets import Target, To
from kdns.wire.names import ROOT, is_subdomain


class DohMethod(Enum):
    """How a query is put into HTTP; the value is the word in a Corefile."""

    GET = "GET"
    """In the URL; shared caches may answer."""

    POST = "POST"
    """In the body."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; empty where there is none."""

    certificate: str = ""
    key: str = ""
    authority: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(path for path in (self.certificate, self.key, self.authority) if path)


NO_FILES = TlsFiles()
"""The system's trust, and no certificate of our own."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """
    How an upstream is checked after a query to it failed.

    :ivar interval: seconds from a failed check to the next.
    :ivar recursion: the RD bit of the check.
    :ivar domain: the name asked for, in wire form.
    """

    interval: float = 0.5
    recursion: bool = True
    domain: bytes = ROOT


@dataclass(frozen=True, slots=True)
class Stanza:
    """
    One ``forward``; names are lower-case wire form, times are seconds.

    :ivar excepted: names that are not forwarded, nor what is below them.
    :ivar max_age: 0 means that connections live as long as they are used.
    :ivar max_fails: 0 means that an upstream is never down.
    :ivar max_connect_attempts: None means two for each upstream, 0 as many as there is time for.
    :ivar max_concurrent: 0 means any number.
    :ivar resolver: who is asked for the addresses of host names in *to*; nobody means the system.
    :ivar root: the folder that relative paths start at; empty is the working directory.
    """

    to: tuple[To, ...]
    origin: bytes = ROOT
    excepted: tuple[bytes, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    max_age: float = 0.0
    max_idle_conns: int = 0
    read_timeout: float = 2.0
    max_fails: int = 2
    max_connect_attempts: int | None = None
    health_check: HealthCheck = HealthCheck()
    policy: Policy = Policy.RANDOM
    max_concurrent: int = 0
    next_rcodes: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failover: frozenset[int] = frozenset()
    failfast: bool = False
    tls: TlsFiles = NO_FILES
    tls_servername: str = ""
    doh_method: DohMethod = DohMethod.POST
    source_address: str = ""
    resolver: tuple[Target, ...] = ()
    root: str = ""

    @property
    def takes_all(self) -> bool:
        """Whether queries for all names are forwarded."""
        return self.origin == ROOT and not self.excepted

    def takes(self, qname: bytes) -> bool:
        """Whether queries for *qname*, in lower case, are forwarded. The origin itself is never excepted."""
        if not is_subdomain(qname, self.origin):
            return False
        return qname == self.origin or not any(is_subdomain(qname, name) for name in self.excepted)
