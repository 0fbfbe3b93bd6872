"""What is said of CoreDNS's directives, against the registry and the page."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.coredns_support import ROWS, Standing, external, old_words, table
from kdns.checking.syntax import SYNTAX
from kdns.corefile.errors import Place, SetupError
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin import registry
from tests.checking.support import faults
from tests.test_docs import ROOT

PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")


class StandingTests(SynchronousTestCase):
    """The table."""

    maxDiff = None

    def test_every_directive(self) -> None:
        """Every directive of CoreDNS has a row, in the order of the chain, and nothing else has."""
        self.assertEqual(tuple(ROWS), DIRECTIVE_ORDER)

    def test_page(self) -> None:
        """The page has the table of the code."""
        self.assertIn(table(), PAGE, "python -c 'from kdns.checking.coredns_support import table; print(table())'")

    def test_there(self) -> None:
        """What is the same or differs is a plugin of kdns; what differs says how."""
        for name, row in ROWS.items():
            self.assertEqual(row.there, name in registry.BUILT_IN, name)
            self.assertEqual(row.standing is Standing.DIFFERS, bool(row.differences or row.options), name)

    def test_missing(self) -> None:
        """What is not there is refused by a start, and the check says what to do; what never comes has a reason."""
        for name, row in ROWS.items():
            if row.there:
                continue
            self.assertRaises(SetupError, registry.find, name, Place("Corefile", 1))
            found = faults(f".:53 {{\n {name}\n whoami\n}}\n")
            self.assertEqual([(one.line, one.directive) for one in found], [(2, name)])
            self.assertIn(row.instead, found[0].suggestion)
            self.assertTrue(row.instead, name)
            if row.standing is Standing.NEVER:
                self.assertTrue(row.reason, name)
                self.assertIn(row.reason, found[0].suggestion)

    def test_options(self) -> None:
        """Options that differ are options that there are."""
        for name, row in ROWS.items():
            for option in row.options:
                self.assertIn(option.split()[0], SYNTAX[name].options, name)

    def test_words_on_the_page(self) -> None:
        """The page has the words of old Corefiles and the plugins of other builds, with what to do."""
        self.assertIn(
            old_words(), PAGE, "python -c 'from kdns.checking.coredns_support import old_words; print(old_words())'"
        )
        self.assertIn(
            external(), PAGE, "python -c 'from kdns.checking.coredns_support import external; print(external())'"
        )
