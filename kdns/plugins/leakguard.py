# -*- test-case-name: tests.plugins.test_leakguard -*-
"""
``leakguard``: answer here what must not be asked of upstreams: private reverse zones, and the names of the cluster.

It stands right in front of the plugins that ask upstreams. What reaches it has no answer here, and outside there is none that is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdns.core.explaining import Note
from kdns.core.fast_path import Effect
from kdns.core.metrics import Counter
from kdns.corefile.keys import zones_of
from kdns.plugin import (
    ALWAYS,
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Link,
    Next,
    Reply,
    Request,
    from_text,
    is_subdomain,
    longest_zone,
    records,
)
from kdns.plugin.capabilities import AsksUpstreams, ServesCluster
from kdns.wire.constants import EDE_PROHIBITED, NOERROR, NXDOMAIN
from kdns.wire.names import ROOT
from kdns.wire.records import soa

PRIVATE = frozenset(
    from_text(zone)
    for zone in (
        *(f"{first}.in-addr.arpa" for first in (0, 10, 127, 255)),
        *(f"{second}.172.in-addr.arpa" for second in range(16, 32)),
        *("168.192.in-addr.arpa", "254.169.in-addr.arpa"),
        *(f"{second}.100.in-addr.arpa" for second in range(64, 128)),
        *("d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa"),
    )
)
"""Reverse zones of private, shared and link-local addresses (RFC 6303 sections 4.1, 4.2, 4.4 and 4.5, RFC 7793 section 2)."""

CLUSTER = from_text("cluster.local")
"""The cluster's domain where the block has no *kubernetes* that names it."""

ARPA = from_text("arpa")
TTL = 300
"""Seconds: a Corefile that allows a zone later is heard of soon."""

_NOBODY = from_text("nobody.invalid")
_EDE = ((EDE_PROHIBITED, "kept from upstreams"),)


@dataclass(frozen=True, slots=True)
class LeakguardConfig:
    """Zones in wire form."""

    zones: frozenset[bytes] = frozenset()
    """Guarded besides private reverse zones and the cluster's."""

    allowed: frozenset[bytes] = frozenset()


class LeakguardLink(Link):
    """Stops queries for guarded names."""

    name = "leakguard"
    varies = NOTHING

    def __init__(self, config: LeakguardConfig, builder: BlockBuilder, counter: Counter) -> None:
        self._config = config
        self._builder = builder
        self._counter = counter
        self._zones = PRIVATE | config.zones

    def placed(self, behind: Sequence[Link]) -> None:
        """
        Guard the cluster's domain; a zone for which the block names upstreams of its own is allowed.
        """
        cluster = self._builder.find(ServesCluster)
        domains = [zone.name for zone in cluster.config.zones] if cluster is not None else [CLUSTER]
        domains = [domain for domain in domains if domain != ROOT and not is_subdomain(domain, ARPA)]
        origins = [one.stanza.origin for link in behind if isinstance(link, AsksUpstreams) for one in link.forwarders]
        allowed = self._config.allowed | {origin for origin in origins if origin != ROOT}
        self._zones = (PRIVATE | self._config.zones | set(domains)) - allowed
        self._allowed = allowed

    _allowed: frozenset[bytes] = frozenset()

    def _guarded(self, qname: bytes) -> bytes | None:
        """The zone by which a name is stopped; None when it may pass."""
        zone = longest_zone(qname, self._zones)
        if zone is None:
            return None
        allowed = longest_zone(qname, self._allowed)
        return None if allowed is not None and len(allowed) > len(zone) else zone

    def answer(self, request: Request, next: Next) -> Reply:
        """Deny guarded names, and pass on all others."""
        zone = self._guarded(request.qname)
        if zone is None:
            return next(request)
        self._counter.inc()
        rcode = NOERROR if request.qname == zone else NXDOMAIN
        start = soa(request.spelled[-len(zone) :], TTL, zone, _NOBODY, (1, TTL, TTL, TTL, TTL))
        body = records(authority=[start])
        return Answer(rcode, body=body, ede=_EDE, validity=ALWAYS, source=self.name, charges=(self._counter,))

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """What is stopped goes the general way, all else is passed on."""
        return Effect(admits=lambda qname, qtype, client: self._guarded(qname) is None)

    def explain(self, request: Request) -> list[Note]:
        """Why the name is not asked of upstreams."""
        zone = self._guarded(request.qname)
        if zone is None:
            return []
        return [
            Note("the name is private, and is kept from upstreams; `allow` in leakguard lets it pass", missing=True)
        ]


class LeakguardDirective:
    """See :class:`kdns.plugin.Directive`."""

    name, before = "leakguard", "loop"

    def parse(self, tokens: Dispenser, block: Block) -> LeakguardConfig:
        """``leakguard [ZONES...] { allow ZONES... }``, once."""
        zones: set[bytes] = set()
        allowed: set[bytes] = set()
        for _ in tokens.invocations(once=True):
            for word in tokens.remaining_args():
                zones.update(zone.name for zone in tokens.convert(zones_of, word))
            for option in tokens.block():
                if option != "allow":
                    raise tokens.unknown_property("allow")
                for word in tokens.args(1, None):
                    allowed.update(zone.name for zone in tokens.convert(zones_of, word))
        return LeakguardConfig(frozenset(zones), frozenset(allowed))

    def build(self, config: LeakguardConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        counter = builder.context.registry.counter(
            "kdns_leakguard_stopped_total", "Queries for private names that were kept from upstreams."
        ).counter()
        builder.link(LeakguardLink(config, builder, counter))


directive = LeakguardDirective()
