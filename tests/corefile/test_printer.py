"""Writing blocks down, and whatever else holds for any text at all."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError
from kdns.corefile.fingerprint import fingerprint
from kdns.corefile.printer import format_blocks
from tests.corefile.support import outline, parsed

PIECES = [
    *(
        "a",
        ".",
        "a.test",
        "(s)",
        "(a)",
        "{",
        "}",
        ",",
        '"',
        "\\",
        "#",
        " ",
        "\n",
        "\r",
        "import",
        "s",
        "log",
        "cache",
        "x",
        "y,",
    ),
    *("{$V}", "{$U}", "{%", "%}", "{$", "{$}", '\\"', '""', "\ufeff", "\u00a0", "import s", "import f"),
    *(
        " ",
        "\n",
        "\n",
        " { ",
        "\n}\n",
        "\nlog ",
        "\ncache {\n",
        "\nimport s\n",
        "\nimport f\n",
        "(s) {\n",
        "a.test {\n",
    ),
]
CONFUSED = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
REPEATABLE = settings(max_examples=150, deadline=None, derandomize=True)
WORDS = st.lists(st.sampled_from(["a", "b c", '"', "\\", "#", "", "{", "}", "x\ny", "import", "log", "(s)", ",", "\r"]))


class FormatTests(SynchronousTestCase):
    """What the text looks like."""

    def test_layout(self) -> None:
        """A directive or option on each line, blocks apart, quotes only where they are needed."""
        text = 'a b:53 { log "x y" z\ncache\t{\n  success "1" ""\n}\n}\nc\n{\n}'
        self.assertEqual(
            format_blocks(parsed(text).blocks),
            'a, b:53 {\n    log "x y" z\n    cache {\n        success 1 ""\n    }\n}\n\nc {\n}\n',
        )

    def test_resolved(self) -> None:
        """Imports and references are gone."""
        found = parsed("(s) {\nlog\n}\n{$Z} {\nimport s\n}", env={"Z": "zone a"})
        self.assertEqual(format_blocks(found.blocks), '"zone a" {\n    log\n}\n')

    def test_impossible(self) -> None:
        """A value that no Corefile can hold is refused rather than changed."""
        for text, value in (
            ("a {\nlog {$V}\n}", "{$X}"),
            ("a {\nlog {$V}\n}", '\\" x'),
            ("a {\nlog {$V}\n}", "x \\"),
            ("a {\nlog {\n{$V}\n}\n}", "import"),
            ("{$V} {\n}", "import"),
        ):
            found = parsed(text, env={"V": value})
            self.assertRaises(ValueError, format_blocks, found.blocks)


class AnyTextTests(SynchronousTestCase):
    """Any text parses, or fails with an error of the family; and what parses can be written and read again."""

    def check(self, text: str) -> None:
        """Parse *text*, write it down, parse again."""
        try:
            found = parsed(text, {"f": "log f\n(t) {\n}\n"}, {"V": "va lue"})
        except CorefileError as error:
            self.assertTrue(str(error))
            return
        try:
            written = format_blocks(found.blocks)
        except ValueError:
            self.assertTrue("{$" in text or "{%" in text, text)  # only references make words that have no spelling
            return
        again = parsed(written)
        self.assertEqual(outline(again.blocks), outline(found.blocks))
        self.assertEqual(fingerprint(again.blocks), fingerprint(found.blocks))

    @REPEATABLE
    @given(CONFUSED)
    @example('a {\nlog "\\\\" "a\\"b\\c"\n}')
    @example("a {\nlog a\"b '\n{\n}\n}")
    @example('"a b", "", ,\n"x" {\n}')
    @example("a import {\n}")
    @example("import, a {\n}")
    def test_confused(self, text: str) -> None:
        """Pieces of the language in any order."""
        self.check(text)

    @REPEATABLE
    @given(st.text())
    def test_any(self, text: str) -> None:
        """Characters in any order."""
        self.check(text)

    @REPEATABLE
    @given(WORDS, WORDS)
    def test_words(self, arguments: list[str], options: list[str]) -> None:
        """Any words between quotes, as arguments and options."""

        def quoted(words: list[str]) -> str:
            return " ".join('"' + word.replace('"', '\\"') + '"' for word in words)

        self.check(f"a {{\ncache {quoted(arguments)} {{\n{quoted(options)}\n}}\n}}")
