"""The directive: what a new configuration takes over."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import chain
from kdns.plugin.seam import BlockBuilder, Keeper
from kdns.plugins.cache import directive
from tests.plugins.cache.upstream import Upstream
from tests.support import a_house, a_request, built, now


class TakeOverTests(SynchronousTestCase):
    """Entries across configurations."""

    def setUp(self) -> None:
        self.context = a_house(Clock())
        self.kept = Keeper()
        self.upstream = Upstream()

    def ask(self, builder: BlockBuilder) -> Answer:
        """Ask the cache of a builder."""
        return now(chain([*builder.links, self.upstream])(a_request("a.test")))

    def test_the_same_block_keeps_its_entries(self) -> None:
        """A block that says the same as before goes on with what it knows."""
        self.ask(built(directive, ".:53 {\n cache\n}\n", self.context, self.kept, fingerprint="1"))
        self.assertEqual(
            self.ask(built(directive, ".:53 {\n cache\n}\n", self.context, self.kept, fingerprint="1")).source, "cache"
        )

    def test_another_block_begins_empty(self) -> None:
        """Anything that changed in the block may change what would be answered now."""
        self.ask(built(directive, ".:53 {\n cache\n}\n", self.context, self.kept, fingerprint="1"))
        changed = built(directive, ".:53 {\n cache\n}\n", self.context, self.kept, fingerprint="2")
        self.assertEqual(self.ask(changed).source, "forward")

    def test_what_is_not_known_to_be_the_same_is_not(self) -> None:
        """Without a fingerprint nothing is taken over."""
        self.ask(built(directive, ".:53 {\n cache\n}\n", self.context, self.kept))
        self.assertEqual(self.ask(built(directive, ".:53 {\n cache\n}\n", self.context, self.kept)).source, "forward")
