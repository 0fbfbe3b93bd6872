# -*- test-case-name: tests.plugins.kubernetes.test_zone -*-
"""
The records of one cluster zone: from what a name stands for to answer, authority and additional sections.

A zone is spelled as the query spells it: negative answers, SRV targets and owners keep the client's letters. An answer with records holds
as long as its stamps stand. A negative one shows the serial of the moment, so it ends with its TTL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from kdns.core.answer import Answer, Sections, records
from kdns.core.request import Request, Transport
from kdns.core.stamps import StampRef
from kdns.core.validity import ONCE, Validity
from kdns.plugins.kubernetes.result import Pair, ReplyBudget, Result
from kdns.wire.constants import AA, AAAA, IN, NOERROR, NXDOMAIN, SERVFAIL, SRV, A
from kdns.wire.names import MAX_NAME
from kdns.wire.records import Record, a_or_aaaa, ns, ptr, soa, srv, txt

SOA_TTL_MOST = 300
"""The SOA's own TTL goes no higher, whatever ``ttl`` says."""

VERSION = b"1.1.0"
"""The version of the specification that is served (``dns-version``)."""

VERSION_TTL = 28800

REFRESH, RETRY, EXPIRE = 7200, 1800, 86400

SOURCE = "kubernetes"


OPT_RESERVE = 512
"""Bytes of a reply over a stream that are kept for its OPT, with a cookie and other options."""


def reply_budget(request: Request) -> ReplyBudget:
    """Limits on a large answer: over UDP just enough to make the client retry over TCP, and there what fits."""
    if request.transport is Transport.UDP:
        return ReplyBudget(request.limit, 1)
    return ReplyBudget(request.limit - 12 - len(request.question) - OPT_RESERVE)


def share_validity(until: float, stamps: Iterable[StampRef], room: ReplyBudget) -> Validity:
    """
    How long an answer with some of many endpoints holds: each endpoint is to have its share, so others are drawn after the TTL.

    A share for UDP is a small one, which is no use to a cache.
    """
    return Validity(True, until, tuple(stamps), False if room.over else None)


@dataclass(frozen=True, slots=True)
class Zone:
    """The zone as one query sees it."""

    spelled: bytes
    """In wire form, as the query spells it."""

    ttl: int
    serial: int

    def answer(self, answer: Iterable[Record], additional: Iterable[Record], stamps: Iterable[StampRef]) -> Answer:
        return Answer(
            flags=AA,
            body=Sections(tuple(answer), (), tuple(additional)),
            validity=Validity(True, stamps=tuple(stamps)),
            source=SOURCE,
        )

    def nodata(self, stamps: Iterable[StampRef], now: float) -> Answer:
        """The name exists and has no such records (RFC 2308 section 2.2)."""
        return self._negative(NOERROR, stamps, now)

    def nxdomain(self, stamps: Iterable[StampRef], now: float) -> Answer:
        """The name does not exist (RFC 2308 section 2.1)."""
        return self._negative(NXDOMAIN, stamps, now)

    def not_ready(self, ede: tuple[int, str]) -> Answer:
        """Whether the name exists is not known yet."""
        return Answer(SERVFAIL, AA, body=Sections((), (self.soa_record(),)), ede=(ede,), validity=ONCE, source=SOURCE)

    def _negative(self, rcode: int, stamps: Iterable[StampRef], now: float) -> Answer:
        holds = Validity(True, now + max(1, self.ttl), tuple(stamps))
        return Answer(rcode, AA, body=Sections((), (self.soa_record(),)), validity=holds, source=SOURCE)

    def soa_record(self) -> Record:
        """The zone's SOA; its name server is always ``ns.dns`` below the zone."""
        return soa(
            self.spelled,
            min(self.ttl, SOA_TTL_MOST),
            b"\x02ns\x03dns" + self.spelled,
            b"\x0ahostmaster" + self.spelled,
            (self.serial, REFRESH, RETRY, EXPIRE, self.ttl),
        )

    def existing(
        self, owner: bytes, qtype: int, found: Result, room: ReplyBudget, chance: Random, now: float
    ) -> Answer:
        """The answer for a name with addresses; NODATA when there are no records of the type."""
        answer: list[Record] = []
        additional: list[Record] = []
        share = False
        if qtype in (A, AAAA):
            answer, share = self.addresses(owner, qtype, found, room, chance)
        elif qtype == SRV:
            answer, additional, share = self.services(owner, found, room, chance)
        if not answer:
            return self.nodata(found.stamps, now)
        if not share:
            return self.answer(answer, additional, found.stamps)
        validity = share_validity(now + max(1, self.ttl), found.stamps, room)
        return Answer(flags=AA, body=records(answer, (), additional), validity=validity, source=SOURCE)

    def addresses(
        self, owner: bytes, qtype: int, found: Result, room: ReplyBudget, chance: Random
    ) -> tuple[list[Record], bool]:
        """A or AAAA records, and whether they are only a part of all."""
        size = 4 if qtype == A else 16
        addresses, share = found.addresses(size, room.records(12 + size), chance)
        return [Record(owner, qtype, IN, self.ttl, address) for address in addresses], share

    def services(
        self, owner: bytes, found: Result, room: ReplyBudget, chance: Random
    ) -> tuple[list[Record], list[Record], bool]:
        """SRV records, the addresses of their targets, and whether they are only a part of all."""
        targets, addresses, share = found.services(len(self.spelled), room, chance)
        weight = found.weight
        answer = [srv(owner, self.ttl, 0, weight, port, target + self.spelled) for target, port in targets]
        glue = [a_or_aaaa(target + self.spelled, self.ttl, address) for target, address in addresses]
        return answer, glue, share

    def name_servers(self, owner: bytes, pairs: list[Pair], own: Iterable[bytes]) -> tuple[list[Record], list[Record]]:
        """NS records and their addresses: the services the server belongs to, else ``ns.dns`` with the server's own address."""
        if not pairs:
            pairs = [Pair(b"\x02ns\x03dns", None, address) for address in own]
        pairs = [pair for pair in pairs if len(pair.target) + len(self.spelled) <= MAX_NAME]
        targets = dict.fromkeys(pair.target for pair in pairs)
        servers = [ns(owner, self.ttl, target + self.spelled) for target in targets]
        return servers, [a_or_aaaa(pair.target + self.spelled, self.ttl, pair.address) for pair in pairs]

    def pointers(self, owner: bytes, targets: Iterable[bytes], primary: bytes) -> list[Record]:
        """PTR records into the primary zone."""
        return [ptr(owner, self.ttl, target + primary) for target in targets]

    def version(self, owner: bytes) -> Record:
        return txt(owner, VERSION_TTL, VERSION)
