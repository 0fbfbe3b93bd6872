# -*- test-case-name: tests.zones.test_proofs -*-
"""
Proofs of signed zones, looked at as a validator would.

The zones are random; their NSEC and NSEC3 chains are made here, by the rules of the RFCs and with dnspython's order and hash.
"""

from __future__ import annotations

import dns.dnssec
import dns.name
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import CNAME, DNAME, DS, NOERROR, NS, NSEC, NSEC3, NXDOMAIN, A
from kdns.wire.names import from_text, is_subdomain, parent, suffixes, to_text
from kdns.zones.lookup import Found, look_up
from kdns.zones.proofs import nsec3_hash
from kdns.zones.zone import Zone, hash_of_owner
from tests.zones.support import HEAD, zone_of

ORIGIN = from_text("example.org")
SALT, ITERATIONS = "aabb", 3
LABELS = st.sampled_from(["a", "b", "c", "*"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
DATA = st.sampled_from(["A 10.0.0.1", "A 10.0.0.1", "TXT x", "NS ns.example.net.", "CNAME www.example.net."])
LINES = st.dictionaries(NAMES, DATA, max_size=7)


def text_lines(lines: dict[str, str]) -> str:
    """As a master file."""
    return HEAD + "".join(f"{owner} {data}\n" for owner, data in lines.items())


def signed_names(zone: Zone) -> list[bytes]:
    """Owners of authoritative data and of delegations."""
    owners = {record.owner for record in zone.all_records()}
    cuts = {record.owner for record in zone.all_records() if record.rtype == NS and record.owner != ORIGIN}
    return [owner for owner in owners if not any(is_subdomain(owner, cut) and owner != cut for cut in cuts)]


def with_nsec(text: str) -> Zone:
    """The zone with its chain of NSEC records (RFC 4035 section 2.3); what types they list does not matter here."""
    names = sorted(dns.name.from_text(to_text(name)) for name in signed_names(zone_of(text)))
    chain = zip(names, names[1:] + names[:1], strict=True)
    return zone_of(text + "".join(f"{name} NSEC {after} NSEC\n" for name, after in chain))


def with_nsec3(text: str) -> Zone:
    """The zone with its chain of NSEC3 records, empty non-terminals included (RFC 5155 section 7.1)."""
    names = set()
    for name in signed_names(zone_of(text)):
        while name != ORIGIN:
            names.add(name)
            name = parent(name)
    names.add(ORIGIN)
    hashes = sorted(dns.dnssec.nsec3_hash(to_text(name), SALT, ITERATIONS, 1) for name in names)
    chain = zip(hashes, hashes[1:] + hashes[:1], strict=True)
    records = "".join(f"{hashed} NSEC3 1 0 {ITERATIONS} {SALT} {after} A\n" for hashed, after in chain)
    return zone_of(text + f"@ NSEC3PARAM 1 0 {ITERATIONS} {SALT}\n" + records)


class Verifier:
    """What a validator may conclude from the records in an authority section."""

    def __init__(self, found: Found) -> None:
        self.matched: set[object] = set()
        self.spans: list[tuple[object, object]] = []
        for record in found.authority:
            if record.rtype == NSEC:
                name = dns.name.from_wire(record.owner, 0)[0]
                self.matched.add(name)
                self.spans.append((name, dns.name.from_wire(record.rdata, 0)[0]))
            elif record.rtype == NSEC3:
                hashed = hash_of_owner(record.owner, ORIGIN)
                salt = record.rdata[4]
                self.matched.add(hashed)
                self.spans.append((hashed, record.rdata[6 + salt : 26 + salt]))
        self.hashed = any(record.rtype == NSEC3 for record in found.authority)

    def key(self, name: bytes) -> object:
        """What stands for a name in the chain."""
        return nsec3_hash(name, bytes.fromhex(SALT), ITERATIONS) if self.hashed else dns.name.from_wire(name, 0)[0]

    def exists(self, name: bytes) -> bool:
        """Whether a record is at the name."""
        return self.key(name) in self.matched

    def absent(self, name: bytes) -> bool:
        """Whether a record spans the name."""
        key = self.key(name)
        return any(
            (low < key < high) if low < high else (key > low or key < high)  # type: ignore[operator]
            for low, high in self.spans
        )


class ProofTests(SynchronousTestCase):
    """kdns.zones.proofs."""

    def check(self, zone: Zone, name: str) -> None:
        """Ask for a type that is nowhere, and judge."""
        qname = from_text(f"{name}.example.org")
        qtype = DS
        found = look_up(zone, qname, qtype, do=True)
        verifier = Verifier(found)
        kinds = {record.rtype for record in found.answer}
        owners = {record.owner for record in zone.all_records() if record.rtype not in (NSEC3,)}

        def exists(one: bytes) -> bool:
            return any(is_subdomain(owner, one) for owner in owners)

        if not found.authoritative:
            cut = next(record.owner for record in found.authority if record.rtype == NS)
            self.assertTrue(verifier.exists(cut))
            return
        if CNAME in kinds or DNAME in kinds:
            return
        encloser = next(one for one in suffixes(qname) if exists(one))
        wild = b"\x01*" + encloser
        closer = next((one for one in suffixes(qname) if parent(one) == encloser and one != encloser), qname)
        if found.rcode == NXDOMAIN:
            self.assertTrue(verifier.absent(closer if verifier.hashed else qname))
            self.assertTrue(verifier.absent(wild))
            self.assertTrue(not verifier.hashed or verifier.exists(encloser))
        else:
            self.assertEqual(found.rcode, NOERROR)
            if exists(qname):
                # An empty non-terminal of an NSEC zone is in the span that ends below it.
                self.assertTrue(verifier.exists(qname) or (not verifier.hashed and verifier.absent(qname)))
            else:
                self.assertTrue(verifier.absent(closer if verifier.hashed else qname))
                self.assertTrue(verifier.exists(wild) or (not verifier.hashed and verifier.absent(wild)))

    @given(LINES, NAMES)
    @settings(max_examples=80, deadline=None)
    def test_nsec(self, lines: dict[str, str], name: str) -> None:
        """Each negative answer, wildcard and referral of a zone with NSEC is proven."""
        self.check(with_nsec(text_lines(lines)), name)

    @given(LINES, NAMES)
    @settings(max_examples=80, deadline=None)
    def test_nsec3(self, lines: dict[str, str], name: str) -> None:
        """The same with NSEC3."""
        self.check(with_nsec3(text_lines(lines)), name)

    @given(LINES, NAMES)
    @settings(max_examples=60, deadline=None)
    def test_wildcard_answers(self, lines: dict[str, str], name: str) -> None:
        """An answer from a wildcard comes with the proof that no closer name exists."""
        for make in (with_nsec, with_nsec3):
            zone = make(text_lines(lines))
            found = look_up(zone, from_text(f"{name}.example.org"), A, do=True)
            if found.wildcard is not None and found.answer:
                encloser = parent(found.wildcard)
                qname = from_text(f"{name}.example.org")
                closer = next(one for one in suffixes(qname) if parent(one) == encloser)
                verifier = Verifier(found)
                self.assertTrue(verifier.absent(closer if verifier.hashed else qname))

    def test_opt_out(self) -> None:
        """A delegation that opt-out left unhashed is proven by its closest encloser (RFC 5155 section 7.2.7)."""
        text = HEAD + "sub NS ns.example.net.\n"
        apex, server = (dns.dnssec.nsec3_hash(name, SALT, ITERATIONS, 1) for name in ("example.org", "ns.example.org"))
        low, high = sorted((apex, server))
        zone = zone_of(
            f"{text}@ NSEC3PARAM 1 0 {ITERATIONS} {SALT}\n"
            f"{low} NSEC3 1 1 {ITERATIONS} {SALT} {high} A\n{high} NSEC3 1 1 {ITERATIONS} {SALT} {low} A\n"
        )
        found = look_up(zone, from_text("x.sub.example.org"), A, do=True)
        verifier = Verifier(found)
        self.assertTrue(verifier.exists(ORIGIN))
        self.assertTrue(verifier.absent(from_text("sub.example.org")))

    def test_glue_is_passed_over(self) -> None:
        """The name before may be glue, which has no NSEC: the record of its delegation covers the gap."""
        text = HEAD + "sub NS ns1.sub\n" + "".join(f"ns{n}.sub A 10.0.0.{n}\n" for n in range(100))
        found = look_up(with_nsec(text), from_text("t.example.org"), A, do=True)
        self.assertTrue(Verifier(found).absent(from_text("t.example.org")))

    def test_hash(self) -> None:
        """The hash is dnspython's."""
        hashed = nsec3_hash(from_text("www.example.org"), bytes.fromhex(SALT), ITERATIONS)
        owner = from_text(dns.dnssec.nsec3_hash("www.example.org", SALT, ITERATIONS, 1) + ".example.org")
        self.assertEqual(hash_of_owner(owner, ORIGIN), hashed)

    def test_unsigned(self) -> None:
        """A zone without signatures has no proofs, and says nothing of DNSSEC."""
        found = look_up(zone_of(HEAD), from_text("x.example.org"), A, do=True)
        self.assertEqual(len(found.authority), 1)
