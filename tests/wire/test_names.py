"""Domain names in wire form: from text and back, and out of messages."""

from __future__ import annotations

from random import Random

import dns.name
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import (
    ROOT,
    BadName,
    MalformedName,
    NameFacts,
    address_of_reverse,
    from_labels,
    from_text,
    is_subdomain,
    label_count,
    labels_of,
    longest_zone,
    measure_name,
    parent,
    read_name,
    reverse_name,
    skip_name,
    spelled_from_text,
    suffixes,
    to_text,
)
from tests.wire.support import REPEATABLE, labels, names

WEB = b"\x03web\x04prod\x00"


class TextTests(SynchronousTestCase):
    """Presentation form."""

    def test_from_text(self) -> None:
        """Texts and the names they stand for."""
        for text, name in (
            ("", ROOT),
            (".", ROOT),
            ("web.prod", WEB),
            ("web.prod.", WEB),
            ("WEB.Prod.", WEB),
            (b"web.prod", WEB),
            (r"a\.b.c", b"\x03a.b\x01c\x00"),
            (r"a\046b.c", b"\x03a.b\x01c\x00"),
            (r"\000\255.", b"\x02\x00\xff\x00"),
            (r"a\\.b", b"\x02a\\\x01b\x00"),
            ("bücher.", b"\x07b\xc3\xbccher\x00"),
        ):
            self.assertEqual(from_text(text), name, text)

    def test_spelling(self) -> None:
        """The spelling of letters is kept where it is asked for."""
        self.assertEqual(spelled_from_text("WeB.pRoD"), b"\x03WeB\x04pRoD\x00")

    def test_bad_texts(self) -> None:
        """Empty labels, what is too long, and broken escapes are no names."""
        long = ".".join(["a" * 63] * 4)
        for text in ("a..b", ".a", "..", "a" * 64, long, "a\\", "\\256.", "a.." + "b"):
            self.assertRaises(BadName, from_text, text)
        self.assertEqual(len(from_text(".".join(["a" * 63] * 3 + ["a" * 61]))), 255)

    @REPEATABLE
    @given(names(labels))
    def test_round_trip(self, name: bytes) -> None:
        """Every name comes back out of its text, and dnspython reads the same out of it."""
        text = to_text(name)
        self.assertEqual(spelled_from_text(text), name)
        self.assertTrue(text.isascii() and text.isprintable(), text)
        self.assertEqual(dns.name.from_text(text).to_wire(), name)

    @REPEATABLE
    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text is a name or is refused as one; nothing else is raised."""
        try:
            name = from_text(text)
        except BadName:
            return
        self.assertEqual(from_text(to_text(name)), name)


class StructureTests(SynchronousTestCase):
    """Labels, parents and zones."""

    @REPEATABLE
    @given(names(labels))
    def test_labels(self, name: bytes) -> None:
        """A name is the join of its labels."""
        self.assertEqual(from_labels(labels_of(name)), name)
        self.assertEqual(label_count(name), len(labels_of(name)))
        found = list(suffixes(name))
        self.assertEqual(len(found), label_count(name) + 1)
        self.assertEqual(found[-1], ROOT)
        for above, below in zip(found[1:], found, strict=False):
            self.assertEqual(parent(below), above)

    def test_root(self) -> None:
        """The root is its own parent and has no labels."""
        self.assertEqual(parent(ROOT), ROOT)
        self.assertEqual(labels_of(ROOT), [])
        self.assertEqual(list(suffixes(ROOT)), [ROOT])

    def test_empty_label(self) -> None:
        """An empty label is none."""
        self.assertRaises(BadName, from_labels, [b"a", b""])

    def test_subdomain(self) -> None:
        """A name is below a zone only at the boundary of a label."""
        zone = from_text("prod.")
        self.assertTrue(is_subdomain(zone, zone))
        self.assertTrue(is_subdomain(WEB, zone))
        self.assertTrue(is_subdomain(WEB, ROOT))
        self.assertFalse(is_subdomain(zone, WEB))
        self.assertFalse(is_subdomain(from_text("xprod."), zone))
        # The octets of the zone inside one label: a length octet that is a letter's place.
        self.assertFalse(is_subdomain(from_labels([b"a\x04prod"]), zone))

    @REPEATABLE
    @given(names(), st.lists(names(), max_size=5))
    def test_longest_zone(self, name: bytes, zones: list[bytes]) -> None:
        """The longest of the zones that hold the name, as dnspython sees them."""
        asked = dns.name.from_wire(name, 0)[0]
        holding = [zone for zone in zones if asked.is_subdomain(dns.name.from_wire(zone.lower(), 0)[0])]
        wanted = max((zone.lower() for zone in holding), key=label_count, default=None)
        self.assertEqual(longest_zone(name.lower(), frozenset(zone.lower() for zone in zones)), wanted)


class MessageTests(SynchronousTestCase):
    """Names in messages, perhaps compressed."""

    def test_pointers(self) -> None:
        """A name may end in a pointer to an earlier one, which may end in one itself."""
        message = b"??" + WEB + b"\x01a\xc0\x02" + b"\x01b\xc0\x0c"
        self.assertEqual(read_name(message, 2), (WEB, 12))
        self.assertEqual(read_name(message, 12), (b"\x01a" + WEB, 16))
        self.assertEqual(read_name(message, 16), (b"\x01b\x01a" + WEB, 20))
        self.assertEqual([skip_name(message, offset) for offset in (2, 12, 16)], [12, 16, 20])

    def test_malformed(self) -> None:
        """Loops, pointers forward, unknown label types and what runs over the end are no names."""
        for message in (
            b"",
            b"\xc0",
            b"\xc0\x00",
            b"\xc0\x05\x00",
            b"\x01a\xc0\x00",
            b"\x41a\x00",
            b"\x80\x00",
            b"\x05ab",
            b"\x01a",
        ):
            self.assertRaises(MalformedName, read_name, message, 0)
        for message in (b"", b"\xc0", b"\x41a\x00", b"\x80\x00", b"\x05ab", b"\x01a"):
            self.assertRaises(MalformedName, skip_name, message, 0)

    def test_too_long(self) -> None:
        """Pointers cannot make a name longer than 255 octets."""
        half = from_labels([b"a" * 63, b"b" * 63])
        message = half + b"\x3f" + b"c" * 63 + b"\x3f" + b"d" * 63 + b"\xc0\x00"
        self.assertRaises(MalformedName, read_name, message, len(half))

    def test_chain_of_pointers(self) -> None:
        """A name follows 127 pointers at most: each record of a message could point at the end of a chain of thousands."""
        message = b"\x01a\x00"
        offsets = [0]
        for _ in range(128):
            offsets.append(len(message))
            message += b"\xc0" + bytes((offsets[-2],)) if offsets[-2] < 256 else b""
        self.assertEqual(read_name(message, offsets[127])[0], b"\x01a\x00")
        self.assertRaises(MalformedName, read_name, message + b"\xc0" + bytes((offsets[127],)), len(message))

    @REPEATABLE
    @given(st.binary(max_size=300), st.integers(min_value=0, max_value=300))
    def test_any_octets(self, message: bytes, offset: int) -> None:
        """Any octets are a name or are refused as one; nothing else is raised, and dnspython agrees on what is one."""
        try:
            name, end = read_name(message, offset)
        except MalformedName:
            with self.assertRaises(Exception):  # noqa: B017  # dnspython has several for this
                dns.name.from_wire(message, offset) if offset < len(message) else dns.name.from_wire(b"", 0)
            return
        theirs, used = dns.name.from_wire(message, offset)
        self.assertEqual((theirs.to_wire(), offset + used), (name, end))
        self.assertEqual(skip_name(message, offset), end)


class ReverseTests(SynchronousTestCase):
    """Names of addresses."""

    @REPEATABLE
    @given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)))
    def test_round_trip(self, address: bytes) -> None:
        """Every address comes back out of its name."""
        self.assertEqual(address_of_reverse(reverse_name(address)), address)

    def test_texts(self) -> None:
        """They are those of the RFCs."""
        self.assertEqual(to_text(reverse_name(bytes((10, 96, 0, 1)))), "1.0.96.10.in-addr.arpa.")
        ipv6 = "f.0.0.0." + "0.0.0.0." * 6 + "8.b.d.0.1.0.0.2.ip6.arpa."
        address = bytes.fromhex("20010db8" + "0" * 23 + "f")
        self.assertEqual(label_count(reverse_name(address)), 34)
        self.assertEqual(to_text(reverse_name(address))[-24:], ipv6[-24:])

    def test_none(self) -> None:
        """Names that are no whole address, or write one in another way."""
        for text in (
            "0.96.10.in-addr.arpa",
            "1.0.96.10.in-addr.arpa.x",
            "01.0.96.10.in-addr.arpa",
            "256.0.96.10.in-addr.arpa",
            "x.0.96.10.in-addr.arpa",
            "-1.0.96.10.in-addr.arpa",
            "1.2.1.0.96.10.in-addr.arpa",
            "g" + ".0" * 31 + ".ip6.arpa",
            "00" + ".0" * 31 + ".ip6.arpa",
            "0" + ".0" * 30 + ".ip6.arpa",
            ".",
        ):
            self.assertIsNone(address_of_reverse(from_text(text)), text)


class MeasureTests(SynchronousTestCase):
    """Names that are measured and not made."""

    @REPEATABLE
    @given(
        st.lists(
            st.one_of(
                st.sampled_from((b"\x00", b"\x01a", b"\x02\x01a", b"\x3f" + b"x" * 63)),
                st.integers(0, 300).map(lambda target: (0xC000 | target).to_bytes(2, "big")),
                st.binary(max_size=3),
            ),
            max_size=60,
        ).map(b"".join),
        st.randoms(use_true_random=False),
    )
    def test_as_read(self, message: bytes, random: Random) -> None:
        """Wherever a name begins, and whatever was measured before, it is what :func:`read_name` reads."""
        known: dict[int, NameFacts] = {}
        places = list(range(len(message) + 1))
        random.shuffle(places)
        for offset in places:
            try:
                name, behind = read_name(message, offset)
            except MalformedName:
                self.assertRaises(MalformedName, measure_name, message, offset, known)
            else:
                self.assertEqual(measure_name(message, offset, known), (len(name), behind))

    def test_shared_labels(self) -> None:
        """Each label is walked over once: no two facts about names that share 127 labels are made twice."""
        known: dict[int, NameFacts] = {}
        message = bytes(12) + b"\x01a" * 127 + b"\x00"
        self.assertEqual(measure_name(message, 12, known), (255, 267))
        facts = dict(known)
        self.assertEqual(len(facts), 127)
        for start in range(14, 266, 2):
            end = len(message)
            message += b"\xc0" + bytes((start & 0xFF,)) if start < 256 else b"\xc1" + bytes((start & 0xFF,))
            self.assertEqual(measure_name(message, end, known), (267 - start, end + 2))
        self.assertEqual(known, facts)
        self.assertTrue(all(known[at] is facts[at] for at in facts))
