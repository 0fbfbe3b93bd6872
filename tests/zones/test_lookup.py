# -*- test-case-name: tests.zones.test_lookup -*-
"""What a zone says to a question: a table of the cases, and random zones against a resolver that only looks at sets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import (
    AAAA,
    ANY,
    CNAME,
    DNAME,
    DS,
    MX,
    NOERROR,
    NS,
    NXDOMAIN,
    SERVFAIL,
    SOA,
    SRV,
    TXT,
    YXDOMAIN,
    A,
    type_number,
)
from kdns.wire.names import from_text, is_subdomain, suffixes, to_text
from kdns.zones.lookup import MOST_TARGETS, Found, look_up
from kdns.zones.zone import Zone
from tests.zones.support import HEAD, text_of, texts, zone_of

ZONE = (
    HEAD
    + """\
@ MX 10 mail
mail A 192.0.2.25
mail AAAA 2001:db8::25
www A 192.0.2.1
*.w A 192.0.2.9
exact.w TXT x
deep.ent TXT x
c1 CNAME www
c2 CNAME nope
c3 CNAME Www.Example.NET.
c4 CNAME c3
ca CNAME cb
cb CNAME ca
cg CNAME x.sub
*.wc CNAME www
sub NS ns.sub
sub NS ns
ns.sub A 192.0.2.60
ds NS ns.ds
ds DS 12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
d DNAME Example.com.
d A 192.0.2.7
din DNAME w
long DNAME a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a
dl DNAME dl
_s._tcp SRV 0 0 80 www
_s._tcp SRV 0 1 81 www
"""
)

SOA_LINE = "example.org. 60 SOA ns.example.org. admin.example.org. 5 7200 1800 86400 60"
NS_LINE = "example.org. 300 NS ns.example.org."


class LookupTests(SynchronousTestCase):
    """kdns.zones.lookup."""

    zone: Zone

    def setUp(self) -> None:
        """One zone for all."""
        self.zone = zone_of(ZONE)

    def ask(self, name: str, qtype: int = A, do: bool = False) -> Found:
        """Ask about a name in the zone; ``""`` is the zone's own."""
        return look_up(self.zone, from_text(f"{name}.example.org" if name else "example.org"), qtype, do)

    def test_positive(self) -> None:
        """Records of the name, the zone's name servers, and addresses of targets, each once."""
        for name, qtype, answer, additional in (
            ("www", A, ["www.example.org. 300 A 192.0.2.1"], []),
            ("", SOA, [SOA_LINE.replace(" 60 SOA", " 300 SOA")], []),
            ("x.y.w", A, ["x.y.w.example.org. 300 A 192.0.2.9"], []),
            (
                "",
                MX,
                ["example.org. 300 MX 10 mail.example.org."],
                ["mail.example.org. 300 A 192.0.2.25", "mail.example.org. 300 AAAA 2001:db8::25"],
            ),
            (
                "_s._tcp",
                SRV,
                [f"_s._tcp.example.org. 300 SRV 0 {n} 8{n} www.example.org." for n in (0, 1)],
                ["www.example.org. 300 A 192.0.2.1"],
            ),
            ("c1", A, ["c1.example.org. 300 CNAME www.example.org.", "www.example.org. 300 A 192.0.2.1"], []),
            ("c1", CNAME, ["c1.example.org. 300 CNAME www.example.org."], []),
            ("x.wc", A, ["www.example.org. 300 A 192.0.2.1", "x.wc.example.org. 300 CNAME www.example.org."], []),
            ("d", A, ["d.example.org. 300 A 192.0.2.7"], []),
            ("d", DNAME, ["d.example.org. 300 DNAME Example.com."], []),
        ):
            found = self.ask(name, qtype)
            self.assertEqual(texts(found.answer), answer)
            self.assertEqual(texts(found.authority), [NS_LINE])
            self.assertEqual(texts(found.additional), additional)
            self.assertEqual((found.rcode, found.authoritative, found.outside), (NOERROR, True, None))
        found = self.ask("", NS)
        self.assertEqual((texts(found.answer), found.authority, len(found.additional)), ([NS_LINE], [], 1))

    def test_many_targets(self) -> None:
        """Hundreds of records come without the addresses of their targets."""
        for count, added in ((MOST_TARGETS, 1), (MOST_TARGETS + 1, 0)):
            rows = "".join(f"m MX {number} www\n" for number in range(count))
            found = look_up(zone_of(ZONE + rows), from_text("m.example.org"), MX, False)
            self.assertEqual((len(found.answer), len(found.additional)), (count, added))

    def test_negative(self) -> None:
        """An SOA with the negative TTL; only names without any record fall through."""
        for name, qtype, rcode, falls in (
            ("www", AAAA, NOERROR, False),
            ("www", ANY, NOERROR, False),
            ("", TXT, NOERROR, False),  # the apex has an MX
            ("x.w", TXT, NOERROR, False),
            ("ent", A, NOERROR, True),
            ("w", A, NOERROR, True),
            ("x.ent", A, NXDOMAIN, True),
            ("x.exact.w", A, NXDOMAIN, True),
            ("x.*.w", A, NXDOMAIN, True),
            ("nope", A, NXDOMAIN, True),
            ("sub", DS, NOERROR, False),
        ):
            found = self.ask(name, qtype)
            self.assertEqual((found.rcode, found.falls_through, found.authoritative), (rcode, falls, True), name)
            self.assertEqual((found.answer, texts(found.authority)), ([], [SOA_LINE]))

    def test_bare_apex(self) -> None:
        """An apex with SOA and NS alone falls through as a name without records does."""
        self.zone = zone_of(HEAD)
        found = self.ask("", A)
        self.assertEqual((found.rcode, found.falls_through), (NOERROR, True))
        self.assertFalse(self.ask("", NS).falls_through)

    def test_wildcard_is_named(self) -> None:
        """The wildcard that made an answer is told."""
        self.assertEqual(self.ask("x.w").wildcard, from_text("*.w.example.org"))
        self.assertIsNone(self.ask("exact.w", TXT).wildcard)

    def test_delegation(self) -> None:
        """At and below a cut, the child's servers are named, with addresses from below the cut."""
        for name, qtype in (("sub", A), ("sub", NS), ("x.sub", DS), ("ns.sub", A), ("a.b.sub", ANY)):
            found = self.ask(name, qtype)
            self.assertFalse(found.authoritative)
            self.assertEqual(
                texts(found.authority),
                ["sub.example.org. 300 NS ns.example.org.", "sub.example.org. 300 NS ns.sub.example.org."],
            )
            self.assertEqual(texts(found.additional), ["ns.sub.example.org. 300 A 192.0.2.60"])
        found = self.ask("ds", DS)
        self.assertEqual((found.authoritative, len(found.answer)), (True, 1))
        self.assertEqual([record.rtype for record in self.ask("x.ds", A, do=True).authority], [NS, DS])

    def test_alias_below_a_cut(self) -> None:
        """The alias and the referral, which is authoritative for the alias."""
        found = self.ask("cg")
        self.assertEqual((found.authoritative, len(found.answer), len(found.authority)), (True, 1, 2))

    def test_outside(self) -> None:
        """What an alias leads to outside, or to a name that only the server as a whole can answer, is left to the caller."""
        for name, outside, count in (
            ("c3", "www.example.net.", 1),
            ("c4", "www.example.net.", 2),
            ("c2", "nope.example.org.", 1),
            ("www.d", "www.Example.com.", 2),
            ("x.din", "x.w.example.org.", 2),
        ):
            found = self.ask(name)
            assert found.outside is not None
            self.assertEqual((to_text(found.outside), len(found.answer), found.authority), (outside, count, []))
        self.assertIsNone(self.ask("www.d", CNAME).outside)

    def test_loops(self) -> None:
        """Each name of a loop is shown once; a DNAME that makes the name itself is a failure."""
        self.assertEqual(
            texts(self.ask("ca").answer), [f"c{a}.example.org. 300 CNAME c{b}.example.org." for a, b in ("ab", "ba")]
        )
        self.assertEqual(self.ask("x.dl").rcode, SERVFAIL)

    def test_too_long(self) -> None:
        """A DNAME that makes a name of more than 255 bytes: YXDOMAIN, with the DNAME."""
        found = self.ask(f"{'x' * 63}.{'y' * 63}.long")
        self.assertEqual((found.rcode, [record.rtype for record in found.answer]), (YXDOMAIN, [DNAME]))

    def test_joined(self) -> None:
        """What comes of the reply for an outside name."""
        target = zone_of(HEAD + "a A 10.0.0.1\n", "example.net")
        records = list(target.all_records())
        answer = [record for record in records if record.rtype == A][:1]
        for rcode, extra, shown, authority, count in (
            (NOERROR, answer, NOERROR, NS_LINE, 2),
            (NOERROR, [], NOERROR, SOA_LINE, 1),
            (NXDOMAIN, [], NXDOMAIN, SOA_LINE, 1),
            (SERVFAIL, [], SERVFAIL, NS_LINE, 1),
            (5, [], NOERROR, NS_LINE, 1),
            (None, [], NOERROR, NS_LINE, 1),
        ):
            found = self.ask("c3").joined(self.zone, False, rcode, extra)
            self.assertEqual((found.rcode, texts(found.authority), len(found.answer)), (shown, [authority], count))

    def test_dname_at_the_apex(self) -> None:
        """A DNAME at the zone's name redirects all names below, and not the name itself."""
        self.zone = zone_of(HEAD + "@ DNAME example.net.\n")
        self.assertEqual(self.ask("x").outside, from_text("x.example.net"))
        self.assertEqual(self.ask("", A).rcode, NOERROR)


