# -*- test-case-name: tests.plugins.stores.test_zones -*-
"""
Zones that a provider hosts: read through its API into memory, and read again from time to time.

*route53*, *azure* and *clouddns* are this with a provider each.

A new version takes the place of the old one in one moment. When the provider cannot be asked, the old one is served on.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Generator, Hashable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.chain import Next, Reply, then
from kdns.core.degraded import Fault
from kdns.core.fast_path import SourceMaker
from kdns.core.request import Request
from kdns.core.slices import in_slices
from kdns.core.timing import pause
from kdns.plugin.capabilities import TransferZone
from kdns.plugin.seam import BlockBuilder, Resource, ServerContext
from kdns.plugins.file.answering import ZonesLink
from kdns.plugins.file.served import ServedZone
from kdns.plugins.stores.metrics import StoreMetrics
from kdns.plugins.stores.rest import RestClient, StoreProblem, short
from kdns.plugins.stores.starting import StartWait
from kdns.wire.constants import type_number
from kdns.wire.names import BadName, longest_zone, spelled_from_text
from kdns.zones.lookup import look_up
from kdns.zones.rdata import BadRdata, parse_rdata
from kdns.zones.zone import BadZone, Zone, ZoneBuilder

FIRST_RETRY = 2.0
"""Seconds until the provider is asked again after a failure; doubled with each, up to the refresh interval."""

MOST_RECORD_SETS = 2_000_000
"""Record sets of a zone; a provider's own limits are lower."""

