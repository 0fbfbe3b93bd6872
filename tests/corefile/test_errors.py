"""What errors say, and what they know."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import BadKey, ExpectedToken, Overlap, ParseError, Place, SetupError, Unreadable
from kdns.corefile.guesses import nearest_hint

PLACE = Place("Corefile", 7)


class CorefileErrorTests(SynchronousTestCase):
    """The texts are made from the fields."""

    def test_texts(self) -> None:
        """Each kind of error has the wording that operators know."""
        for error, text in (
            (ParseError("Unexpected EOF", place=PLACE), "Corefile:7 - Error during parsing: Unexpected EOF"),
            (
                ExpectedToken("whoami", "}", place=PLACE),
                "Corefile:7 - Syntax error: Unexpected token 'whoami', expecting '}'",
            ),
            (
                SetupError("unknown property 'x'", plugin="log", place=PLACE),
                "plugin/log: Corefile:7 - Error during parsing: unknown property 'x'",
            ),
            (SetupError("bad", plugin="log", place=PLACE, located=False), "plugin/log: bad"),
            (SetupError("bad", plugin="log"), "plugin/log: bad"),
            (BadKey("invalid CIDR k", place=PLACE), "error inspecting server blocks: invalid CIDR k"),
            (Overlap("dns://.:53", "dns://.:53"), "cannot serve dns://.:53 - it is already defined"),
            (Unreadable("F", "no such file"), "loading Corefile via flag: open F: no such file"),
        ):
            self.assertEqual(str(error), text)

    def test_place(self) -> None:
        """An error knows its place even when its text does not show it."""
        error = SetupError("bad", plugin="log", place=PLACE, located=False)
        self.assertEqual((error.file, error.line), ("Corefile", 7))
        self.assertEqual((BadKey("bad").file, BadKey("bad").line), (None, None))

    def test_advice(self) -> None:
        """The hint stands behind the text, in parentheses, and only where there is one."""
        hinted = ParseError("Unknown directive 'cahce'", place=PLACE, hint="did you mean 'cache'?")
        self.assertEqual(hinted.advice(), f"{hinted} (did you mean 'cache'?)")
        self.assertEqual(ParseError("x", place=PLACE).advice(), "Corefile:7 - Error during parsing: x")


class NearestHintTests(SynchronousTestCase):
    """Guessing what was meant."""

    def test_near(self) -> None:
        """A slip of the finger or of the shift key finds the word."""
        for word in ("cahce", "Cache", "caches"):
            self.assertEqual(nearest_hint(word, ("log", "cache", "kubernetes")), "did you mean 'cache'?")

    def test_far(self) -> None:
        """A word like no other, or one too long to be a slip, is not guessed at."""
        self.assertIsNone(nearest_hint("frobnicate", ("log", "cache")))
        self.assertIsNone(nearest_hint("cache" * 1000, ("cache",)))
        self.assertIsNone(nearest_hint("cache", ()))
