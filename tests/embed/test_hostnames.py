# -*- test-case-name: tests.embed.test_hostnames -*-
"""Host names for a reactor out of an IResolver."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DNSQueryRefusedError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kdns.embed.hostnames import HostnameResolver, Resolution, install
from kdns.testing.memory import MemoryReactor


class Waiting(ResolverBase):
    """An IResolver whose answers the test gives."""

    def __init__(self) -> None:
        ResolverBase.__init__(self)
        self.waiting: dict[int, Deferred[Any]] = {}
        self.cancelled: list[int] = []

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        self.waiting[type] = Deferred(lambda _: self.cancelled.append(type))
        return self.waiting[type]

    def give(self, type: int, *texts: str) -> None:
        """Answer the look-up of *type* with addresses."""
        records: list[Any] = [dns.Record_A(text) if type == dns.A else dns.Record_AAAA(text) for text in texts]
        self.waiting[type].callback(([dns.RRHeader(b"x", type, dns.IN, 5, record) for record in records], [], []))


class Receiver:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:
        """Note it."""
        self.told.append("began")

    def addressResolved(self, address: Any) -> None:
        """Note it."""
        self.told.append(address)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.told.append("complete")


class HostnameTests(SynchronousTestCase):
    """One look-up."""

    def setUp(self) -> None:
        """A resolver that waits, and something behind it."""
        self.inner = Waiting()
        self.receiver = Receiver()
        self.fallback = MemoryReactor()
        self.fallback.hosts["x.test"] = ("203.0.113.1",)

    def resolve(self, name: str = "x.test", **how: Any) -> Any:
        """Begin."""
        resolver = HostnameResolver(self.inner, self.fallback.nameResolver)
        return resolver.resolveHostName(self.receiver, name, 80, **how)

    def test_interfaces(self) -> None:
        """They are what the reactor wants."""
        verifyObject(IHostnameResolver, HostnameResolver(self.inner))
        verifyObject(IHostResolution, Resolution("x"))

    def test_both_families(self) -> None:
        """All addresses of both families are told, with the port, when both are known."""
        self.resolve()
        self.inner.give(dns.A, "10.0.0.1", "10.0.0.2")
        self.assertEqual(self.receiver.told, ["began"])
        self.inner.give(dns.AAAA, "fd00::1")
        wanted = [
            IPv6Address("TCP", "fd00::1", 80),
            IPv4Address("TCP", "10.0.0.1", 80),
            IPv4Address("TCP", "10.0.0.2", 80),
        ]
        self.assertEqual(self.receiver.told, ["began", *wanted, "complete"])

    def test_one_family(self) -> None:
        """A family that is not wanted is not asked for."""
        self.resolve(addressTypes=[IPv4Address], transportSemantics="UDP")
        self.assertEqual(list(self.inner.waiting), [dns.A])
        self.inner.give(dns.A, "10.0.0.1")
        self.assertEqual(self.receiver.told[1:], [IPv4Address("UDP", "10.0.0.1", 80), "complete"])

    def test_literal(self) -> None:
        """An address is its own name, and nobody is asked."""
        self.resolve("10.1.2.3")
        self.assertEqual(self.receiver.told, ["began", IPv4Address("TCP", "10.1.2.3", 80), "complete"])
        self.assertEqual(self.inner.waiting, {})

    def test_fallback(self) -> None:
        """A name that is refused is the fallback's."""
        self.resolve()
        for waiting in self.inner.waiting.values():
            waiting.errback(DNSQueryRefusedError())
        self.assertEqual(self.receiver.told, ["began", IPv4Address("TCP", "203.0.113.1", 80), "complete"])

    def test_missing(self) -> None:
        """A name that does not exist is nobody else's, whoever said so."""
        for kind in (AuthoritativeDomainError, DNSNameError):
            self.receiver.told.clear()
            self.resolve()
            for waiting in self.inner.waiting.values():
                waiting.errback(kind())
            self.assertEqual(self.receiver.told, ["began", "complete"])

    def test_unforeseen(self) -> None:
        """What is no answer of DNS is logged; the look-up ends without an address."""
        self.resolve(addressTypes=[IPv4Address])
        self.inner.waiting[dns.A].errback(ZeroDivisionError())
        self.assertEqual(self.receiver.told, ["began", "complete"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancel(self) -> None:
        """Cancelling drops both questions and tells that it is over."""
        self.resolve().cancel()
        self.assertEqual(sorted(self.inner.cancelled), [dns.A, dns.AAAA])
        self.assertEqual(self.receiver.told, ["began", "complete"])

    def test_install(self) -> None:
        """The reactor uses it until it is told not to."""
        reactor = MemoryReactor()
        former = reactor.nameResolver
        self.patch(self.inner, "_lookup", lambda *_: fail(DNSQueryRefusedError()))
        reactor.hosts["y.test"] = ("203.0.113.2",)
        restore = install(reactor, self.inner)
        installed: Any = reactor.nameResolver
        installed.resolveHostName(self.receiver, "y.test", 1)
        self.assertEqual(self.receiver.told[1:], [IPv4Address("TCP", "203.0.113.2", 1), "complete"])
        restore()
        self.assertIs(reactor.nameResolver, former)
