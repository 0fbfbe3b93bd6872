# -*- test-case-name: tests.plugins.kubernetes.test_zone -*-
"""
The records of one cluster zone: from what stands behind a name to answer, authority and additional sections.

A zone is spelled as the query spells it: negative answers, SRV targets and owners keep the client's letters. An
answer with records holds as long as its stamps stand. A negative one shows the serial of the moment, and so is made anew after its TTL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kdns.core.answer import Answer, Sections
from kdns.core.stamps import StampRef
from kdns.core.validity import ONCE, Validity
from kdns.plugins.kubernetes.lookup import Found, Item
from kdns.wire.constants import AA, NOERROR, NXDOMAIN, SERVFAIL, A
from kdns.wire.names import MAX_NAME
from kdns.wire.records import Record, a_or_aaaa, ns, ptr, soa, srv, txt

SOA_TTL_MOST = 300
"""The SOA's own TTL goes no higher, whatever ``ttl`` says."""

VERSION = b"1.1.0"
"""The version of the specification that is served (``dns-version``)."""

VERSION_TTL = 28800

REFRESH, RETRY, EXPIRE = 7200, 1800, 86400

SOURCE = "kubernetes"


@dataclass(frozen=True, slots=True)
class Zone:
    """How one query sees its zone."""

    spelled: bytes
    """In wire form, as the query spells it."""

    ttl: int
    serial: int

    def answer(self, records: Iterable[Record], additional: Iterable[Record], stamps: Iterable[StampRef]) -> Answer:
        """A positive answer; without records it is NODATA's business."""
        return Answer(
            flags=AA,
            body=Sections(tuple(records), (), tuple(additional)),
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
        """Whether the name exists cannot be told yet."""
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

    def addresses(self, owner: bytes, qtype: int, found: Found) -> list[Record]:
        """A or AAAA records."""
        size = 4 if qtype == A else 16
        return [a_or_aaaa(owner, self.ttl, address) for address in found.addresses if len(address) == size]

    def services(self, owner: bytes, found: Found) -> tuple[list[Record], list[Record]]:
        """
        SRV records, and the addresses of their targets.

        The weight is shared by all (address, port) pairs that match, before equal records are left out; an address whose slice has no
        ports is one of them, though it has no record.
        """
        weight = max(1, 100 // max(1, len(found.items)))
        records: dict[tuple[bytes, int], Record] = {}
        glue: dict[Item, Record] = {}
        for item in found.items:
            if item.port is None:
                continue
            target = item.target + self.spelled
            if len(target) > MAX_NAME:
                continue
            if (item.target, item.port) not in records:
                records[item.target, item.port] = srv(owner, self.ttl, 0, weight, item.port, target)
            place = item._replace(port=None)
            if place not in glue:
                glue[place] = a_or_aaaa(target, self.ttl, item.address)
        return list(records.values()), list(glue.values())

    def name_servers(self, owner: bytes, items: list[Item], own: Iterable[bytes]) -> tuple[list[Record], list[Record]]:
        """NS records and their addresses: the services the server belongs to, else ``ns.dns`` with the server's own."""
        if not items:
            items = [Item(address, b"\x02ns\x03dns", None) for address in own]
        items = [item for item in items if len(item.target) + len(self.spelled) <= MAX_NAME]
        targets = dict.fromkeys(item.target for item in items)
        records = [ns(owner, self.ttl, target + self.spelled) for target in targets]
        return records, [a_or_aaaa(item.target + self.spelled, self.ttl, item.address) for item in items]

    def pointers(self, owner: bytes, targets: Iterable[bytes], primary: bytes) -> list[Record]:
        """PTR records into the primary zone."""
        return [ptr(owner, self.ttl, target + primary) for target in targets]

    def version(self, owner: bytes) -> Record:
        """The TXT record of ``dns-version``."""
        return txt(owner, VERSION_TTL, VERSION)