MOST_SHOWN = 3
"""Record sets that an error names."""

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|(?:[^\s"\\]|\\.)+', re.DOTALL)


class RecordSet(NamedTuple):
    """Records of one name and type, as a provider has them."""

    owner: str
    """In presentation form, with or without the final dot."""

    rtype: str
    ttl: int
    values: Sequence[str]
    """Rdata as in a master file, names in it absolute."""


class Page(NamedTuple):
    """A part of a zone."""

    sets: Sequence[RecordSet]
    body: bytes
    """The answer that it is from, which tells whether anything has changed."""


class Provider(Protocol):
    """Where a zone comes from."""

    name: str
    """The hosted zone, as the operator calls it."""

    def pages(self, client: RestClient) -> AsyncIterator[Page]:
        """
        Read the whole zone.

        :raises StoreProblem: that is not possible.
        """


class BadValue(ValueError):
    """A value of a record set is no rdata."""


def rdata_of(rtype: int, value: str) -> bytes:
    """
    Rdata in wire form; names are absolute, with or without the final dot.

    :raises BadValue: *value* is none.
    """
    words = [word.encode("utf-8") for word in _WORD.findall(value)]
    try:
        return parse_rdata(rtype, words, b"\x00")
    except (BadRdata, BadName) as error:
        raise BadValue(str(error)) from None


class HostedZone(Resource):
    """One hosted zone."""

    def __init__(
        self,
        plugin: str,
        fault: Fault,
        origin: bytes,
        provider: Provider,
        refresh: float,
        context: ServerContext,
    ) -> None:
        self.served = ServedZone(origin, plugin, context.registry)
        self.served.why = "the zone has not been read yet"
        self._plugin = plugin
        self._provider = provider
        self._refresh = refresh
        self._context = context
        self._client = RestClient(context.reactor)
        self._log = Logger(namespace=f"plugin/{plugin}")
        self._digest: list[bytes] = []
        self._read_at = 0.0
        """When it was read last, whether it had changed or not."""

        self._pause = FIRST_RETRY
        self._waiting = StartWait(context.reactor)
        self._work: Deferred[None] | None = None
        name = f"{plugin} zone {self.served.name} ({provider.name})"
        self._away = context.degraded.condition(fault, name)
        self._unreadable = context.degraded.condition(fault, f"{name}, records")
        self.metrics = StoreMetrics(context.registry, plugin, provider.name)

    def freshness(self) -> str:
        """What was read, and when, in words."""
        name, zone = f"zone {self.served.name} ({self._provider.name})", self.served.zone
        if zone is None:
            return f"{name}: {self.served.why}"
        age = max(0.0, self._context.clock() - self._read_at)
        return f"{name}: serial {zone.serial}, {zone.records} records, read {age:.0f} s ago"

    # Life

    def start(self) -> Deferred[None]:
        """
        Fires when the zone is there, when it cannot be read, or after some seconds.

        A provider that is away must not keep the rest from starting.
        """
        waiting = self._waiting.begin()
        self._work = Deferred.fromCoroutine(self._keep_reading()).addErrback(self._panicked)
        return waiting

    def _panicked(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("reading {zone}", failure, zone=self.served.name)

    def stop(self) -> Deferred[Any]:
        """Read no more; answers from the zone are not given any more."""
        if self._work is not None:
            self._work.cancel()
        self._waiting.stop()
        self._away.forget()
        self._unreadable.forget()
        self.served.stamp.bump()
        old, self.served.zone = self.served.zone, None
        self._free(old)
        return self._client.stop()

    def _free(self, zone: Zone | None) -> None:
        if zone is not None:
            self._context.deferred_free.take(zone.index)

    # Work

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._read()
            except (StoreProblem, BadZone) as problem:
                self._failed(str(problem))
                self._waiting.end()
                await pause(self._context.reactor, self._pause)
                self._pause = min(2 * self._pause, self._refresh)
            else:
                self._pause = min(FIRST_RETRY, self._refresh)
                self._waiting.end()
                # Spread, so that not all zones and all replicas ask at once.
                await pause(self._context.reactor, self._refresh * self._context.random.uniform(0.9, 1.1))

    def _failed(self, text: str) -> None:
        self.metrics.failed.value += 1
        self.served.failed.value += 1
        if self.served.zone is None:
            self.served.why = f"the zone has not been read yet: {text}"
        self._away.begin(text, self._context.wall(), self._log)

    async def _read(self) -> None:
        sets: list[RecordSet] = []
        digest: list[bytes] = []
        async for page in self._provider.pages(self._client):
            sets += page.sets
            digest.append(blake2b(page.body, digest_size=16).digest())
            if len(sets) > MOST_RECORD_SETS:
                raise StoreProblem(f"{self._provider.name}: more than {MOST_RECORD_SETS} record sets")
        if digest != self._digest or self.served.zone is None:
            builder = ZoneBuilder(self.served.origin)
            await in_slices(self._context.reactor, self._build(builder, sets))
            self._free(self.served.put(builder.zone, (None,)))
            self._digest = digest
            self.metrics.entries.set(builder.zone.records)
        self._read_at = self._context.clock()
        self.metrics.succeeded(self._context.wall())
        self._away.end(self._context.wall(), self._log)

    def _build(self, builder: ZoneBuilder, sets: list[RecordSet]) -> Generator[None, None, None]:
        """
        Add all records.

        :raises BadZone: they are no zone.
        """
        bad: list[str] = []
        for one in sets:
            try:
                self._add(builder, one)
            except (BadValue, BadName) as problem:
                bad.append(f"{short(one.owner)} {short(one.rtype)}: {short(str(problem))}")
            yield
        shown = "; ".join(bad[:MOST_SHOWN])
        text = f"{len(bad)} record set{'s are' if len(bad) > 1 else ' is'} left out: {shown}"
        if not builder.has_soa:
            raise BadZone(f"no SOA record; {text}" if bad else "no SOA record")
        yield from builder.finish()
        self.metrics.unreadable.set(len(bad))
        if bad:
            self._unreadable.begin(text, self._context.wall(), self._log)
        else:
            self._unreadable.end(self._context.wall(), self._log)

    def _add(self, builder: ZoneBuilder, one: RecordSet) -> None:
        rtype = type_number(one.rtype)
        if rtype is None:
            raise BadValue("a type that DNS does not have")
        spelled = spelled_from_text(one.owner)
        # All or none: half of a set of addresses would be a wrong answer.
        rdata = [rdata_of(rtype, value) for value in one.values]
        for data in rdata:
            builder.add(spelled.lower(), rtype, one.ttl, data, spelled)


class HostedZonesLink(ZonesLink):
    """
    Answer names of hosted zones, of which several may have one name.

    :param zones: by origin, in the order in which they are asked.
    """

    def __init__(self, name: str, zones: Mapping[bytes, Sequence[HostedZone]], fallthrough: Sequence[bytes]) -> None:
        super().__init__(name, {origin: hosted[0].served for origin, hosted in zones.items()}, fallthrough)
        self._hosted = [one for hosted in zones.values() for one in hosted]
        self._several = {origin: [one.served for one in hosted] for origin, hosted in zones.items() if len(hosted) > 1}

    def answer(self, request: Request, next: Next) -> Reply:
        """An answer depends on all hosted zones of the name's zone."""
        if not self._several:
            return super().answer(request, next)
        origin = longest_zone(request.qname, self.zones)
        refs = tuple([served.stamp.ref() for served in self._several.get(origin or b"", ())])
        reply = super().answer(request, next)
        return then(reply, lambda answer: answer.with_validity(answer.validity.narrowed(stamps=refs)))

    def fast_sources(self) -> dict[bytes, SourceMaker | None]:
        """Where several hosted zones have one name, the link is asked which of them answers."""
        return {origin: None if origin in self._several else maker for origin, maker in super().fast_sources().items()}

    def freshness(self) -> list[str]:
        """What each hosted zone is at."""
        return [one.freshness() for one in self._hosted]

    def refuses(self, request: Request) -> bool:
        """A name outside the zones with no plugin behind is SERVFAIL, as for other plugins."""
        return False

    def transfer_zone(self, name: bytes) -> TransferZone | None:  # type: ignore[override]  # none at all
        """Zones of a provider are not handed out."""
        return None

    def watch_zones(self, watcher: Callable[[Any], None]) -> None:
        """No zone is handed out."""

    def _zone_for(self, request: Request) -> ServedZone | None:
        """
        Of several zones of a name the first that has the name, else the last one.

        While one of them has not been read, a name that no other has may be in that one.
        """
        served = super()._zone_for(request)
        several = None if served is None else self._several.get(served.origin)
        if several is None:
            return served
        unread = None
        for one in several:
            if one.zone is None:
                unread = one
                continue
            served = one
            found = look_up(one.zone, request.qname, request.qtype, request.do)
            if found.answer or not found.authoritative or not (found.rcode or found.falls_through):
                return served
        return unread or served


class ZoneConfig(Hashable, Protocol):
    """The settings of a hosted zone."""

    @property
    def origin(self) -> bytes:
        """The zone's name, wire form, lower case."""


ConfigT = TypeVar("ConfigT", bound=ZoneConfig)


def link_hosted(
    builder: BlockBuilder,
    name: str,
    zones: Iterable[ConfigT],
    fallthrough: Sequence[bytes],
    identity: Callable[[ConfigT], Hashable],
    made: Callable[[ConfigT], HostedZone],
) -> None:
    """
    Add the link. A zone whose settings did not change is kept over a reload.

    :param identity: what makes a zone the same as before, whatever its other settings.
    """
    hosted: dict[bytes, list[HostedZone]] = {}
    for zone in zones:
        kept = builder.keep((name, zone.origin, identity(zone)), zone, partial(made, zone))
        hosted.setdefault(zone.origin, []).append(kept)
    builder.link(HostedZonesLink(name, hosted, fallthrough))


def origin_of(text: str) -> bytes:
    """
    The zone of a word, with or without its final dot, in lower case.

    :raises ValueError: it is none.
    """
    return spelled_from_text(text).lower()


__all__ = [
    "BadValue",
    "HostedZone",
    "HostedZonesLink",
    "Page",
    "Provider",
    "RecordSet",
    "link_hosted",
    "origin_of",
    "rdata_of",
]
