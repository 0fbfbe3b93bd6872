"""A Corefile inside a ConfigMap, in each form that kubectl prints, with its lines as those of the file."""

from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.checking.configmap import KEY, NoCorefile, is_manifest, texts_of
from tests.cli.checking.support import run

COREFILE = ".:53 {\n    errors\n\n    bogus\n    forward . 192.0.2.9\n}\n"

BLOCK = """\
apiVersion: v1
data:
  Corefile: |
    .:53 {
        errors

        bogus
        forward . 192.0.2.9
    }
kind: ConfigMap
metadata:
  name: coredns
"""

QUOTED = r"""
apiVersion: v1
data:
  Corefile: ".:53 {\n    errors\n\n    bogus\n    forward
    . 192.0.2.9\n}\n"
kind: ConfigMap
"""

CONTINUED = """
kind: ConfigMap
data:
  Corefile: ".:53 {\\n    errors\\n\\n\\
    \\    bogus\\n\\
    \\    forward . 192.0.2.9\\n}\\n"
"""


class ConfigMapTests(SynchronousTestCase):
    """What is taken out, and where its lines are."""

    def line_of(self, text: str, word: str) -> int:
        """The line of the file in which a word of the Corefile stands."""
        found = texts_of(text)[KEY]
        self.assertEqual(found.text, COREFILE)
        return found.line(found.text[: found.text.index(word)].count("\n") + 1)

    def test_block(self) -> None:
        """As lines of their own."""
        self.assertEqual(self.line_of(BLOCK, "bogus"), 7)
        self.assertEqual(self.line_of(BLOCK, ".:53"), 4)

    def test_quoted(self) -> None:
        """As one string, folded where kubectl folds it."""
        self.assertEqual(self.line_of(QUOTED, "bogus"), 4)
        self.assertEqual(self.line_of(QUOTED, "}"), 5)
        self.assertEqual(self.line_of(CONTINUED, "bogus"), 5)
        self.assertEqual(self.line_of(CONTINUED, "forward"), 6)

    def test_json(self) -> None:
        """JSON is YAML, and so is a list."""
        listed = json.dumps({"kind": "List", "items": [{"kind": "ConfigMap", "data": {"x": "y"}}, {
            "kind": "ConfigMap", "data": {"Corefile": COREFILE}}]}, indent=1)  # fmt: skip
        line = next(number for number, text in enumerate(listed.splitlines(), 1) if "bogus" in text)
        self.assertEqual(self.line_of(listed, "bogus"), line)

    def test_what_is_none(self) -> None:
        """A Corefile is taken for none, whatever words are in it; a ConfigMap without one is told what it has."""
        self.assertFalse(is_manifest(COREFILE))
        self.assertFalse(is_manifest(".:53 {\n # kind: ConfigMap\n}\n"))
        self.assertTrue(is_manifest(BLOCK))
        error = self.assertRaises(NoCorefile, texts_of, "kind: ConfigMap\ndata:\n  linear: '{}'\n")
        self.assertIn("linear", str(error))
        error = self.assertRaises(NoCorefile, texts_of, "kind: ConfigMap\ndata: [\n")
        self.assertEqual(error.line, 3)

    def test_checked(self) -> None:
        """The check names the line of the file; what depends on a machine is not held against this one."""
        ended = run("-", "--quiet", stdin=BLOCK)
        self.assertEqual(ended.status, 1)
        self.assertIn("stdin:7: fault: bogus: Unknown directive", ended.out)
        cluster = BLOCK.replace("bogus", "kubernetes cluster.local")
        self.assertEqual((run("-", "--quiet", "--strict", stdin=cluster).status), 0)
        self.assertIn("stdin: fault: no ConfigMap has a key", run("-", stdin="kind: ConfigMap\n").out)

    def test_other_keys(self) -> None:
        """Imports of other keys are found where a pod has them, and their faults are in the ConfigMap's file."""
        text = (
            "kind: ConfigMap\ndata:\n  Corefile: |\n    .:53 {\n        import more\n        import /etc/coredns/*.override\n    }\n"
            "  more: |\n    errors\n    whaomi\n  x.override: |\n    logg\n    forward . 192.0.2.9{$UNSET}\n"
        )
        ended = run("-", "--quiet", stdin=text)
        self.assertEqual(
            [line for line in ended.out.splitlines() if line.startswith("stdin:")],
            [
                "stdin:10: fault: whaomi: Unknown directive 'whaomi'",
                "stdin:12: fault: logg: Unknown directive 'logg'",
                "stdin:13: warning: the environment variable UNSET is not set here, and reads as nothing",
                "stdin: 2 faults, 1 warning, no notes",
            ],
        )
        self.assertIn("File to import not found: more", run("-", stdin=text.replace("  more:", "  less:")).out)

    @settings(deadline=None, derandomize=True)
    @given(
        st.lists(st.text(st.sampled_from("ab{} \"'#\\é\t:"), max_size=90), min_size=1, max_size=12),
        st.sampled_from(["|", '"', "'", None, "json"]),
    )
    def test_every_form(self, lines: list[str], style: str | None) -> None:
        """Whatever PyYAML writes is read again, and each line has a place among those of the file, in order."""
        text = "\n".join(lines) + "\n"
        document = {"kind": "ConfigMap", "data": {"Corefile": text}}
        if style == "json":
            written = json.dumps(document, indent=2)
        else:
            written = yaml.dump(document, default_style=style)
        found = texts_of(written)[KEY]
        self.assertEqual(found.text, text)
        self.assertEqual(len(found.lines), text.count("\n") + 1)
        self.assertEqual(list(found.lines), sorted(found.lines))
        self.assertLessEqual(found.lines[-1], written.count("\n") + 2)
