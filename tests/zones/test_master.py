# -*- test-case-name: tests.zones.test_master -*-
"""Master files are read as dnspython reads them, and what is wrong in one has its place."""

from __future__ import annotations

from io import BytesIO

import dns.zone
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import from_text
from kdns.zones.master import MAX_DEPTH, MAX_RECORD, MasterError, MasterReader
from kdns.zones.zone import BadZone, ZoneBuilder
from tests.zones.support import HEAD, texts, zone_of

ORIGIN = from_text("example.org")


def records(text: str, **files: str) -> list[str]:
    """All records of a file behind the head, as lines."""
    head = set(texts(zone_of(HEAD).all_records()))
    return [line for line in texts(zone_of(HEAD + text, files=files).all_records()) if line not in head]


class ReadingTests(SynchronousTestCase):
    """What is read."""

    def test_shapes(self) -> None:
        """Blank owners, comments, brackets over lines, quotes, escapes, classes, TTLs in any place."""
        self.assertEqual(
            records(
                'www IN 1h A 10.0.0.1 ; comment\n\n   60 A 10.0.0.2\n\tTXT "a;b" "(" ; )\n'
                "mx ( MX ; half\n 10\n mail )\nwww2 CH A 10.0.0.3\nesc\\.aped A 10.0.0.4\nlow a 10.0.0.5\n"
                "abs.example.org. A 10.0.0.6\n@ A 10.0.0.7\r\nt TYPE65280 \\# 1 0a"
            ),
            [
                "abs.example.org. 300 A 10.0.0.6",
                "esc\\.aped.example.org. 300 A 10.0.0.4",
                "example.org. 300 A 10.0.0.7",
                "low.example.org. 300 A 10.0.0.5",
                "mx.example.org. 300 MX 10 mail.example.org.",
                "t.example.org. 300 TYPE65280 \\# 1 0a",
                'www.example.org. 300 TXT "a;b" "("',
                "www.example.org. 3600 A 10.0.0.1",
                "www.example.org. 60 A 10.0.0.2",
                "www2.example.org. 300 A 10.0.0.3",
            ],
        )

    def test_default_ttl(self) -> None:
        """Before any $TTL, a record takes the last TTL that was written; else the SOA's minimum when it has a class."""
        text = "@ IN SOA ns admin 5 7200 1800 86400 60\n@ IN NS ns\na 7 A 10.0.0.1\nb A 10.0.0.2\n$TTL 9\nc 8 A 10.0.0.3\nd A 10.0.0.4\n"
        shown = [line.split()[:2] for line in texts(zone_of(text).all_records())]
        self.assertEqual([f"{owner[0]}{ttl}" for owner, ttl in shown], ["a7", "b7", "c8", "d9", "e60", "e60"])

    def test_include(self) -> None:
        """Origin and TTL of an included file end with it; paths are relative to the file that names them."""
        self.assertEqual(
            records(
                "$INCLUDE sub/part inc\nback A 10.0.0.9\n",
                **{"sub/part": "a A 10.0.0.1\n$TTL 5\n$ORIGIN x\n$INCLUDE more\n", "sub/more": "b A 10.0.0.2\n"},
            ),
            [
                "a.inc.example.org. 300 A 10.0.0.1",
                "b.x.inc.example.org. 5 A 10.0.0.2",
                "back.example.org. 300 A 10.0.0.9",
            ],
        )

    def test_include_itself(self) -> None:
        """A file that includes itself ends in an error."""
        with self.assertRaisesRegex(MasterError, "too deeply nested"):
            records("$INCLUDE loop\n", loop="$INCLUDE loop\n")
        self.assertEqual(MAX_DEPTH, 7)

    def test_generate(self) -> None:
        """Counters with step, offset, width and base, dollars, and the TTL of the file."""
        self.assertEqual(
            records(
                '$GENERATE 8-10/2 h$ A 10.0.0.$\n$GENERATE 1-1 p${10,4,x} 77 CNAME t${-1,0,d}\n$GENERATE 1-1 d$$ TXT "\\$ $"\n'
            ),
            [
                'd\\$.example.org. 300 TXT "$ 1"',
                "h10.example.org. 300 A 10.0.0.10",
                "h8.example.org. 300 A 10.0.0.8",
                "p000b.example.org. 77 CNAME t0.example.org.",
            ],
        )

    def test_a_step_is_short(self) -> None:
        """A file of many lines, and a line that makes many records, give way in between."""
        for text, lines in (("a A 10.0.0.1\n" * 1000, 1000), ("$GENERATE 1-1000 h$ A 10.0.0.1\n", 1000)):
            builder = ZoneBuilder(ORIGIN)
            file = BytesIO((HEAD + text).encode())

            def opened(path: str, file: BytesIO = file) -> BytesIO:
                return file

            steps = list(MasterReader(opened, "db", ORIGIN, builder.add).read())
            self.assertGreater(len(steps), lines // 40)


class ErrorTests(SynchronousTestCase):
    """What is refused, and where."""

    def test_places(self) -> None:
        """Each error names file, line, column, reason and token."""
        for text, error in (
            ("www FROB x\n", 'db: dns: not a TTL: "FROB" at line: 5:9'),
            ("www A 10.0.0.300\n", 'db: dns: bad A A: "10.0.0.300" at line: 5:16'),
            ("www 1x A 10.0.0.3\n", 'db: dns: not a TTL: "1x" at line: 5:7'),
            ("$TTL 1x\n", 'db: dns: expecting $TTL value, not this...: "1x" at line: 5:7'),
            ("$ORIGIN a..b\n", 'db: dns: bad origin name: "a..b" at line: 5:12'),
            (
                "$INCLUDE nofile\n",
                'db: dns: failed to open `nofile\': open nofile: no such file or directory: "nofile" at line: 5:15',
            ),
            ("$FROB x\n", 'db: dns: unknown directive: "$FROB" at line: 5:6'),
            ('www TXT (\n"a" "b\n)\n', 'db: dns: unbalanced quotes: "\\"" at line: 6:5'),
            ("www TXT ( a\n", 'db: dns: unbalanced brackets: "(" at line: 5:10'),
            ("www TXT a )\n", 'db: dns: extra closing brace: ")" at line: 5:11'),
            ("www\n", 'db: dns: not a TTL: "www" at line: 5:3'),
            ("www IN\n", 'db: dns: not a record: "IN" at line: 5:6'),
            ("www AXFR x\n", 'db: dns: type that has no records: "AXFR" at line: 5:9'),
            ("a..b A 10.0.0.1\n", 'db: dns: bad owner name: "a..b" at line: 5:5'),
            ("$GENERATE 1-70000 h$ A 10.0.0.1\n", 'db: dns: bad range in $GENERATE range: "1-70000" at line: 5:18'),
            ("$GENERATE 2-1 h$ A 10.0.0.1\n", None),
            ("$GENERATE 1-2 h${0,0,y} A 10.0.0.1\n", None),
            ("$GENERATE 1-2 h${999999999999} A 10.0.0.1\n", None),
            ("x TXT " + "a" * MAX_RECORD, None),
        ):
            with self.assertRaises(MasterError, msg=text[:60]) as caught:
                records(text)
            if error is not None:
                self.assertEqual(str(caught.exception), error)

    def test_blank_owner_first(self) -> None:
        """A file cannot begin with "as before"."""
        with self.assertRaisesRegex(MasterError, "no owner"):
            zone_of("  A 10.0.0.1\n")

    def test_no_ttl(self) -> None:
        """A first record with neither TTL nor class has no TTL."""
        with self.assertRaisesRegex(MasterError, 'missing TTL with no previous value: "SOA" at line: 1:6'):
            zone_of("@ SOA ns admin 5 7200 1800 86400 60\n")

    def test_in_an_included_file(self) -> None:
        """The included file is named."""
        with self.assertRaisesRegex(MasterError, '^part: dns: bad A A: "x" at line: 2:5'):
            records("$INCLUDE part\n", part="\na A x\n")


LABEL = st.sampled_from(["a", "b", "www", "*", "x-1", "_tcp", "A", "UP", "3"])
NAME = st.one_of(
    st.just("@"),
    st.lists(LABEL, min_size=1, max_size=3).map(".".join),
    st.lists(LABEL, min_size=1, max_size=2).map(lambda labels: ".".join(labels) + ".example.org."),
)
RECORD = st.one_of(
    st.ip_addresses(v=4).map(lambda address: f"A {address}"),
    st.ip_addresses(v=6).map(lambda address: f"AAAA {address}"),
    NAME.map(lambda name: f"PTR {name}"),
    st.tuples(st.integers(0, 65535), NAME).map(lambda pair: f"MX {pair[0]} {pair[1]}"),
    st.lists(st.text("ab ;()", max_size=9), min_size=1, max_size=3).map(
        lambda strings: "TXT " + " ".join(f'"{s}"' for s in strings)
    ),
)
LINE = st.tuples(
    NAME,
    st.sampled_from(["", "60 ", "IN ", "IN 70 ", "80 IN "]),
    RECORD,
    st.sampled_from(["", " ; comment (", "\n", " "]),
).map(lambda parts: f"{parts[0]} {parts[1]}{parts[2]}{parts[3]}")


class ReferenceTests(SynchronousTestCase):
    """Against dnspython."""

    @given(st.lists(LINE, max_size=12))
    @settings(max_examples=60, deadline=None)
    def test_as_dnspython(self, lines: list[str]) -> None:
        """Every record of a file of common shape is what dnspython finds in it."""
        text = HEAD + "\n".join(lines) + "\n"
        reference = dns.zone.from_text(text, "example.org.", relativize=False, check_origin=False)
        wanted = sorted(
            {
                ((name.to_wire() or b"").lower(), rdata.rdtype, (rdata.to_wire() or b"").lower())
                for name, _, rdata in reference.iterate_rdatas()
            }
        )
        got = sorted({(r.owner.lower(), r.rtype, r.rdata.lower()) for r in zone_of(text).all_records()})
        self.assertEqual(got, wanted)

    @given(
        st.lists(
            st.one_of(
                LINE, st.text(max_size=20), st.sampled_from(["$TTL 5", "$ORIGIN x", "$GENERATE 1-3 a$ A 10.0.0.$", "("])
            ),
            max_size=8,
        )
    )
    @settings(max_examples=150, deadline=None)
    def test_any_text(self, lines: list[str]) -> None:
        """Any text is a zone or a clean error."""
        try:
            zone_of(HEAD + "\n".join(lines))
        except BadZone as error:
            self.assertTrue(str(error))
