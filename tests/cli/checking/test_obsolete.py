"""Words of old Corefiles: none of them means anything today, and each is told what replaces it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.findings import Severity
from kdns.cli.checking.obsolete import DIRECTIVES, OPTIONS
from kdns.corefile.order import DIRECTIVE_ORDER
from tests.cli.checking.support import faults

HEADS = {"kubernetes": "kubernetes cluster.local", "forward": "forward . 192.0.2.9"}


class HistoryTests(SynchronousTestCase):
    """Each word in a Corefile."""

    def test_directives(self) -> None:
        """A directive of old is a fault with the word that came after it."""
        self.assertEqual(set(DIRECTIVES) & set(DIRECTIVE_ORDER), set())
        for name, text in DIRECTIVES.items():
            [found] = faults(f".:53 {{\n {name} . 192.0.2.9 {{\n  policy random\n }}\n}}\n")
            self.assertEqual((found.severity, found.line, found.suggestion), (Severity.FAULT, 2, text))

    def test_options(self) -> None:
        """So is an option of old."""
        for (name, option), text in OPTIONS.items():
            [found] = faults(f".:53 {{\n {HEADS[name]} {{\n  {option} x\n }}\n}}\n")
            self.assertEqual((found.severity, found.line, found.directive), (Severity.FAULT, 3, name))
            self.assertEqual(found.suggestion, text)
