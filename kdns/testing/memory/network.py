# -*- test-case-name: tests.testing.test_memory_datagrams -*-
"""
Who is bound where, and what reaches whom: the core of the memory network.

It behaves as the loopback of one Linux host does. A socket on a wildcard sends from the address it sends to, so an answer can leave from
another address than the one that was asked; ``::`` also takes IPv4. What the sockets do with what reaches them is sockets.py's business;
when they are looked at is the reactor's.
"""

from __future__ import annotations

import errno
import heapq
import ipaddress
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdns.testing.memory.paths import STRAIGHT, Address, Datagram, Path

if TYPE_CHECKING:
    from kdns.testing.memory.sockets import DatagramSocket, MemorySocket, StreamSocket

EPHEMERAL = range(32768, 61000)
"""Ports for binds to port 0, as on Linux; here in order."""

WINDOW = 65536
"""Bytes that one end of a stream buffers before its program reads them, unless the test sets another number."""

MAPPED = "::ffff:"
"""An IPv4 address as an IPv6 socket sees it (RFC 4291 section 2.5.5.2)."""


def oserror(code: int) -> OSError:
    """The error that a system call would raise."""
    return OSError(code, os.strerror(code))


def canonical(host: str) -> str:
    """The canonical spelling of an address; IPv4-mapped as IPv4, empty as a wildcard."""
    if not host:
        return "0.0.0.0"
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def is_wildcard(host: str) -> bool:
    """Whether *host* stands for all addresses."""
    return host in ("0.0.0.0", "::")


def _overlap(one: str, other: str) -> bool:
    if one == other or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and ":" not in one + other


