# -*- test-case-name: tests.plugins.k8s_external.test_resolver -*-
"""``k8s_external`` as a link of the chain: from what stands behind a name to an answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache, partial
from random import Random
from typing import Any

from kdns.cluster.invalidation import Serial
from kdns.core.answer import Answer, records
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.fast_path import NO_EFFECT, Effect, SourceMaker
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.core.validity import NOTHING, Validity
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.capabilities import ServesCluster
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.k8s_external.config import ExternalConfig, parse
from kdns.plugins.k8s_external.lookup import External, ExternalLookup
from kdns.plugins.kubernetes.config import is_reverse
from kdns.plugins.kubernetes.plugin import NOT_READY, STALE_SECONDS, marked_stale
from kdns.plugins.kubernetes.zone import EXPIRE, REFRESH, RETRY, reply_budget, share_validity
from kdns.wire.constants import (
    AA,
    AAAA,
    AXFR,
    CNAME,
    EDE_NOT_READY,
    IXFR,
    NOERROR,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TC,
    A,
)
from kdns.wire.names import MalformedName, address_of_reverse, labels_of, longest_zone, to_text
from kdns.wire.records import Record, a_or_aaaa, cname, ns, ptr, soa, srv


class ExternalLink(Link):
    """
    Names of one ``k8s_external``.

    :param own_addresses: the server's own addresses, packed.
    :param chance: draws the endpoints of a Service that has more than a reply can hold.
    """

    name = "k8s_external"
    varies = NOTHING

    def __init__(
        self,
        config: ExternalConfig,
        clock: Callable[[], float],
        own_addresses: Callable[[], Sequence[bytes]],
        chance: Random,
    ) -> None:
        self._config = config
        self._chance = chance
        self._clock = clock
        self._own_addresses = own_addresses
        self._zones = frozenset(zone.name for zone in config.zones)
        self._fallthrough = frozenset(config.fallthrough)

    def placed(self, behind: Sequence[Link]) -> None:
        """Find the cluster. It is missing only where `kdns check` forgives that this machine cannot reach one; nothing is asked then."""
        for link in behind:
            if isinstance(link, ServesCluster):
                self._cluster = link.cluster
                self._cluster_ttl: int = link.config.ttl
                self._index = link.cluster.index
                self._lookup = ExternalLookup(self._index, link.config, self._config.headless)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Names outside the zones are passed on."""
        return NO_EFFECT

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """Names in the zones are asked about."""
        return dict.fromkeys(self._zones)

    def answer(self, request: Request, next: Next) -> Reply | Coroutine[Any, Any, Answer]:
        """See :class:`kdns.core.chain.Link`."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return next(request)
        if request.qtype in (AXFR, IXFR):
            return Answer(REFUSED, source=self.name)
        labels = labels_of(request.qname[: len(request.qname) - len(zone)] + b"\x00")
        if not labels:
            return self._marked(self._apex(request, zone))
        if is_reverse(zone):
            return self._marked(self._reverse(request, zone, next))
        if labels[-1] == self._config.apex:
            return self._marked(self._below_apex(request, zone, labels))
        found = self._lookup.find(labels)
        if not found.exists:
            return self._marked(self._missing(request, zone, found.stamps, next))
        if found.hostnames and not found.found.groups and request.qtype in (A, AAAA):
            target = found.hostnames[0]
            alias = cname(request.spelled, self._cluster_ttl, target)
            return then(request.server.resolve(request.about(target)), self._followed, alias, found.stamps)
        if found.hostnames and request.qtype == SRV:
            return self._srv_of_hostnames(request, zone, found)
        return self._marked(self._existing(request, zone, found))

    def _marked(self, reply: Reply) -> Reply:
        """Say so where the cluster's data may be out of date."""
        stale = self._cluster.staleness()
        if stale is None:
            return reply
        text, noted = stale
        return then(reply, partial(marked_stale, self.name, text, noted, self._clock() + STALE_SECONDS))

    # The zone itself and its name server.

    def _apex(self, request: Request, zone: bytes) -> Answer:
        if request.qtype == SOA:
            return self._made([self._soa(zone)], (), [self._index.stamps.note(Serial.EXTERNAL)])
        if request.qtype == NS:
            addresses, stamps = self._lookup.name_servers(self._own_addresses())
            server = b"\x03ns1" + self._apex_name(zone)
            glue = [a_or_aaaa(server, self._config.ttl, address) for address in addresses]
            return self._made([ns(zone, self._config.ttl, server)], glue, stamps)
        return self._negative(NOERROR, zone, ())

    def _below_apex(self, request: Request, zone: bytes, labels: list[bytes]) -> Answer:
        if len(labels) == 1:
            return self._negative(NOERROR, zone, ())
        if labels[:-1] != [b"ns1"]:
            return self._negative(NXDOMAIN, zone, ())
        addresses, stamps = self._lookup.name_servers(self._own_addresses())
        made = self._addresses(request, addresses)
        return self._made(made, (), stamps) if made else self._negative(NOERROR, zone, stamps)

    def _apex_name(self, zone: bytes) -> bytes:
        return bytes((len(self._config.apex),)) + self._config.apex + zone

    def _soa(self, zone: bytes) -> Record:
        ttl, below = self._config.ttl, self._apex_name(zone)
        numbers = (self._index.serial(Serial.EXTERNAL), REFRESH, RETRY, EXPIRE, ttl)
        return soa(zone, ttl, b"\x03ns1" + below, b"\x0ahostmaster" + below, numbers)

    # Services.

    def _existing(self, request: Request, zone: bytes, found: External) -> Answer:
        spelled = request.spelled[len(request.spelled) - len(zone) :]
        made: list[Record] = []
        glue: list[Record] = []
        share = False
        room, ttl, weight = reply_budget(request), self._config.ttl, found.weight
        if request.qtype in (A, AAAA):
            size = 4 if request.qtype == A else 16
            addresses, share = found.found.addresses(size, room.records(12 + size), self._chance)
            made = self._addresses(request, addresses)
        elif request.qtype == SRV:
            services, targets, share = found.found.services(len(spelled), room, self._chance)
            made = [srv(request.spelled, self._cluster_ttl, 0, weight, port, to + spelled) for to, port in services]
            glue = [a_or_aaaa(to + spelled, ttl, address) for to, address in targets]
        elif request.qtype == CNAME and found.hostnames and not found.found.groups:
            made = [cname(request.spelled, self._cluster_ttl, found.hostnames[0])]
        if not made:
            return self._negative(NOERROR, zone, found.stamps)
        answer = self._made(made, glue, found.stamps)
        if not share:
            return answer
        until = self._clock() + max(1, ttl if request.qtype != SRV else self._cluster_ttl)
        return answer.with_validity(share_validity(until, found.stamps, room))

    def _addresses(self, request: Request, addresses: Iterable[bytes]) -> list[Record]:
        size = {A: 4, AAAA: 16}.get(request.qtype)
        return [a_or_aaaa(request.spelled, self._config.ttl, address) for address in addresses if len(address) == size]

    def _followed(self, inner: Answer, alias: Record, stamps: list[StampRef]) -> Answer:
        """The CNAME, with what the server says of its target, whatever the response code."""
        return Answer(
            flags=AA | inner.flags & TC,
            body=records([alias, *_answer_of(inner)]),
            # The look-up inside is logged and counted each time, so nobody gets the same reply again without it.
            validity=Validity(stamps=inner.validity.stamps + tuple(stamps), cache=inner.validity.cacheable),
            source=self.name,
        )

    async def _srv_of_hostnames(self, request: Request, zone: bytes, found: External) -> Answer:
        """SRV records to the host names of a load balancer, with the addresses that the server finds for them."""
        own = self._existing(request, zone, found)
        made, glue = list(own.answer), list(own.additional)
        stamps = list(found.stamps)
        cacheable = True
        for target in found.hostnames:
            ports = [port for port in found.ports if port is not None]
            made += [srv(request.spelled, self._cluster_ttl, 0, found.weight, port, target) for port in ports]
            for qtype in (A, AAAA) if ports else ():
                inner = await request.server.resolve(request.about(target, qtype))
                glue += _answer_of(inner)
                stamps += inner.validity.stamps
                cacheable = cacheable and inner.validity.cacheable
        if not made:
            return own
        validity = Validity(stamps=tuple(stamps), cache=cacheable)
        return self._made(made, glue, ()).with_validity(validity)

    # Addresses.

    def _reverse(self, request: Request, zone: bytes, next: Next) -> Reply:
        address = address_of_reverse(request.qname)
        if address is None or request.qtype != PTR:
            return self._missing(request, zone, [], next)
        names, stamps = self._lookup.reverse(address)
        targets = [name + self._config.primary for name in names]
        if not targets:
            return self._missing(request, zone, stamps, next)
        return self._made([ptr(request.spelled, self._config.ttl, target) for target in targets], (), stamps)

    # Answers.

    def _missing(self, request: Request, zone: bytes, stamps: list[StampRef], next: Next) -> Reply:
        """A name that does not exist: the next plugin's, not known yet, or NXDOMAIN."""
        if self._fallthrough and longest_zone(request.qname, self._fallthrough) is not None:
            noted = tuple(stamps)
            return then(next(request), lambda came: came.with_validity(came.validity.narrowed(stamps=noted)))
        if not self._cluster.synced:
            ede = (EDE_NOT_READY, NOT_READY)
            return Answer(SERVFAIL, AA, records((), [self._soa(zone)]), ede=(ede,), source=self.name)
        return self._negative(NXDOMAIN, zone, stamps)

    def _negative(self, rcode: int, zone: bytes, stamps: Iterable[StampRef]) -> Answer:
        # It shows the serial of now, and so is made again after its TTL.
        validity = Validity(True, self._clock() + max(1, self._config.ttl), tuple(stamps))
        return Answer(rcode, AA, records((), [self._soa(zone)]), validity=validity, source=self.name)

    def _made(self, answer: Sequence[Record], additional: Iterable[Record], stamps: Iterable[StampRef]) -> Answer:
        validity = Validity(True, stamps=tuple(stamps))
        return Answer(flags=AA, body=records(answer, (), tuple(additional)), validity=validity, source=self.name)

    # What an operator is told.

    def explain(self, request: Request) -> list[Note]:
        """What the name is read as, and what is missing."""
        zone = longest_zone(request.qname, self._zones)
        if zone is None:
            return [Note(f"not for this name: its zones are {', '.join(map(to_text, sorted(self._zones)))}")]
        labels = labels_of(request.qname[: len(request.qname) - len(zone)] + b"\x00")
        if not labels or labels[-1] == self._config.apex or is_reverse(zone):
            return [Note(f"zone {to_text(zone)}")]
        found = self._lookup.find(labels)
        if not found.exists:
            return [Note(f"zone {to_text(zone)}: {found.why}", missing=True)]
        names = ", ".join(map(to_text, found.hostnames))
        addresses = {group.addresses[row] for group in found.found.groups for row in group.rows}
        text = f"{len(addresses)} addresses" + (f", and the host names {names}" if names else "")
        return [Note(f"zone {to_text(zone)}: {text}")]


def _answer_of(inner: Answer) -> Sequence[Record]:
    """The answer section of a look-up; nothing where it cannot be read, or there is no reply."""
    if inner.silent:
        return ()
    try:
        return inner.answer
    except MalformedName:
        return ()


class ExternalDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "k8s_external"

    def parse(self, tokens: Dispenser, block: Block) -> ExternalConfig:
        """See :func:`kdns.plugins.k8s_external.config.parse`."""
        return parse(tokens, block)

    def build(self, config: ExternalConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        context = builder.context
        builder.link(ExternalLink(config, context.clock, cache(builder.own_addresses), context.random))


directive = ExternalDirective()
