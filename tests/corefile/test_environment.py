"""References to environment variables."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.environment import MAX_WORD, expand, has_reference

VARIABLES = {"PORT": "53", "ZONE": "a b", "SELF": "{$SELF}", "x": "eaten", "a{$b": "odd"}


class ExpandTests(SynchronousTestCase):
    """What a word reads after replacement."""

    def test_replaced(self) -> None:
        """Both spellings are replaced anywhere in a word, as often as they come."""
        for text, wanted in (
            ("{$PORT}", "53"),
            ("{%PORT%}", "53"),
            ("localhost:{$PORT}/{%PORT%}x", "localhost:53/53x"),
            ("{$ZONE}", "a b"),
            ("{$UNSET}", ""),
            ("{{$x}}", "{eaten}"),
            ("{$a{$b}", "odd"),
        ):
            self.assertEqual(expand(text, VARIABLES), wanted)
            self.assertTrue(has_reference(text))

    def test_left_alone(self) -> None:
        """What names no variable stays as it is."""
        for text in ("plain", "{$}", "{%%}", "{{ $x }}", "{$PORT", "{%PORT}", "{}", "{$", "$PORT", "{", "{%}"):
            self.assertEqual(expand(text, VARIABLES), text)
            self.assertFalse(has_reference(text))

    def test_value_is_final(self) -> None:
        """A value is not searched for references, so one that names itself ends."""
        self.assertEqual(expand("{$SELF}", VARIABLES), "{$SELF}")

    def test_many_openings(self) -> None:
        """A long row of openings without an end takes no longer than it is."""
        text = "{$" * 200_000 + "{%" * 200_000
        self.assertEqual(expand(text, VARIABLES), text)

    def test_too_long(self) -> None:
        """Values cannot make a word grow without limit."""
        with self.assertRaisesRegex(ValueError, "longer than 1048576"):
            expand("{$V}" * 11, {"V": "v" * (MAX_WORD // 10)})
