# -*- test-case-name: tests.zones.test_catalog -*-
"""Which zones a catalog lists, and what is no catalog."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import from_text
from kdns.zones.catalog import Member, members
from kdns.zones.zone import BadZone
from tests.zones.support import zone_of

HEAD = "$TTL 0\n@ SOA invalid. invalid. 1 3600 600 86400 0\n@ NS invalid.\nversion TXT 2\n"


class CatalogTests(SynchronousTestCase):
    """kdns.zones.catalog."""

    def test_members(self) -> None:
        """Members by name, with their label and the catalog they may go to."""
        zone = zone_of(
            HEAD + "a.zones PTR One.example.\nb.zones PTR two.example.\ncoo.b.zones PTR other.\ngroup.b.zones TXT x\n"
        )
        one, two = from_text("one.example"), from_text("two.example")
        self.assertEqual(members(zone), {one: Member(one, b"a", None), two: Member(two, b"b", from_text("other"))})
        self.assertEqual(members(zone_of(HEAD)), {})

    def test_broken(self) -> None:
        """A catalog with a fault is not used at all."""
        for text, reason in (
            (HEAD.replace("@ NS invalid.\n", ""), "catalog zone example.org. has no NS record"),
            (HEAD.replace("version TXT 2\n", ""), "must have exactly one version TXT record"),
            (HEAD + "version TXT 3\n", "must have exactly one version TXT record"),
            (HEAD.replace("TXT 2", "TXT 1"), 'unsupported version "1"'),
            (
                HEAD + "a.zones PTR one.\na.zones PTR two.\n",
                "catalog member a.zones.example.org. must have exactly one PTR record",
            ),
            (HEAD + "a.zones TXT x\n", "must have exactly one PTR record"),
            (HEAD + "a.zones PTR one.\nb.zones PTR one.\n", "catalog member zone one. is listed by both a and b"),
            (
                HEAD + "a.zones PTR one.\ncoo.a.zones PTR x.\ncoo.a.zones PTR y.\n",
                "catalog member a has more than one coo PTR record",
            ),
        ):
            with self.assertRaisesRegex(BadZone, reason):
                members(zone_of(text))