@dataclass(slots=True)
class Network:
    """
    The addresses of one host, what is bound to them, and what is under way between them.

    :ivar seconds: the time.
    :ivar interface_addresses: canonical addresses of this host; None: every address is one. At others nobody is at home.
    :ivar window: bytes each end of each stream holds unread, and as many unsent; it may be changed at any time.
    :ivar paths: the first one that holds for a datagram decides.
    """

    seconds: Callable[[], float]
    interface_addresses: frozenset[str] | None = None
    window: int = WINDOW
    paths: list[Path] = field(default_factory=list)
    sockets: dict[int, MemorySocket] = field(default_factory=dict)
    _descriptors: itertools.count[int] = field(default_factory=lambda: itertools.count(1000), init=False)
    _bound: dict[tuple[str, str, int], MemorySocket] = field(default_factory=dict, init=False)
    _next_port: itertools.cycle[int] = field(default_factory=lambda: itertools.cycle(EPHEMERAL), init=False)
    _under_way: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list, init=False)
    _order: itertools.count[int] = field(default_factory=itertools.count, init=False)
    _blackholes: set[tuple[str, int | None]] = field(default_factory=set, init=False)

    # Sockets and addresses

    def open(self, socket: MemorySocket) -> int:
        """Add a new socket and return its descriptor number."""
        number = next(self._descriptors)
        self.sockets[number] = socket
        return number

    def bind(self, socket: MemorySocket, kind: str, address: Address) -> Address:
        """
        Give *socket* an address of *kind* (``udp`` or ``tcp``); port 0 asks for a free one.

        :raises OSError: EADDRNOTAVAIL, EADDRINUSE.
        """
        host, port = canonical(address[0]), address[1]
        if not is_wildcard(host) and not self.is_local(host):
            raise oserror(errno.EADDRNOTAVAIL)
        if not port:
            port = next((free for free in itertools.islice(self._next_port, len(EPHEMERAL))
                         if not self._taken(kind, host, free)), 0)  # fmt: skip
        if not port or self._taken(kind, host, port):
            raise oserror(errno.EADDRINUSE)
        self._bound[kind, host, port] = socket
        return host, port

    def rebind(self, socket: MemorySocket, kind: str, old: Address, new: Address) -> None:
        """Narrow the address of *socket*, as connecting a socket on a wildcard does."""
        del self._bound[(kind, *old)]
        self._bound[(kind, *new)] = socket

    def release(self, socket: MemorySocket, kind: str, address: Address | None) -> None:
        """Forget a socket that is closed."""
        self.sockets.pop(socket.fileno(), None)
        if address is not None and self._bound.get((kind, *address)) is socket:
            del self._bound[(kind, *address)]

    def _taken(self, kind: str, host: str, port: int) -> bool:
        return any(
            kind == other_kind and port == other_port and _overlap(host, other_host)
            for other_kind, other_host, other_port in self._bound
        )

    def bound_to(self, kind: str, address: Address) -> MemorySocket | None:
        """The socket that receives data for *address*."""
        host, port = address
        wildcards = ("::",) if ":" in host else ("0.0.0.0", "::")
        for candidate in (host, *wildcards):
            if (socket := self._bound.get((kind, candidate, port))) is not None:
                return socket
        return None

    def is_local(self, host: str) -> bool:
        return self.interface_addresses is None or host in self.interface_addresses

    def source_for(self, bound: str, destination: str) -> str:
        """The source address of a socket bound to *bound* that sends to *destination*."""
        if not is_wildcard(bound):
            return bound
        if self.is_local(destination):
            return destination
        family = ":" in destination
        return min((host for host in self.interface_addresses or () if (":" in host) == family), default=destination)

    # Blackholes

    def blackhole(self, host: str, port: int | None = None) -> None:
        """From now on nothing reaches or leaves *host* (on *port*, when given), without an error."""
        self._blackholes.add((canonical(host), port))

    def lift(self, host: str, port: int | None = None) -> None:
        """End a :meth:`blackhole`; stalled streams go on."""
        self._blackholes.discard((canonical(host), port))
        for socket in list(self.sockets.values()):
            socket.retry()

    def reachable(self, *addresses: Address) -> bool:
        """Whether all of *addresses* belong to this host and none is cut off."""
        return not any(
            (host, port) in self._blackholes or (host, None) in self._blackholes or not self.is_local(host)
            for host, port in addresses
        )

    # Datagrams in flight

    def next_arrival(self) -> float | None:
        """When the next datagram in flight arrives."""
        return self._under_way[0][0] if self._under_way else None

    def arrive(self) -> None:
        """Deliver everything that is due."""
        now = self.seconds()
        while self._under_way and self._under_way[0][0] <= now:
            heapq.heappop(self._under_way)[2]()

    def send(self, datagram: Datagram, sender: DatagramSocket) -> None:
        """Send *datagram* by the first path that matches it."""
        if not self.reachable(datagram.source, datagram.destination):
            return
        rule = next((path.rule for path in self.paths if path.holds_for(datagram)), None)
        for delay in STRAIGHT if rule is None else rule(datagram):
            if delay <= 0:
                self._deliver(datagram, sender)
            else:
                self._later(delay, lambda: self._deliver(datagram, sender))

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._under_way, (self.seconds() + delay, next(self._order), call))

    def _deliver(self, datagram: Datagram, sender: DatagramSocket) -> None:
        if not self.inject(datagram):
            # The host answers with an ICMP message, which only a connected socket hears of.
            sender.refused_by(datagram.destination)

    def inject(self, datagram: Datagram) -> bool:
        """Put *datagram* into the receiving socket, whatever its source is; whether there is such a socket."""
        target = self.bound_to("udp", datagram.destination)
        return target is not None and target.take(datagram)

    def listener_at(self, address: Address) -> StreamSocket | None:
        """The socket that takes connections to *address*."""
        target = self.bound_to("tcp", address)
        return target.as_listener() if target is not None else None


def addresses(hosts: Iterable[str] | None) -> frozenset[str] | None:
    """Canonical forms of *hosts*; None stays None."""
    return None if hosts is None else frozenset(canonical(host) for host in hosts)