LABELS = ["a", "b", "*"]
NAMES = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join)
DATA = st.sampled_from(
    [
        "A 10.0.0.1",
        "A 10.0.0.2",
        "TXT x",
        "NS ns.example.net.",
        "DNAME example.net.",
        "CNAME a",
        "CNAME www.example.net.",
    ]
)
ORIGIN = from_text("example.org")


def reference(lines: set[tuple[str, str]], qname: bytes, qtype: int) -> tuple[object, ...]:
    """What the answer must be, from sets of names alone (RFC 1034 section 4.3.2, RFC 4592, RFC 6672)."""
    data: dict[bytes, dict[int, set[str]]] = {}
    for owner, text in lines:
        rtype, _, rdata = text.partition(" ")
        number = type_number(rtype)
        assert number is not None
        data.setdefault(from_text(f"{owner}.example.org"), {}).setdefault(number, set()).add(rdata)
    data.setdefault(from_text("ns.example.org"), {})[A] = {"192.0.2.53"}

    def exists(name: bytes) -> bool:
        return name == ORIGIN or any(is_subdomain(owner, name) for owner in data)

    above = [name for name in suffixes(qname) if is_subdomain(name, ORIGIN) and name != ORIGIN][::-1]
    for name in above:
        if NS in data.get(name, {}):
            return ("referral", name)
        if name != qname and DNAME in data.get(name, {}):
            return ("dname", name)
    if exists(qname):
        node = data.get(qname, {})
    else:
        encloser = next(name for name in suffixes(qname) if exists(name))
        wild = b"\x01*" + encloser
        if not exists(wild):
            return ("nxdomain",)
        node = data.get(wild, {})
    if CNAME in node and qtype != CNAME:
        return ("alias",)
    if qtype in node:
        return ("answer", *sorted(node[qtype]))
    return ("nodata",)


