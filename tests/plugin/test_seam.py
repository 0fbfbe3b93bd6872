"""Tests of :mod:`kdns.plugin.seam`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.seam import Block, BlockBuilder, Keeper, Resource
from tests.support import a_house


class KeeperTests(SynchronousTestCase):
    """What is carried over from one configuration to the next."""

    def site(self, kept: Keeper) -> BlockBuilder:
        """A block of a configuration that takes its resources from *kept*."""
        return BlockBuilder(a_house(Clock()), Block((), frozenset()), 0, kept=kept)

    def test_shared(self) -> None:
        """Blocks that ask for the same key and config share one resource, and each lists it once."""
        kept = Keeper()
        one, two = self.site(kept), self.site(kept)
        resource = one.keep("watch", (1,), Resource)
        self.assertIs(two.keep("watch", (1,), Resource), resource)
        self.assertIs(one.keep("watch", (1,), Resource), resource)
        self.assertEqual(one.resources, [resource])

    def test_carried_over(self) -> None:
        """The next configuration gets the resource that runs when its config is equal, and a new one when it is not."""
        before = Keeper()
        resource = self.site(before).keep("watch", (1,), Resource)
        self.assertIs(self.site(Keeper(before.taken)).keep("watch", (1,), Resource), resource)
        self.assertIsNot(self.site(Keeper(before.taken)).keep("watch", (2,), Resource), resource)

    def test_not_taken(self) -> None:
        """What a configuration does not ask for is not handed on to the one after it."""
        first = Keeper()
        self.site(first).keep("watch", (1,), Resource)
        second = Keeper(first.taken)
        self.assertEqual(Keeper(second.taken).taken, {})
        self.assertEqual(second.taken, {})


class SiteTests(SynchronousTestCase):
    """What a block offers to its plugins."""

    def test_own_addresses(self) -> None:
        """The server's own addresses are those the block is bound to, else the machine's."""
        builder = BlockBuilder(a_house(Clock(), own_addresses=lambda: ["10.244.0.2"]), Block((), frozenset()), 0)
        self.assertEqual(builder.own_addresses(), (b"\x0a\xf4\x00\x02",))
        builder.binds = ("127.0.0.1", "::1")
        self.assertEqual(builder.own_addresses(), (b"\x7f\x00\x00\x01", b"\x00" * 15 + b"\x01"))
