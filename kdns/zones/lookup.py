# -*- test-case-name: tests.zones.test_lookup -*-
"""
Answer a question from a zone (RFC 1034 section 4.3.2, RFC 4592, RFC 6672, RFC 4035 section 3.1).

The result is sections of records and, where a CNAME or DNAME leads out of what this zone can say, the name to look up elsewhere. How that
look-up goes, and what it makes of the reply, is left to the plugin; :meth:`Found.joined` puts the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdns.wire.constants import (
    AAAA,
    CNAME,
    DNAME,
    DS,
    HTTPS,
    IN,
    MX,
    NOERROR,
    NS,
    NSEC,
    NSEC3,
    NXDOMAIN,
    RRSIG,
    SERVFAIL,
    SOA,
    SRV,
    SVCB,
    YXDOMAIN,
    A,
)
from kdns.wire.names import MAX_NAME, is_subdomain
from kdns.wire.records import Record
from kdns.zones.keys import APEX, ancestors, key_of, name_of, wildcard_key
from kdns.zones.nodes import has_type, rrset, signatures, unpack
from kdns.zones.proofs import Proofs
from kdns.zones.zone import Zone

MAX_CHAIN = 9
"""CNAME records to follow inside the zone; what is behind more of them is looked up as an outside name."""

_TARGETS = {SRV: 6, MX: 2, SVCB: 2, HTTPS: 2, NS: 0}
"""Types whose target's addresses are added, by where the target is in their rdata."""

MOST_TARGETS = 100
"""Records up to which that is done: for thousands it takes ten milliseconds, and no reply has room for them."""


@dataclass(slots=True)
class Found:
    """What a zone says to a question."""

    rcode: int = NOERROR
    authoritative: bool = True
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)
    outside: bytes | None = None
    """The name at the end of a chain of CNAMEs that must be looked up elsewhere, with its spelling."""

    falls_through: bool = False
    """Whether a plugin with ``fallthrough`` passes the question on: the name has no records at all."""

    wildcard: bytes | None = None
    """The owner of the wildcard that the answer was made from."""

    def joined(
        self,
        zone: Zone,
        do: bool,
        rcode: int | None,
        answer: Sequence[Record] = (),
        authority: Sequence[Record] = (),
    ) -> Found:
        """
        The whole answer, once the outside name was looked up.

        :param rcode: of the reply; None when there was none.
        """
        self.outside = None
        if rcode == NXDOMAIN or (rcode == NOERROR and not answer):
            self.rcode = rcode
            self.answer += answer
            self.authority += _soa(zone, do)
            if do:
                # The proof that the target does not exist, where the reply has one: it may be from this zone.
                self.authority += [r for r in authority if r.rtype in (NSEC, NSEC3) or _signs(r, (NSEC, NSEC3))]
            return self
        if rcode == NOERROR:
            self.answer += answer
        elif rcode == SERVFAIL:
            self.rcode = SERVFAIL
        self.authority += _apex_ns(zone, do)
        return self


def look_up(zone: Zone, qname: bytes, qtype: int, do: bool) -> Found:
    """
    The answer to a question.

    :param qname: in lower-case wire form, in the zone.
    :param do: whether to add signatures and proofs.
    """
    return _Lookup(zone, qtype, do).ask(qname)