class ReferenceTests(SynchronousTestCase):
    """Random zones."""

    @given(st.sets(st.tuples(NAMES, DATA), max_size=8), NAMES, st.sampled_from([A, TXT, CNAME]))
    @settings(max_examples=150, deadline=None)
    def test_as_reference(self, lines: set[tuple[str, str]], name: str, qtype: int) -> None:
        """Whatever is in a zone, the kind of the answer and its records are those of the reference."""
        zone = zone_of(HEAD + "".join(f"{owner} {text}\n" for owner, text in sorted(lines)))
        qname = from_text(f"{name}.example.org")
        found = look_up(zone, qname, qtype, do=True)
        kind, *rest = reference(lines, qname, qtype)
        types = [record.rtype for record in found.answer]
        if kind == "referral":
            self.assertEqual((found.authoritative, types, {r.owner for r in found.authority}), (False, [], {rest[0]}))
        elif kind == "dname":
            self.assertEqual((types[:2], found.answer[0].owner), ([DNAME, CNAME], rest[0]))
        elif kind == "alias":
            self.assertEqual((types[0], found.answer[0].owner), (CNAME, qname))
        elif kind == "answer":
            self.assertEqual(
                sorted(text_of(record).split(" ", 3)[3].strip('"') for record in found.answer if record.rtype == qtype),
                [self.full(str(text)) for text in rest],
            )
        else:
            self.assertEqual(
                (types, found.rcode, [r.rtype for r in found.authority]),
                ([], NXDOMAIN if kind == "nxdomain" else NOERROR, [SOA]),
            )

    def full(self, rdata: str) -> str:
        """Rdata with relative names made absolute."""
        return "a.example.org." if rdata == "a" else rdata
