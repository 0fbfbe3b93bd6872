"""The fixed order of directives."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER, OWN, rank


class OrderTests(SynchronousTestCase):
    """Facts about the order that people rely on."""

    def test_facts(self) -> None:
        """Of two plugins the outer one comes first."""
        for outer, inner in (
            ("metadata", "log"),
            ("log", "rewrite"),
            ("errors", "rewrite"),
            ("prometheus", "rewrite"),
            ("rewrite", "acl"),
            ("autopath", "acl"),
            ("acl", "cache"),
            ("loadbalance", "cache"),
            ("cache", "minimal"),
            ("cache", "dnssec"),
            ("cache", "header"),
            ("hosts", "kubernetes"),
            ("kubernetes", "forward"),
        ):
            self.assertLess(rank(outer), rank(inner), (outer, inner))
        self.assertEqual(rank("loop") + 1, rank("forward"))

    def test_each_once(self) -> None:
        """No name stands twice, and those of configuration alone are among them."""
        self.assertEqual(len(set(DIRECTIVE_ORDER)), len(DIRECTIVE_ORDER))
        self.assertLess(CONFIGURATION_ONLY, OWN.union(DIRECTIVE_ORDER))
        self.assertEqual(OWN & set(DIRECTIVE_ORDER), set())

    def test_from_outside(self) -> None:
        """A plugin that is not in the list is innermost."""
        self.assertEqual(rank("my.plugin"), len(DIRECTIVE_ORDER))
