"""What differs from CoreDNS in a Corefile, each once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.coredns_support import ROWS
from kdns.cli.checking.findings import Severity
from kdns.cli.checking.notes import notes
from kdns.server.assembly import read_text


class NoteTests(SynchronousTestCase):
    """The notes of a Corefile."""

    def test_directives(self) -> None:
        """A directive that differs has its sentences, at its first line; one that does not has none."""
        found = notes(read_text("a.test {\n errors\n loop\n whoami\n}\nb.test {\n loop\n}\n", {}))
        wanted = [("errors", 2, text) for text in ROWS["errors"].differences]
        wanted += [("loop", 3, text) for text in ROWS["loop"].differences]
        self.assertEqual([(one.directive, one.line, one.text) for one in found], wanted)
        self.assertEqual({one.severity for one in found}, {Severity.NOTE})
        self.assertIn("docs/compatibility.md", found[0].suggestion)

    def test_options(self) -> None:
        """An option that differs has a note where it is used, with the argument that makes the difference."""
        text = "a.test {\n kubernetes {\n  pods insecure\n  apiserver_qps 5\n }\n}\nb.test {\n kubernetes {\n  pods verified\n }\n}\n"
        found = {one.line: one.text for one in notes(read_text(text, {})) if one.line not in (2, 8)}
        self.assertEqual(sorted(found), [4, 9])
        self.assertTrue(found[9].startswith("pods verified: "), found)
