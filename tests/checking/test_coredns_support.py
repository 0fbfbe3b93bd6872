"""What is said of CoreDNS's directives, against the registry and the page."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.coredns_support import KEEP, ROWS, external, old_words, table
from kdns.checking.syntax import SYNTAX
from kdns.corefile.errors import Place, SetupError
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin import registry
from tests.checking.support import faults
from tests.support import lack
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
        """Each is a plugin of kdns; what differs says how."""
        for name, row in ROWS.items():
            self.assertIn(name, registry.BUILT_IN)
            self.assertEqual(row.standing, "differs" if row.differences or row.options else "same", name)

    def test_missing(self) -> None:
        """A directive that is not there, as of a newer CoreDNS, is refused by a start, and the check says what to do."""
        lack(self, "sign")
        self.assertRaises(SetupError, registry.find, "sign", Place("Corefile", 1))
        found = faults(".:53 {\n sign\n whoami\n}\n")
        self.assertEqual([(one.line, one.directive) for one in found], [(2, "sign")])
        self.assertIn(KEEP, found[0].suggestion)

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
