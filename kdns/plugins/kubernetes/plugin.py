# -*- test-case-name: tests.plugins.kubernetes.test_plugin -*-
"""
The ``kubernetes`` link: zones, names, answers, and names passed to the next plugin.

Only an external name that points out of the zone has to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from random import Random, SystemRandom
from typing import Protocol

from msgspec.structs import replace

from kdns.cluster.index import ClusterIndex
from kdns.cluster.invalidation import Serial
from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect, Limit, Source, SourceMaker
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.core.validity import ALWAYS, NOTHING, Validity
from kdns.plugin.capabilities import KnowsSearchPaths, OffersTransfers, ServesCluster
from kdns.plugins.kubernetes.config import Config, is_reverse
from kdns.plugins.kubernetes.explaining import explain
from kdns.plugins.kubernetes.fast import ReverseNames, ServiceNames
from kdns.plugins.kubernetes.lookup import Lookup
from kdns.plugins.kubernetes.names import Parsed, Shape, parse_name
from kdns.plugins.kubernetes.result import Group, Result
from kdns.plugins.kubernetes.search_path import PodSearchPaths
from kdns.plugins.kubernetes.transfer import ClusterTransfer
from kdns.plugins.kubernetes.zone import SOURCE, Zone, reply_budget
from kdns.wire.constants import (
    AA,
    AAAA,
    AXFR,
    CNAME,
    EDE_NOT_READY,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    IXFR,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SOA,
    SRV,
    TC,
    TXT,
    A,
)
from kdns.wire.names import MalformedName, address_of_reverse, is_subdomain, longest_zone
from kdns.wire.records import Record, cname

STALE_SECONDS = 1.0
"""How long a reply that tells the age of its data is given again as it is."""

NOT_READY = "not all of the cluster is known yet"
"""The text for clients. The reason names addresses of the control plane, so it is for the operator only."""

MOST_ALIASES = 10
"""External names that are followed inside the zone for one query."""


class Cluster(Protocol):
    """The cluster, as the plugin needs it."""

    index: ClusterIndex

    @property
    def synced(self) -> bool:
        pass

    def why_not_ready(self) -> str:
        pass

    def staleness(self) -> tuple[str, StampRef] | None:
        """While answers may be out of date: the reason, and a stamp that moves when they no longer are; else None."""

    def pods_are_current(self) -> bool:
        """Whether pod changes arrive as they happen, as far as is known."""


class ClusterZone(Link, ServesCluster, OffersTransfers, KnowsSearchPaths):
    """Answers for the zones of one configuration from one index."""

    name = SOURCE
    varies = NOTHING

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        clock: Callable[[], float],
        own_addresses: Callable[[], Sequence[bytes]] = tuple,
        chance: Random | None = None,
    ) -> None:
        """
        :param clock: seconds of the clock that answers' validity is in.
        :param own_addresses: the server's own addresses, packed.
        :param chance: draws the endpoints of a Service that has more than a reply can hold.
        """
        self.config = config
        self.cluster: Cluster = cluster
        self._clock = clock
        self._own_addresses = own_addresses
        self._chance = SystemRandom() if chance is None else chance
        self._zones = frozenset(zone.name for zone in config.zones)
        self._lookup = Lookup(cluster.index, config)
        self._paths = PodSearchPaths(config, cluster)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Names outside the zones are passed on; names inside have sources, or go the general way."""
        return NO_EFFECT

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """Names of services of this cluster; other zones go the general way."""
        return {zone: self._fast_source(zone) for zone in self._zones}

    def _fast_source(self, zone: bytes) -> SourceMaker | None:
        if zone in self.config.multicluster or any(is_subdomain(one, zone) for one in self._zones - {zone}):
            return None
        denies = not any(is_subdomain(one, zone) or is_subdomain(zone, one) for one in self.config.fallthrough)
        index, config, lookup, known = self.cluster.index, self.config, self._lookup, self._known

        def make(success_ttl: Limit, denial_ttl: Limit, keeps: bool) -> Source:
            if is_reverse(zone):
                return ReverseNames(config, lookup, known, success_ttl, denial_ttl)
            return ServiceNames(index, config, zone, known, denies, lookup, success_ttl, denial_ttl)

        return make

    def _known(self) -> bool:
        """Whether the index is complete and up to date."""
        return self.cluster.synced and self.cluster.staleness() is None

    def transfer_zone(self, name: bytes) -> ClusterTransfer | None:
        if name not in self._zones or name in self.config.multicluster:
            return None
        cluster = self.cluster
        return ClusterTransfer(
            name, self.config, cluster.index, self._lookup, self._own_addresses, lambda: cluster.synced
        )

    def answer(self, request: Request, next: Next) -> Reply:
        """Answer for names in the zones; others are the next plugin's."""
        zone_name = longest_zone(request.qname, self._zones)
        if zone_name is None:
            return next(request)
        stale = self.cluster.staleness()
        if stale is None:
            return self._answer(request, next, zone_name)
        return then(
            self._answer(request, next, zone_name),
            partial(marked_stale, SOURCE, *stale, self._clock() + STALE_SECONDS),
        )

    def _answer(self, request: Request, next: Next, zone_name: bytes) -> Reply:
        if request.qtype in (AXFR, IXFR):
            return Answer(REFUSED)
        which = Serial.MULTICLUSTER if zone_name in self.config.multicluster else Serial.CLUSTER
        spelled = request.spelled[len(request.spelled) - len(zone_name) :]
        zone = Zone(spelled, self.config.ttl, self.cluster.index.serial(which))
        if request.qname == zone_name:
            return self._apex(request, zone, which)
        if request.qtype == SOA:
            return zone.nodata((), self._clock())
        found: Result
        answer: Reply | None
        if is_reverse(request.qname):
            # Not the zone is asked: with zone "." names of addresses are below a zone that is no reverse one.
            found, answer = self._reverse(request, zone)
        else:
            front = request.qname[: -len(zone_name)]
            parsed = parse_name(front, which is Serial.MULTICLUSTER, self.config.source.zones)
            found, answer = self._forward(request, zone, zone_name, parsed)
        if found.exists:
            assert answer is not None
            return answer
        return self._missing(request, zone, zone_name, found, next)

    def _missing(self, request: Request, zone: Zone, zone_name: bytes, found: Result, next: Next) -> Reply:
        """A missing name: passed to the next plugin, not known yet, or NXDOMAIN."""
        if self.config.falls_through(request.qname):
            # What the next plugin says holds only as long as the cluster has nothing to say.
            return then(next(request), partial(_dependent, tuple(found.stamps)))
        if not self.cluster.synced:
            return zone.not_ready((EDE_NOT_READY, NOT_READY))
        return zone.nxdomain(found.stamps, self._clock())

    # What autopath asks.

    def path_group(self, client: str) -> Hashable:
        """See :class:`kdns.plugin.capabilities.KnowsSearchPaths`."""
        return self._paths.group(client)

    def search_path(self, request: Request) -> tuple[bytes, ...]:
        """See :class:`kdns.plugin.capabilities.KnowsSearchPaths`."""
        return self._paths.path(request)

    # For operators; see kdns.core.explaining.

    def explain(self, request: Request) -> list[Note]:
        """How the name is parsed, the objects behind it, and what is missing."""
        notes = explain(self.config, self._lookup, self.cluster.index, request.qname, request.qtype)
        if self.cluster.synced:
            return notes
        # What is missing cannot be told until everything is known.
        unknown = Note(f"{NOT_READY}: {self.cluster.why_not_ready()}", missing=True)
        return [unknown, *(note for note in notes if not note.missing)]

    def freshness(self) -> list[str]:
        """The source of the data and its age."""
        tell = getattr(self.cluster, "freshness", None)  # an embedding program's own cluster need not have it
        lines: list[str] = tell() if tell is not None else []
        stale = self.cluster.staleness()
        return [*lines, f"stale: answers are {stale[0]}"] if stale is not None else lines

    # The zone itself, and names that are in no cluster.

    def _apex(self, request: Request, zone: Zone, which: Serial) -> Answer:
        if request.qtype == SOA:
            return zone.answer([zone.soa_record()], (), [self.cluster.index.stamps.note(which)])
        if request.qtype == NS:
            own = self._own_addresses()
            found, pairs = self._lookup.name_servers(own)
            records, glue = zone.name_servers(request.spelled, pairs, own)
            if records:
                return zone.answer(records, glue, found.stamps)
        return zone.nodata((), self._clock())

    def _name_server(self, request: Request, zone: Zone) -> tuple[Result, Answer]:
        own = self._own_addresses()
        found, pairs = self._lookup.name_servers(own)
        found.exists = True
        addresses = tuple([pair.address for pair in pairs]) or tuple(own)
        if addresses and request.qtype != SRV:
            found.groups.append(Group(addresses, (None,), b""))
        return found, self._existing(request, zone, found)

    # Names of services and pods.

    def _forward(self, request: Request, zone: Zone, zone_name: bytes, parsed: Parsed) -> tuple[Result, Reply | None]:
        if parsed.shape is Shape.INVALID:
            return Result(), None
        if parsed.shape is Shape.STRUCTURE:
            return Result(exists=True), zone.nodata((), self._clock())
        if parsed.shape is Shape.NAME_SERVER:
            return self._name_server(request, zone)
        if parsed.shape is Shape.VERSION:
            if request.qtype != TXT:
                return Result(), None
            return Result(exists=True), replace(zone.answer([zone.version(request.spelled)], (), ()), validity=ALWAYS)
        found = self._lookup.find(parsed, zone_name in self.config.multicluster)
        if not found.exists:
            return found, None
        if found.alias is not None:
            return found, self._alias(request, zone, zone_name, found)
        return found, self._existing(request, zone, found)

    def _existing(self, request: Request, zone: Zone, found: Result) -> Answer:
        return zone.existing(request.spelled, request.qtype, found, reply_budget(request), self._chance, self._clock())

    # External names.

    def _alias(self, request: Request, zone: Zone, zone_name: bytes, found: Result) -> Reply:
        """
        An external name: the CNAME alone for those who ask for it, else the CNAME with what its target leads to.

        Inside the zone the target is followed here, and a chain that leads to no record is no answer at all. Outside it the whole server
        is asked, and whatever that says the CNAME stands.
        """
        assert found.alias is not None
        if request.qtype == CNAME:
            return zone.answer([cname(request.spelled, zone.ttl, found.alias)], (), found.stamps)
        nothing = partial(zone.nodata, now=self._clock())
        if request.qtype not in (A, AAAA):
            return nothing(found.stamps)
        records: list[Record] = []
        stamps = list(found.stamps)
        owner, target = request.spelled, found.alias
        seen = {request.qname}
        while True:
            # A target that is the name itself or below it would never end.
            if target in seen or is_subdomain(target, owner.lower()) or len(records) > MOST_ALIASES:
                return nothing(stamps)
            seen.add(target)
            records.append(cname(owner, zone.ttl, target))
            if longest_zone(target, self._zones) != zone_name:
                inner = request.server.resolve(request.about(target))
                return then(inner, partial(_followed, zone, records, tuple(stamps), nothing))
            front = target[: -len(zone_name)]
            parsed = parse_name(front, zone_name in self.config.multicluster, self.config.source.zones)
            if parsed.shape not in (Shape.SERVICE, Shape.POD):
                return nothing(stamps)
            step = self._lookup.find(parsed, zone_name in self.config.multicluster)
            stamps += step.stamps
            if step.alias is not None:
                owner, target = target, step.alias
                continue
            addresses, _ = zone.addresses(
                front + zone.spelled, request.qtype, step, reply_budget(request), self._chance
            )
            if not addresses:
                return nothing(stamps)
            return zone.answer(records + addresses, (), stamps)

    # Names of addresses.

    def _reverse(self, request: Request, zone: Zone) -> tuple[Result, Answer | None]:
        address = address_of_reverse(request.qname)
        if address is None or request.qtype != PTR:
            return Result(), None
        found, targets = self._lookup.reverse(address)
        if not found.exists:
            return found, None
        records = zone.pointers(request.spelled, targets, self.config.primary)
        return found, zone.answer(records, (), found.stamps)


