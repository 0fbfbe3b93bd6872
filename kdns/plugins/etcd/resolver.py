# -*- test-case-name: tests.plugins.etcd.test_resolver -*-
"""``etcd`` as a link of the chain: from what the index says to an answer, and what follows outside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer, records
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect, Limit, SourceMaker
from kdns.core.record_source import FoundRecords, RecordSource
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.core.validity import NOTHING, Validity
from kdns.plugins.etcd.config import EtcdConfig
from kdns.plugins.etcd.lookup import Item, Lookup, Made, Outside
from kdns.plugins.etcd.records import RecordIndex
from kdns.wire.constants import (
    AA,
    AXFR,
    EDE_NOT_READY,
    EDE_OTHER,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    IXFR,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SOA,
    TC,
)
from kdns.wire.names import MAX_NAME, MalformedName, labels_of, longest_zone, to_text
from kdns.wire.records import Record, soa

SOA_TTL = 30
REFRESH, RETRY, EXPIRE = 7200, 1800, 86400

MOST_OUTSIDE = 50
"""Names outside the zone that one question leads to; further ones are left out."""

STALE_TTL = 30
"""Seconds that a client may keep a record that may be out of date, at most (RFC 8767 section 5)."""

STALE_SECONDS = 1.0
"""How long a reply that tells the age of its data is repeated."""

LEASED_SECONDS = 1.0
"""How long a reply is repeated whose TTL follows a lease."""


class Store(Protocol):
    """What the link needs of :class:`kdns.plugins.etcd.store.EtcdStore`."""

    index: RecordIndex
    synced: bool
    why: str
    serial: int

    def staleness(self) -> tuple[str, StampRef] | None:
        """What to tell clients while the data may be out of date, with the stamp that moves when that ends."""

    def fresh(self) -> StampRef:
        """The stamp that moves when the data may be out of date."""

    def freshness(self) -> Sequence[str]:
        """Where the data are from, for the operator."""


class EtcdLink(Link):
    """Names of one ``etcd``."""

    name = "etcd"
    varies = NOTHING

    def __init__(self, config: EtcdConfig, store: Store, clock: Callable[[], float]) -> None:
        self.config = config
        self._store = store
        self._clock = clock
        self._zones = frozenset(config.zones)
        self._fallthrough = frozenset(config.fallthrough)
        self._lookup = Lookup(store.index, config.min_lease_ttl, config.max_lease_ttl)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Names outside the zones are passed on."""
        return NO_EFFECT

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """Each zone; what is not simply in the index is asked about."""
        return {zone: partial(self._fast_source, zone) for zone in self._zones}

    def _fast_source(self, zone: bytes, success_ttl: Limit, denial_ttl: Limit, keeps: bool) -> RecordSource:
        return RecordSource(partial(self._fast, zone), success_ttl, denial_ttl, keeps)

    def _fast(self, zone: bytes, qname: bytes, qtype: int) -> FoundRecords | None:
        if not self._store.synced or self._store.staleness() is not None:
            return None
        made = self._lookup.find(qname, qname, qtype, zone, self._clock())
        # Negative answers show the serial of now, and a TTL of a lease is that of now: both hold for seconds only.
        if made.failed or made.leased or not made.answer:
            return None
        answer, additional = _without_outside(made.answer), _without_outside(made.additional)
        if answer is None or additional is None:
            return None
        return FoundRecords(NOERROR, answer, (), additional, (*made.stamps, self._store.fresh()))

    def answer(self, request: Request, next: Next) -> Reply | Coroutine[Any, Any, Answer]:
        """Answer names in the zones; others are the next plugin's."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return next(request)
        if request.qtype in (AXFR, IXFR):
            return Answer(REFUSED, source=self.name)
        store = self._store
        if not store.synced:
            ede = (EDE_NOT_READY, "etcd has not been read yet")
            return Answer(SERVFAIL, AA, records((), self._soa(zone)), ede=(ede,), source=self.name)
        reply = self._answer(request, next, zone)
        stale = store.staleness()
        if stale is None or not isinstance(reply, Answer):
            return reply
        return self._marked(reply, *stale)

    def _answer(self, request: Request, next: Next, zone: bytes) -> Reply | Coroutine[Any, Any, Answer]:
        apex = request.qname == zone
        if request.qtype == SOA and apex:
            return self._made(Validity(True, self._clock() + SOA_TTL, (self._store.fresh(),)), self._soa(zone))
        made = self._lookup.find(request.qname, request.spelled, request.qtype, zone, self._clock())
        stamps = (*made.stamps, self._store.fresh())
        if made.falls_through and self._falls_through(request.qname):
            return then(next(request), partial(_while_nothing_there, stamps))
        if made.failed:
            ede = (EDE_OTHER, made.failed)
            body = records((), self._soa(zone))
            return Answer(SERVFAIL, AA, body, ede=(ede,), validity=Validity(stamps=stamps), source=self.name)
        until = self._clock() + (LEASED_SECONDS if made.leased else float("inf"))
        validity = Validity(True, until, stamps)
        if any(isinstance(item, Outside) for item in (*made.answer, *made.additional)):
            return self._completed(request, zone, made, validity)
        if not made.answer:
            return self._negative(NOERROR if made.exists else NXDOMAIN, zone, validity)
        return self._made(validity, made.answer, made.additional)

    async def _completed(self, request: Request, zone: bytes, made: Made, validity: Validity) -> Answer:
        """Look up what leads out of the zone, all at the same time."""
        outside = [item for item in (*made.answer, *made.additional) if isinstance(item, Outside)][:MOST_OUTSIDE]
        asked = {item: request.server.resolve(request.about(item.target, item.qtype)) for item in outside}
        flags, failed = 0, False
        sections: list[list[Record]] = []
        try:
            for items in (made.answer, made.additional):
                found: list[Record] = []
                for item in items:
                    if not isinstance(item, Outside):
                        found.append(item)
                    elif item in asked:
                        inner = await asked[item]
                        validity = validity.joined(inner.validity)
                        flags |= inner.flags & TC
                        if item.alias is not None:
                            found.append(item.alias)
                            failed = failed or inner.rcode == SERVFAIL
                        found += _answer_of(inner)
                sections.append(found)
        finally:
            for reply in asked.values():
                if isinstance(reply, Deferred) and not reply.called:  # the client waits no more
                    reply.addErrback(_ignore)
                    reply.cancel()
        answer, additional = sections
        if failed and not any(record.rtype == request.qtype for record in answer):
            # The alias is known and what it leads to is not: without an address that is no answer.
            return Answer(SERVFAIL, AA, records(answer), validity=validity.not_repeated(), source=self.name)
        reply = self._made(validity, answer, additional, flags)
        stale = self._store.staleness()
        return reply if stale is None else self._marked(reply, *stale)

    # Answers

    def _soa(self, zone: bytes) -> list[Record]:
        mname, rname = b"\x02ns\x03dns" + zone, b"\x0ahostmaster" + zone
        if max(len(mname), len(rname)) > MAX_NAME:
            mname = rname = zone
        return [soa(zone, SOA_TTL, mname, rname, (self._store.serial, REFRESH, RETRY, EXPIRE, SOA_TTL))]

    def _made(
        self, validity: Validity, answer: Sequence[Item], additional: Iterable[Item] = (), flags: int = 0
    ) -> Answer:
        def only(items: Iterable[Item]) -> list[Record]:
            return [item for item in items if not isinstance(item, Outside)]

        return Answer(
            flags=AA | flags, body=records(only(answer), (), only(additional)), validity=validity, source=self.name
        )

    def _negative(self, rcode: int, zone: bytes, validity: Validity) -> Answer:
        # It shows the serial of now, so it is made again after its TTL.
        holds = validity.narrowed(until=self._clock() + SOA_TTL)
        return Answer(rcode, AA, records((), self._soa(zone)), validity=holds, source=self.name)

    def _marked(self, answer: Answer, text: str, noted: StampRef) -> Answer:
        """Say that an answer may be out of date, and have clients keep it for a short time only (RFC 8914 section 4.4)."""
        code = EDE_STALE_NXDOMAIN if answer.rcode == NXDOMAIN else EDE_STALE_ANSWER
        holds = answer.validity.narrowed(until=self._clock() + STALE_SECONDS, stamps=(noted,))
        short = answer.mapped(lambda record: record._replace(ttl=min(record.ttl, STALE_TTL)))
        return replace(short, ede=(*answer.ede, (code, text)), validity=holds)

    def _falls_through(self, qname: bytes) -> bool:
        return bool(self._fallthrough) and longest_zone(qname, self._fallthrough) is not None

    # What an operator is told

    def explain(self, request: Request) -> list[Note]:
        """Which key the name is, and how many records there are."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return [Note(f"not for this name: its zones are {', '.join(map(to_text, sorted(self._zones)))}")]
        if not self._store.synced:
            return [Note(f"zone {to_text(zone)}: {self._store.why}; so SERVFAIL", missing=True)]
        made = self._lookup.find(request.qname, request.spelled, request.qtype, zone, self._clock())
        labels = "/".join(
            to_text(bytes((len(label),)) + label + b"\0")[:-1] for label in reversed(labels_of(request.qname))
        )
        key = f"zone {to_text(zone)}, key {self.config.source.prefix}{labels}"
        if made.failed:
            return [Note(f"{key}: {made.failed}; so SERVFAIL", missing=True)]
        if made.falls_through:
            passes = self._falls_through(request.qname)
            ends = "; the next plugin is asked (fallthrough)" if passes else ""
            return [Note(f"{key}: there is no key at or below it{ends}", missing=not passes)]
        outside = [to_text(item.target) for item in made.answer if isinstance(item, Outside)]
        records = "1 record" if made.found == 1 else f"{made.found} records"
        text = f"{key}: {records}, of which {len(made.answer)} answer{'s' if len(made.answer) == 1 else ''}"
        notes = [Note(text, missing=not made.answer)]
        if outside:
            notes.append(Note(f"looked up through the server: {', '.join(outside)}"))
        return notes

    def freshness(self) -> Sequence[str]:
        """Where the data are from."""
        stale = self._store.staleness()
        return [*self._store.freshness(), *((f"stale: {stale[0]}",) if stale is not None else ())]


def _without_outside(items: Sequence[Item]) -> list[Record] | None:
    """The records; None when something must be looked up."""
    records: list[Record] = []
    for item in items:
        if isinstance(item, Outside):
            return None
        records.append(item)
    return records


def _while_nothing_there(stamps: tuple[StampRef, ...], came: Answer) -> Answer:
    """What the next plugin says holds as long as etcd has nothing to say."""
    return came.with_validity(came.validity.narrowed(stamps=stamps))


def _ignore(failure: Failure) -> None:
    """What becomes of a look-up that nobody waits for."""


def _answer_of(inner: Answer) -> Sequence[Record]:
    """The answer section of a look-up; nothing where it cannot be read, or there is no reply."""
    if inner.silent:
        return ()
    try:
        return inner.answer
    except MalformedName:
        return ()
