"""What else is wrong with a directive."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.more_faults import MOST
from tests.cli.checking.support import faults


class FurtherTests(SynchronousTestCase):
    """Faults behind the first of a directive."""

    def lines(self, corefile: str) -> list[tuple[int, str]]:
        """Line and directive of each fault."""
        return [(one.line, one.directive) for one in faults(corefile)]

    def test_options(self) -> None:
        """Each option at fault is told, behind the first of its directive; those between that are right are not."""
        text = (
            ". {\n forward . 192.0.2.9 {\n  policy best\n  expire 5s\n  health_chek 5s\n  max_fails x\n }\n"
            " forward a.test 192.0.2.9 {\n  expire 5\n }\n cache {\n  sucess 5\n }\n}\n"
        )
        wanted = [(12, "cache"), (3, "forward"), (5, "forward"), (6, "forward"), (9, "forward")]
        self.assertEqual(self.lines(text), wanted)

    def test_what_follows_from_another(self) -> None:
        """A fault that is there only because a line was left out is not told, and neither is one behind a head at fault."""
        self.assertEqual(
            self.lines(". {\n cache {\n  serve_stale x\n  serve_stale_policy prefer_positive\n }\n whoami\n}\n"),
            [(3, "cache")],
        )
        self.assertEqual(self.lines(". {\n cache 0 {\n  sucess 1\n }\n whoami\n}\n"), [(2, "cache")])

    def test_blocks(self) -> None:
        """Faults of the same directive in other blocks are their own."""
        text = "a.test {\n cache {\n  a\n  b\n }\n whoami\n}\nb.test {\n cache {\n  c\n }\n whoami\n}\n"
        self.assertEqual(self.lines(text), [(3, "cache"), (4, "cache"), (10, "cache")])

    def test_bound(self) -> None:
        """There is an end to it."""
        lines = "\n".join(f"  bogus{number}" for number in range(3 * MOST))
        self.assertEqual(len(self.lines(f". {{\n cache {{\n{lines}\n }}\n}}\n")), MOST + 1)
