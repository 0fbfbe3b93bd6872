"""Where words begin and end."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import Place
from kdns.corefile.lexer import tokens_of


def words(text: str) -> list[str]:
    """The texts of the tokens."""
    return [token.text for token in tokens_of(text, "F")]


def lines(text: str) -> list[tuple[str, int, bool]]:
    """Text, line and whether it starts the line, of each token."""
    return [(token.text, token.line, token.starts_line) for token in tokens_of(text, "F")]


class TokensOfTests(SynchronousTestCase):
    """The lexical rules, one by one."""

    def test_blanks(self) -> None:
        """Words are separated by any white space of Unicode, but not by the control characters Python adds to it."""
        self.assertEqual(words(" a\tb\u00a0c\u3000d\u2028e\n"), ["a", "b", "c", "d", "e"])
        self.assertEqual(words("a\x1fb"), ["a\x1fb"])

    def test_byte_order_mark(self) -> None:
        """A mark at the very start is dropped, elsewhere it is text."""
        self.assertEqual(words("\ufeffa \ufeffb"), ["a", "\ufeffb"])

    def test_carriage_return(self) -> None:
        """CR outside quotes is not there, also inside a word; inside quotes it stays."""
        self.assertEqual(words('a\r\nb\rc "d\re"\r\n'), ["a", "bc", "d\re"])

    def test_comment(self) -> None:
        """A comment runs to the end of the line, from the middle of a word too, and not inside quotes."""
        self.assertEqual(words('# x y\nfoo#bar baz "q\n"a#b" c # " d\ne'), ["foo", "a#b", "c", "e"])

    def test_quotes(self) -> None:
        """A quote opens at the start of a word only, and its end ends the word; nothing between quotes is a word too."""
        self.assertEqual(words('"a b"c"d ""x""'), ["a b", 'c"d', "", 'x""'])
        self.assertEqual(words('"ab"cd'), ["ab", "cd"])

    def test_escapes(self) -> None:
        r"""Inside quotes only \" is an escape; outside a backslash is ordinary."""
        self.assertEqual(words(r'"a\"b\n\\" c\"d'), [r'a"b\n\\', r"c\"d"])

    def test_unclosed_quote(self) -> None:
        """A quote that is never closed ends with the text."""
        self.assertEqual(words('a "b\nc'), ["a", "b\nc"])
        self.assertEqual(words('a "b\\'), ["a", "b"])
        self.assertEqual(words('a "'), ["a"])

    def test_lines(self) -> None:
        """A word knows its line and whether it is the first one there."""
        self.assertEqual(lines("a b\n\n# x\nc d"), [("a", 1, True), ("b", 1, False), ("c", 4, True), ("d", 4, False)])

    def test_line_breaks_in_words(self) -> None:
        """What follows a quoted line break on the same line belongs to that line."""
        self.assertEqual(lines('a "x\ny" b\nc'), [("a", 1, True), ("x\ny", 1, False), ("b", 2, False), ("c", 3, True)])

    def test_place(self) -> None:
        """A token names its file and line."""
        self.assertEqual([str(token.place) for token in tokens_of("\na", "dir/F")], ["dir/F:2"])
        self.assertEqual(next(tokens_of("a", "F")).place, Place("F", 1))