def marked_stale(source: str, text: str, noted: StampRef, until: float, answer: Answer) -> Answer:
    """Mark an answer of *source* as possibly out of date (RFC 8914 sections 4.4 and 4.20)."""
    if answer.source != source:
        return answer
    code = EDE_STALE_NXDOMAIN if answer.rcode == NXDOMAIN else EDE_STALE_ANSWER
    holds = answer.validity.narrowed(until=until, stamps=(noted,))
    return replace(answer, ede=(*answer.ede, (code, text)), validity=holds)


def _dependent(stamps: tuple[StampRef, ...], answer: Answer) -> Answer:
    return answer.with_validity(answer.validity.narrowed(stamps=stamps))


def _followed(
    zone: Zone,
    records: list[Record],
    stamps: tuple[StampRef, ...],
    nothing: Callable[[tuple[StampRef, ...]], Answer],
    inner: Answer,
) -> Answer:
    """The CNAMEs with the server's answer for the target, whatever its response code."""
    if inner.silent:
        return nothing(stamps)
    try:
        behind = inner.sections()[0]
    except MalformedName:
        behind = ()
    return Answer(
        flags=AA | inner.flags & TC,
        body=Sections((*records, *behind)),
        # Each look-up inside is logged and counted, so the reply is not replayed without it.
        validity=Validity(stamps=inner.validity.stamps + stamps, cache=inner.validity.cacheable),
        source=SOURCE,
    )