class _Lookup:
    """One question, as far as it has been answered."""

    def __init__(self, zone: Zone, qtype: int, do: bool) -> None:
        self.zone = zone
        self.qtype = qtype
        self.do = do
        self.found = Found()
        if do:
            self.proofs = Proofs(zone)

    def ask(self, qname: bytes) -> Found:
        zone = self.zone
        key = key_of(qname, zone.origin)
        encloser, node, special = self._descend(key)
        if special == NS and not (self.qtype == DS and encloser == key):
            self._refer(encloser, node or b"")
        elif special == DNAME:
            self._redirect(qname, encloser, node or b"")
        elif encloser != key:
            self._missing(qname, key, encloser)
        elif node is None:
            # An empty non-terminal: the name exists, and has nothing (RFC 4592 section 2.2.2).
            self._negative(NOERROR)
            self.found.falls_through = True
            if self.do:
                self.proofs.nodata(key)
        else:
            self._at_node(key, node, None)
        if self.do:
            self.found.authority += self.proofs.records
        return self.found

    def _descend(self, key: bytes) -> tuple[bytes, bytes | None, int]:
        """
        Go down from the apex towards a name.

        :return: the deepest existing name on the way, its node, and NS or DNAME where one of these ends the way before the name (a cut may
            be at the name itself).
        """
        zone = self.zone
        index = zone.index
        apex = index.get(APEX)
        if not key:
            return APEX, apex, 0
        if not zone.has_cuts:
            node = index.get(key)
            if node is not None:
                return key, node, 0
        elif apex is not None and has_type(apex, DNAME):
            return APEX, apex, DNAME
        encloser, node = APEX, apex
        for above in ancestors(key):
            here = index.get(above)
            if here is None:
                if not index.has_below(above):
                    break
                encloser, node = above, None
                continue
            encloser, node = above, here
            if zone.has_cuts:
                if has_type(here, NS):
                    return above, here, NS
                if above != key and has_type(here, DNAME):
                    return above, here, DNAME
        return encloser, node, 0

    def _at_node(self, key: bytes, node: bytes, qname: bytes | None) -> None:
        """
        Answer from the records of a name.

        :param qname: the name to show as owner, for a wildcard.
        """
        qtype = self.qtype
        if qtype not in (CNAME, NSEC, RRSIG) and has_type(node, CNAME):
            self._follow(key, node, qname)
            return
        if not self._add_rrset(self.found.answer, key, node, qtype, qname):
            self._negative(NOERROR)
            # CoreDNS keeps SOA and NS of the apex apart, so that a name with nothing else is none to it.
            self.found.falls_through = not key and all(datum.rtype in (SOA, NS) for datum in unpack(node))
            if self.do and qname is None:
                self.proofs.nodata(key)
            return
        if key or qtype != NS:
            self.found.authority += _apex_ns(self.zone, self.do)
        self._add_targets(self.found.answer, qtype)

    def _add_rrset(
        self,
        section: list[Record],
        key: bytes,
        node: bytes,
        rtype: int,
        qname: bytes | None = None,
        signed: bool = True,
    ) -> bool:
        data = rrset(node, rtype)
        if not data:
            return False
        if self.do and signed and rtype != RRSIG:
            data = data + signatures(node, rtype)
        owner = qname or self.zone.owner(key, rtype)
        section += [Record(owner, this, IN, ttl, rdata) for this, ttl, rdata in data]
        return True

    def _negative(self, rcode: int) -> None:
        self.found.rcode = rcode
        self.found.authority += _soa(self.zone, self.do)

    def _missing(self, qname: bytes, key: bytes, encloser: bytes) -> None:
        """The name does not exist: a wildcard directly below the closest encloser may stand for it (RFC 4592 section 3.3.1)."""
        zone = self.zone
        wild = wildcard_key(encloser)
        node = zone.index.get(wild)
        if node is not None:
            self.found.wildcard = name_of(wild, zone.origin)
            self._at_node(wild, node, qname)
            if self.do:
                if self.found.answer:
                    self.proofs.wildcard(key, encloser)
                else:
                    self.proofs.wildcard_nodata(key, encloser)
            return
        exists = zone.index.has_below(wild)  # the wildcard itself as an empty non-terminal
        self._negative(NOERROR if exists else NXDOMAIN)
        self.found.falls_through = not exists
        if self.do:
            if exists:
                self.proofs.wildcard_nodata(key, encloser)
            else:
                self.proofs.nxdomain(key, encloser)

    def _refer(self, cut: bytes, node: bytes) -> None:
        """A delegation: the name servers of the child, and their addresses that are at or below the cut."""
        found = self.found
        found.authoritative = bool(found.answer)
        self._add_rrset(found.authority, cut, node, NS, signed=False)
        if self.do and not self._add_rrset(found.authority, cut, node, DS):
            self.proofs.unsigned_delegation(cut)
        name = name_of(cut, self.zone.origin)
        self._add_addresses([datum.rdata for datum in rrset(node, NS)], name)

    # Aliases

    def _follow(self, key: bytes, node: bytes, qname: bytes | None) -> None:
        """Add the CNAME of a name, and what its chain leads to inside the zone."""
        zone, found = self.zone, self.found
        seen = {key}
        while True:
            self._add_rrset(found.answer, key, node, CNAME, qname)
            qname = None
            spelled = rrset(node, CNAME)[0].rdata
            target = spelled.lower()
            if not is_subdomain(target, zone.origin) or len(seen) > MAX_CHAIN:
                found.outside = spelled
                return
            key = key_of(target, zone.origin)
            if key in seen:  # a loop: each name is shown once
                found.authority += _apex_ns(zone, self.do)
                return
            seen.add(key)
            encloser, there, special = self._descend(key)
            if special == NS and not (self.qtype == DS and encloser == key):
                self._refer(encloser, there or b"")
                return
            at_apex = not key and self.qtype in (SOA, NS)  # the answer looks another way then
            if encloser != key or there is None or special == DNAME or at_apex:
                found.outside = spelled
                return
            node = there
            if has_type(node, CNAME):
                continue
            before = len(found.answer)
            if self._add_rrset(found.answer, key, node, self.qtype):
                found.authority += _apex_ns(zone, self.do)
                self._add_targets(found.answer[before:], self.qtype)
            else:
                self._negative(NOERROR)
                if self.do:
                    self.proofs.nodata(key)
            return

    def _redirect(self, qname: bytes, encloser: bytes, node: bytes) -> None:
        """A DNAME above the name: it and the CNAME that it makes (RFC 6672 section 3.1)."""
        zone, found = self.zone, self.found
        self._add_rrset(found.answer, encloser, node, DNAME)
        dname = rrset(node, DNAME)[0]
        above = name_of(encloser, zone.origin)
        made = qname[: len(qname) - len(above)] + dname.rdata
        if len(made) > MAX_NAME:
            found.rcode = YXDOMAIN
            found.authority += _apex_ns(zone, self.do)
            return
        if made.lower() == qname:
            self.found = Found(SERVFAIL, authoritative=False)
            return
        found.answer.append(Record(qname, CNAME, IN, dname.ttl, made))
        if self.qtype == CNAME:
            found.authority += _apex_ns(zone, self.do)
            return
        target = made.lower()
        if is_subdomain(target, zone.origin):
            key = key_of(target, zone.origin)
            there = zone.index.get(key)
            cut, _, special = self._descend(key)
            if there is not None and not special and cut == key:
                self._at_node(key, there, None)
                return
        found.outside = made

    # Addresses of targets

    def _add_targets(self, records: Sequence[Record], rtype: int) -> None:
        start = _TARGETS.get(rtype)
        if start is not None and len(records) <= MOST_TARGETS:
            self._add_addresses(
                [_target(record, start) for record in records if record.rtype == rtype], self.zone.origin
            )

    def _add_addresses(self, targets: Sequence[bytes], below: bytes) -> None:
        """The addresses that the zone has for names at or below one, each name once."""
        zone, section = self.zone, self.found.additional
        seen = set()
        for spelled in targets:
            target = spelled.lower()
            if target in seen or not is_subdomain(target, below):
                continue
            seen.add(target)
            key = key_of(target, zone.origin)
            node = zone.index.get(key)
            if node is not None:
                signed = below == zone.origin
                for rtype in (A, AAAA):
                    self._add_rrset(section, key, node, rtype, signed=signed)


