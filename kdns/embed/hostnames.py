# -*- test-case-name: tests.embed.test_hostnames -*-
"""
Host names for a reactor: what ``Agent``, ``treq``, ``HostnameEndpoint`` and ``connectTCP`` look up, answered by an ``IResolver``.

Twisted's own way from an ``IResolver`` to host names keeps one address of a name and one family. This one asks for both families at once
and reports every address. Names that the resolver refuses can be left to another one, such as the reactor's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.embed.adapter import address_text

log = Logger(namespace="kdns.embed")


@implementer(IHostResolution)
class Resolution:
    """A look-up in flight."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[Deferred[Any]] = []
        self.behind: Any = None
        """The resolution of the fallback, once it is asked."""

    def cancel(self) -> None:
        for waiting in self.waiting:
            waiting.cancel()
        if self.behind is not None:
            self.behind.cancel()


@implementer(IHostnameResolver)
class HostnameResolver:
    """
    Host names out of an ``IResolver``.

    :param fallback: asked for names that the resolver refuses or fails on, but not for those that do not exist.
    """

    def __init__(self, resolver: Any, fallback: Any = None) -> None:
        self._resolver = resolver
        self._fallback = fallback

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[Any] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See ``IHostnameResolver``. Addresses are reported when both families have come, IPv6 first."""
        resolution = Resolution(hostName)
        types = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        literal = _literal(hostName)
        if literal is not None:
            resolutionReceiver.resolutionBegan(resolution)
            self._tell([literal], resolutionReceiver, portNumber, types, transportSemantics)
            resolutionReceiver.resolutionComplete()
            return resolution
        if IPv6Address in types:
            resolution.waiting.append(self._resolver.lookupIPV6Address(hostName))
        if IPv4Address in types:
            resolution.waiting.append(self._resolver.lookupAddress(hostName))
        resolutionReceiver.resolutionBegan(resolution)

        def came(outcomes: list[tuple[bool, Any]]) -> None:
            answers = [lists[0] for success, lists in outcomes if success]
            failures = [failure for success, failure in outcomes if not success]
            if not answers and self._fallback is not None and all(_perhaps_elsewhere(one) for one in failures):
                resolution.behind = self._fallback.resolveHostName(
                    _Behind(resolutionReceiver), hostName, portNumber, addressTypes, transportSemantics
                )
                return
            for failure in failures:
                if not failure.check(DomainError, AuthoritativeDomainError, CancelledError, TimeoutError):
                    log.failure("Look-up of {name} failed", failure=failure, name=hostName)
            payloads = [header.payload for headers in answers for header in headers]
            texts = [address_text(one) for one in payloads if isinstance(one, (dns.Record_A, dns.Record_AAAA))]
            self._tell(texts, resolutionReceiver, portNumber, types, transportSemantics)
            resolutionReceiver.resolutionComplete()

        DeferredList(resolution.waiting, consumeErrors=True).addCallback(came)
        return resolution

    def _tell(self, texts: Sequence[str], receiver: Any, port: int, types: Sequence[Any], semantics: str) -> None:
        for text in texts:
            kind: Any = IPv6Address if ":" in text else IPv4Address
            if kind in types:
                receiver.addressResolved(kind(semantics, text, port))


class _Behind:
    """Passes on addresses of the fallback, but not that a resolution began: the receiver knows already."""

    def __init__(self, receiver: Any) -> None:
        self.addressResolved = receiver.addressResolved
        self.resolutionComplete = receiver.resolutionComplete

    def resolutionBegan(self, resolution: Any) -> None:
        """Nothing more to tell."""


def install(reactor: Any, resolver: Any, *, fall_back: bool = True) -> Callable[[], None]:
    """
    Have *reactor* look host names up with *resolver*.

    :param fall_back: look names that it refuses up with the resolver that the reactor used until now.
    :return: call it to put the former resolver back.
    """
    former = reactor.nameResolver
    reactor.installNameResolver(HostnameResolver(resolver, former if fall_back else None))

    def restore() -> None:
        reactor.installNameResolver(former)

    return restore


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _perhaps_elsewhere(failure: Failure) -> bool:
    return failure.check(DomainError) is not None and failure.check(DNSNameError) is None
