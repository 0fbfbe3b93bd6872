# -*- test-case-name: tests.cli.test_cache -*-
"""What ``kdns cache`` asks and prints."""

from __future__ import annotations

import json

from kdns.cli import cache
from tests.cli.test_query_client import AskingCase

ENTRIES = [
    {"name": "www.example.org.", "type": "A", "held": "success", "rcode": "NOERROR", "zone": ".",
     "left": 18.0, "age": 12.0, "ttl": 30, "records": 1},
    {"name": "web.shop.", "type": "AAAA", "held": "table", "rcode": "NOERROR", "listener": "dns://:53", "records": 0},
    {"name": "gone.", "type": "A", "held": "denial", "rcode": "NXDOMAIN", "zone": ".",
     "left": -3.0, "age": 33.0, "ttl": 30, "stale": True, "records": 0},
]  # fmt: skip


class CacheTests(AskingCase):
    """Each word."""

    def test_list(self) -> None:
        """A table with a line an entry, and how many there are."""
        self.reply = {"entries": ENTRIES, "found": 7, "caches": 1}
        status, out, _ = self.run_with(cache.main, "list", "--zone", "example.org", "--limit", "3")
        self.assertEqual(status, 0)
        self.assertEqual(self.asked, [(None, "cache.list", {"zone": "example.org", "type": "", "limit": 3})])
        self.assertEqual(
            out.splitlines(),
            [
                "NAME              TYPE  HELD     RCODE     RECORDS  LEFT          AGE   WHERE",
                "www.example.org.  A     success  NOERROR   1        18 s of 30 s  12 s  cache of .",
                "web.shop.         AAAA  table    NOERROR   0        data          -     dns://:53",
                "gone.             A     denial   NXDOMAIN  0        stale         33 s  cache of .",
                "3 of 7 entries; --limit shows more",
            ],
        )

    def test_nothing(self) -> None:
        """An empty list says so, and the exit status is 1."""
        self.reply = {"entries": [], "found": 0, "caches": 0}
        status, out, _ = self.run_with(cache.main, "get", "www.example.org", "A")
        self.assertEqual(status, 1)
        self.assertEqual(self.asked[0][1:], ("cache.get", {"name": "www.example.org", "type": "A"}))
        self.assertEqual(
            out.splitlines(),
            ["There is no cache plugin in the Corefile; what follows is of the answer table.", "Nothing is held."],
        )

    def test_flush(self) -> None:
        """It says how much went."""
        self.reply = {"flushed": 1, "replies": 4}
        status, out, _ = self.run_with(cache.main, "flush", "--zone", "example.org")
        wanted = "1 entry of the cache flushed, and 4 finished replies of the answer table\n"
        self.assertEqual((status, out), (0, wanted))

    def test_json(self) -> None:
        """For machines it is what the server said."""
        self.reply = {"entries": ENTRIES, "found": 3, "caches": 1}
        _, out, _ = self.run_with(cache.main, "list", "--json")
        self.assertEqual(json.loads(out), self.reply)