def _target(record: Record, start: int) -> bytes:
    end = start
    rdata = record.rdata
    while rdata[end]:
        end += 1 + rdata[end]
    return rdata[start : end + 1]


def _soa(zone: Zone, do: bool) -> tuple[Record, ...]:
    """The SOA for a negative answer, with the TTL that the answer may be kept for (RFC 2308 section 3)."""
    found = zone.common.get((SOA, do))
    if found is None:
        ttl = zone.negative_ttl
        data = [zone.soa._replace(ttl=ttl)]
        if do:
            node = zone.index.get(APEX) or b""
            data += [Record(zone.origin, RRSIG, IN, min(ttl, d.ttl), d.rdata) for d in signatures(node, SOA)]
        found = zone.common[SOA, do] = tuple(data)
    return found


def _apex_ns(zone: Zone, do: bool) -> tuple[Record, ...]:
    found = zone.common.get((NS, do))
    if found is None:
        node = zone.index.get(APEX) or b""
        data = rrset(node, NS)
        if do:
            data = data + signatures(node, NS)
        found = tuple([Record(zone.origin, rtype, IN, ttl, rdata) for rtype, ttl, rdata in data])
        zone.common[NS, do] = found
    return found


def _signs(record: Record, types: tuple[int, ...]) -> bool:
    return record.rtype == RRSIG and int.from_bytes(record.rdata[:2], "big") in types
