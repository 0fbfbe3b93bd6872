"""Telling whether a configuration changed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.fingerprint import fingerprint
from tests.corefile.support import parsed

TEXT = "a b {\n    log x\n    cache {\n        success 1\n    }\n}\n"


class FingerprintTests(SynchronousTestCase):
    """What counts and what does not."""

    def test_form(self) -> None:
        """It is a SHA-512 in hexadecimal."""
        self.assertRegex(fingerprint(parsed(TEXT).blocks), r"\A[0-9a-f]{128}\Z")

    def test_same(self) -> None:
        """Comments, blanks, quotes, line numbers, and the order of different directives have no effect."""
        wanted = fingerprint(parsed(TEXT).blocks)
        for text in (
            "# x\n" + TEXT,
            TEXT.replace("    ", "\t").replace(" b", ",\n\nb"),
            TEXT.replace("log x", '"log" "x" # y'),
            "a b {\n    cache {\n        success 1\n    }\n    log x\n}\n",
            "(s) {\nlog x\n}\n" + TEXT.replace("log x", "import s"),
        ):
            self.assertEqual(fingerprint(parsed(text).blocks), wanted, text)

    def test_different(self) -> None:
        """Every word, every line break that matters, and the order of keys and blocks count."""
        texts = (
            TEXT,
            TEXT + "c {\n}\n",
            "c {\n}\n" + TEXT,
            TEXT.replace("a b", "b a"),
            TEXT.replace("a b", "ab"),
            TEXT.replace("log x", 'log "x "'),
            TEXT.replace("log x", "log\n    log x"),
            TEXT.replace("success 1", "success\n1"),
        )
        self.assertEqual(len({fingerprint(parsed(text).blocks) for text in texts}), len(texts))

    def test_from_outside(self) -> None:
        """Imported text and values of the environment count."""
        found = {
            fingerprint(parsed("a {\nimport f\nlog {$V}\n}", {"f": file}, {"V": value}).blocks)
            for file in ("errors", "cache")
            for value in ("x", "y")
        }
        self.assertEqual(len(found), 4)
