# -*- test-case-name: tests.plugins.file.test_fast -*-
"""Zones on the fast path: the same replies as from the plugin, before and after a change of the file."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.two_ways import TwoWaysTestCase

ZONE = """\
$TTL 300
@       SOA ns a.ns {serial} 7200 1800 86400 120
@       NS  ns
@       MX  10 h10
ns      A   10.0.0.53
*.wild  A   10.0.0.9
*.wild  TXT "any"
cut     NS  ns.cut
ns.cut  A   10.0.0.54
alias   CNAME h10
outside CNAME www.example.com.
a.deep.ent A 10.0.0.7
two     A   10.0.1.1
two     A   10.0.1.2
mail    MX  10 h10
mail    MX  20 h11
srv     SRV 0 0 80 h10
Capital A   10.0.0.4
short   5 A 10.0.0.5
"""
NAMES = (
    "www",
    "x.wild",
    "y.wild",
    "a.cut",
    "alias",
    "outside",
    "deep.ent",
    "two",
    "mail",
    "srv",
    "capital",
    "short",
    "h10",
    "h11",
    "no1",
)
TYPES = ("A", "AAAA", "MX", "SRV")


class FastTests(TwoWaysTestCase):
    """Two servers of the same zone; one asks its plugins each time."""

    def ask_both(self, options: str, extra: str = "") -> int:
        """Compare all replies, and count those that no plugin was asked for."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "db"

        def write(serial: int, address: str) -> None:
            hosts = "".join(f"h{number} A 10.0.{address}.{number}\n" for number in range(10, 14))
            path.write_text(ZONE.format(serial=serial) + hosts + extra)

        write(1, "2")
        text = f"{options}\nloadbalance\nfile {path} example.org {{\nreload 1s\n}}\nforward . {{{{UPSTREAM}}}}"
        self.start(f".:{{{{PORT}}}} {{\n{text}\n}}", (), folder)
        for _ in range(2):
            for do in (False, False, True):
                self.compare(("example.org", *(f"{name}.example.org" for name in NAMES)), TYPES, do=do)
            write(2, "3")
            self.advance(2.0)
        return self.fast_replies

    def test_equal(self) -> None:
        """Without a cache each record has its own TTL."""
        self.assertGreater(self.ask_both(""), 50)

    def test_behind_a_cache(self) -> None:
        """With one, all records have one."""
        self.assertGreater(self.ask_both("cache 30"), 50)

    def test_signed(self) -> None:
        """A zone with signatures is asked for each name: DO makes a difference."""
        signature = "h10 RRSIG A 13 3 300 20361231235959 20201231235959 1 example.org. AAAA\n"
        self.assertEqual(self.ask_both("", signature), 0)
