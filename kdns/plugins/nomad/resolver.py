# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""``nomad`` as a link of the chain."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from kdns.core.answer import Answer, records
from kdns.core.chain import Link, Next, Reply
from kdns.core.explaining import Note
from kdns.core.failure import ResolutionFailed
from kdns.core.fast_path import NO_EFFECT, Effect, SourceMaker
from kdns.core.metrics import Counter
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.core.validity import NOTHING, ONCE, Validity
from kdns.plugins.nomad.answers import Names, Registration
from kdns.plugins.nomad.config import NomadConfig
from kdns.plugins.nomad.store import Age, Unknown
from kdns.wire.constants import (
    AA,
    AAAA,
    AXFR,
    EDE_NETWORK_ERROR,
    EDE_STALE_ANSWER,
    EDE_STALE_NXDOMAIN,
    IXFR,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    A,
)
from kdns.wire.names import is_subdomain, labels_of, to_text
from kdns.wire.records import Record, a_or_aaaa, soa, srv

PRIORITY = WEIGHT = 10
NUMBERS = (3600, 600, 86400, 30)
"""Refresh, retry, expire and minimum of the SOA."""

STALE_TTL = 30
"""Seconds that a client may keep what may be out of date, at most (RFC 8767 section 5)."""

PASSING = Validity(False, cache=True)
"""Of an answer whose end nobody will tell of: asked for each time, unless a cache keeps it for its TTL."""

UNKNOWN = "Nomad cannot be asked"
"""The text for clients; the reason names addresses, so it is for the operator alone."""


class Store(Protocol):
    """What the link needs of :class:`kdns.plugins.nomad.store.NomadStore`."""

    names: Names | None
    why: str
    serial: int
    succeeded: Any
    failed: Any

    def note(self) -> StampRef: ...
    def spelled(self, namespace: str, name: str) -> str | None: ...
    async def instances(self, namespace: str, name: str) -> tuple[list[Registration], Age]: ...
    def freshness(self) -> Sequence[str]: ...


class NomadLink(Link):
    """Names of one ``nomad``."""

    name = "nomad"
    varies = NOTHING

    def __init__(self, config: NomadConfig, store: Store, clock: Callable[[], float]) -> None:
        self.config = config
        self._store = store
        self._clock = clock

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Names outside the zone are passed on."""
        return NO_EFFECT

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """Names in the zone are asked about."""
        return {self.config.zone: None}

    def asks_others(self, request: Request) -> bool:
        """Nomad is asked about a service that nobody asked for since the last change."""
        return is_subdomain(request.qname, self.config.zone)

    def answer(self, request: Request, next: Next) -> Reply | Coroutine[Any, Any, Answer]:
        """Answer names in the zone; others are the next plugin's."""
        zone = self.config.zone
        if not is_subdomain(request.qname, zone):
            return next(request)
        if request.qtype in (AXFR, IXFR):
            return Answer(REFUSED, source=self.name)
        labels = [
            label.decode("latin-1") for label in labels_of(request.qname[: len(request.qname) - len(zone)] + b"\0")
        ]
        if not labels:
            if request.qtype == SOA:
                return Answer(flags=AA, body=records([self._soa()]), validity=self._held(), source=self.name)
            return self._negative(NOERROR)
        names = self._store.names
        if len(labels) == 1:
            known = names is None or any(namespace == labels[0] for namespace, _ in names)
            return self._negative(NOERROR if known else NXDOMAIN)
        return self._service(request, labels[1], labels[0])

    async def _service(self, request: Request, namespace: str, name: str) -> Answer:
        """The answer for a service; instances that are in memory do not have to wait."""
        store = self._store
        held = self._held()  # before Nomad is asked: what changes meanwhile ends the answer
        spelled = store.spelled(namespace, name)
        if spelled is None:
            return self._negative(NXDOMAIN, held)
        label = request.server.label
        try:
            found, age = await store.instances(namespace, spelled)
        except Unknown as problem:
            store.failed.counter(label, namespace if store.names is not None else "").inc()
            raise ResolutionFailed(f"nomad: {problem}", SERVFAIL, (EDE_NETWORK_ERROR, UNKNOWN)) from None
        counter: Counter = store.succeeded.counter(label, namespace if found else "")
        counter.inc()
        ede: tuple[tuple[int, str], ...] = ()
        ttl = self.config.ttl
        if age is Age.OLD:
            held, ttl = ONCE, min(ttl, STALE_TTL)
            ede = ((EDE_STALE_ANSWER if found else EDE_STALE_NXDOMAIN, UNKNOWN),)
        elif age is Age.PASSING:
            held = PASSING
        answer, additional = self._records(request, found, ttl)
        made = self._negative(NOERROR if found else NXDOMAIN, held)
        if answer:
            made = Answer(flags=AA, body=records(answer, (), additional), validity=held, source=self.name)
        return replace(made, ede=ede, charges=(counter,))

    def _records(self, request: Request, found: list[Registration], ttl: int) -> tuple[list[Record], list[Record]]:
        owner = request.spelled
        addresses = [a_or_aaaa(owner, ttl, address) for address in dict.fromkeys(one.address for one in found)]
        if request.qtype in (A, AAAA):
            return [record for record in addresses if record.rtype == request.qtype], []
        if request.qtype == SRV:
            ports = dict.fromkeys(one.port for one in found)
            return [srv(owner, ttl, PRIORITY, WEIGHT, port, owner) for port in ports], addresses
        return [], []

    def _held(self) -> Validity:
        """How long an answer from memory holds: until the next change, where changes are heard of."""
        if self._store.names is None:
            return PASSING
        return Validity(True, stamps=(self._store.note(),))

    def _soa(self) -> Record:
        zone = self.config.zone
        return soa(zone, self.config.ttl, b"\x03ns1" + zone, b"\x0ahostmaster" + zone, (self._store.serial, *NUMBERS))

    def _negative(self, rcode: int, held: Validity | None = None) -> Answer:
        validity = self._held() if held is None else held
        return Answer(rcode, AA, records((), [self._soa()]), validity=validity, source=self.name)

    # What an operator is told

    def explain(self, request: Request) -> list[Note]:
        """How the name is read, and whether there is such a service."""
        zone = self.config.zone
        if not is_subdomain(request.qname, zone):
            return [Note(f"not for this name: its zone is {to_text(zone)}")]
        labels = [
            label.decode("latin-1") for label in labels_of(request.qname[: len(request.qname) - len(zone)] + b"\0")
        ]
        if len(labels) < 2:
            return [Note(f"zone {to_text(zone)}: names are SERVICE.NAMESPACE.{to_text(zone)}")]
        what = f"service {labels[0]} in namespace {labels[1]}"
        if self._store.names is None:
            return [Note(f"{what}: Nomad is asked; {self._store.why}", missing=True)]
        if self._store.spelled(labels[1], labels[0]) is None:
            return [Note(f"{what}: Nomad has no such service", missing=True)]
        return [Note(f"{what}: Nomad has it")]

    def freshness(self) -> Sequence[str]:
        """Where the data are from."""
        return self._store.freshness()
