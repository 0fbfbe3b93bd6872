"""Names and addresses of a hosts file."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, lists
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.hosts.table import LINES, MOST_BACK, PARTS, HostTable, find
from kdns.wire.names import ROOT, from_text, reverse_name

EVERYWHERE = frozenset((ROOT,))


def table(*lines: str, zones: frozenset[bytes] = EVERYWHERE, reverse: bool = True) -> HostTable:
    """A table of these lines."""
    made = HostTable(zones, reverse)
    for _ in made.read(line.encode() for line in lines):
        pass
    return made


def v4(last: int) -> bytes:
    """The address 10.0.0.*last*."""
    return bytes((10, 0, 0, last))


class ReadTests(SynchronousTestCase):
    """What a line means."""

    def test_long_list(self) -> None:
        """A list of 100,000 names is read in steps of some lines, into dictionaries that are small enough to grow within one."""
        made = HostTable(EVERYWHERE, reverse=False)
        steps = sum(1 for _ in made.read(b"0.0.0.0 n%d.test" % number for number in range(100_000)))
        self.assertEqual((steps, made.entries), (100_000 // LINES, 100_000))
        self.assertLess(made.largest_part, 2 * 100_000 // PARTS)
        self.assertEqual(made.addresses(from_text("n99999.test")), [bytes(4)])

    def test_names_and_addresses(self) -> None:
        """Each name of a line has its address; a name may stand on several lines."""
        made = table("10.0.0.1 A.Test alias.test. # mine", "10.0.0.2\ta.test", "2001:db8::1 a.test", "", "# nothing")
        six = bytes.fromhex("20010db8" + "0" * 23 + "1")
        self.assertEqual(made.addresses(from_text("a.test")), [v4(1), v4(2), six])
        self.assertEqual(made.names(v4(1)), [from_text("a.test"), from_text("alias.test")])
        self.assertEqual(made.names(six), [from_text("a.test")])
        self.assertEqual(made.entries, 8)

    def test_lines_that_mean_nothing(self) -> None:
        """What is no address, no name, or alone is passed over."""
        made = table(
            "x a.test", "10.0.0 a.test", "10.0.0.1", "010.0.0.1 a.test", "10.0.0.1 a..test", "\u0661.1.1.1 a.test"
        )
        self.assertEqual(made.entries, 0)

    def test_addresses_in_other_forms(self) -> None:
        """A zone is dropped, and IPv4 in IPv6 form is IPv4."""
        made = table("fe80::1%eth0 a.test", "::ffff:10.0.0.1 b.test")
        self.assertEqual(made.addresses(from_text("a.test")), [bytes.fromhex("fe80" + "0" * 27 + "1")])
        self.assertEqual(made.addresses(from_text("b.test")), [v4(1)])

    def test_zones(self) -> None:
        """Names outside the zones are left out, backward too."""
        made = table("10.0.0.1 a.test a.example.com", zones=frozenset((from_text("test"),)))
        self.assertIsNone(made.addresses(from_text("a.example.com")))
        self.assertEqual(made.names(v4(1)), [from_text("a.test")])

    def test_no_reverse(self) -> None:
        """Addresses need not be looked up."""
        self.assertEqual(table("10.0.0.1 a.test", reverse=False).names(v4(1)), [])

    def test_block_list(self) -> None:
        """One address of very many names knows some of them only."""
        made = table(*(f"0.0.0.0 n{number}.test m{number}.test" for number in range(5000)))
        names = made.names(bytes(4))
        self.assertTrue(MOST_BACK - 100 < sum(map(len, names)) <= MOST_BACK)
        self.assertEqual(names[:2], [from_text("n0.test"), from_text("m0.test")])
        self.assertEqual(made.entries, 20_000)

    def test_steps(self) -> None:
        """Reading pauses after some lines."""
        lines = [b"10.0.0.1 a.test"] * (3 * LINES + 1)
        self.assertEqual(sum(1 for _ in HostTable(EVERYWHERE).read(lines)), 4)

    @given(lists(binary()))
    def test_any_octets(self, lines: list[bytes]) -> None:
        """No line makes reading fail."""
        for _ in HostTable(EVERYWHERE).read(lines):
            pass


class FindTests(SynchronousTestCase):
    """Looking a name up in several tables."""

    def test_tables_add_up(self) -> None:
        """A name has the addresses of all tables."""
        tables = (table("10.0.0.1 a.test"), table("10.0.0.2 a.test"))
        self.assertEqual(find(tables, from_text("a.test")), [v4(1), v4(2)])
        self.assertEqual(tables[0].addresses(from_text("a.test")), [v4(1)])
        self.assertIsNone(find(tables, from_text("b.test")))
        self.assertIsNone(find(tables, ROOT))

    def test_wildcard(self) -> None:
        """A wildcard stands for one label, and only where the name itself is not there."""
        tables = (table("10.0.0.1 *.test", "10.0.0.2 b.test"),)
        self.assertEqual(find(tables, from_text("a.test")), [v4(1)])
        self.assertEqual(find(tables, from_text("b.test")), [v4(2)])
        self.assertIsNone(find(tables, from_text("a.a.test")))
        self.assertIsNone(find(tables, from_text("test")))
        self.assertEqual(tables[0].names(v4(1)), [])


class ChangesTests(SynchronousTestCase):
    """What a newer table changes."""

    def test_changes(self) -> None:
        """Names that are new, gone or moved, and the reverse names of their addresses."""
        old = table("10.0.0.1 same.test", "10.0.0.2 moved.test", "10.0.0.3 gone.test")
        new = table("10.0.0.1 same.test", "10.0.0.4 moved.test", "10.0.0.5 new.test")
        wanted = {from_text(f"{name}.test") for name in ("moved", "gone", "new")}
        wanted |= {reverse_name(v4(last)) for last in (2, 3, 4, 5)}
        self.assertEqual({name for name in old.changes(new) if name is not None}, wanted)

    def test_pauses(self) -> None:
        """Comparing tables that are alike pauses too."""
        lines = [f"10.0.0.1 n{number}.test" for number in range(3000)]
        self.assertEqual(list(table(*lines).changes(table(*lines))), [None] * 6)
