"""The cursor that plugins read their directive with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError, Dispenser
from kdns.corefile.values import parse_int
from tests.corefile.support import dispenser

LOC = "plugin/cache: Corefile:{} - Error during parsing: "
WRONG = "Wrong argument count or unexpected line ending after '{}'"
ONCE = "plugin/cache: this plugin can only be used once per Server Block"


@dataclass(frozen=True, slots=True)
class Sample:
    """What :func:`parse_sample` makes."""

    ttl: int = 3600
    refresh: float = 60.0
    names: tuple[str, ...] = ()
    quiet: bool = False


def parse_sample(directive: Dispenser) -> Sample:
    """``[TTL] { refresh DURATION | names NAME... | quiet }``: the example of the module, written out."""
    ttl, refresh, names, quiet = 3600, 60.0, list[str](), False
    for _ in directive.invocations(once=True):
        for text in directive.args(0, 1):
            ttl = directive.convert(parse_int, text)
        for option in directive.block():
            match option:
                case "refresh":
                    refresh = directive.duration()
                case "names":
                    names += directive.args(1, None)
                case "quiet":
                    quiet = not directive.args(0)
                case _:
                    raise directive.unknown_property("refresh", "names", "quiet")
    if not 0 <= ttl <= 3600:
        raise directive.plain_error(f"ttl must be in range [0, 3600]: {ttl}")
    return Sample(ttl, refresh, tuple(names), quiet)


class SampleTests(SynchronousTestCase):
    """A plugin's parse function, from text to value or error."""

    def test_accepted(self) -> None:
        """Arguments and options come out as values."""
        for body, wanted in (
            ("cache", Sample()),
            ("cache {\n}", Sample()),
            ("cache 30", Sample(30)),
            ("cache 30 {\nrefresh 1m30s\n}", Sample(30, 90.0)),
            ("cache {\nnames a b\nquiet\nnames c\n}", Sample(names=("a", "b", "c"), quiet=True)),
        ):
            self.assertEqual(parse_sample(dispenser(body)), wanted, body)

    def test_refused(self) -> None:
        """Errors name the place and the word where reading stopped."""
        for body, wanted in (
            ("cache 1 2", LOC.format(2) + WRONG.format("2")),
            ("cache x", 'plugin/cache: strconv.Atoi: parsing "x": invalid syntax'),
            ("cache 3601", "plugin/cache: ttl must be in range [0, 3600]: 3601"),
            ("cache {\nfrob 1\n}", LOC.format(3) + "unknown property 'frob'"),
            ("cache {\nrefresh\n}", LOC.format(3) + WRONG.format("refresh")),
            ("cache {\nrefresh 1s 2s\n}", LOC.format(3) + WRONG.format("2s")),
            ("cache {\nrefresh 5\n}", 'plugin/cache: time: missing unit in duration "5"'),
            ("cache {\nnames {\nx\n}\n}", LOC.format(3) + WRONG.format("names")),
            ("cache {\nquiet x\n}", LOC.format(3) + WRONG.format("x")),
            ("cache\ncache", ONCE),
            ("cache {\n}\ncache", ONCE),
            ("cache\n{\nquiet\n}", ONCE),
            ("cache {\nquiet\n} x", ONCE),
        ):
            with self.assertRaises(CorefileError) as caught:
                parse_sample(dispenser(body))
            self.assertEqual(str(caught.exception), wanted, body)

    def test_hint(self) -> None:
        """An unknown option is compared with those that are known."""
        with self.assertRaises(CorefileError) as caught:
            parse_sample(dispenser("cache {\nrefersh 1s\n}"))
        self.assertEqual(caught.exception.hint, "did you mean 'refresh'?")


class CursorTests(SynchronousTestCase):
    """Going on, word by word."""

    def test_before_the_first_word(self) -> None:
        """A cursor that has not moved stands at the directive's name, for errors."""
        cursor = dispenser("cache 1")
        self.assertEqual((cursor.name, cursor.val, str(cursor.place)), ("cache", "cache", "Corefile:2"))

    def test_next(self) -> None:
        """``next`` goes through all words and stays on the last one."""
        cursor = dispenser("cache a {\nb\n}")
        words = []
        while cursor.next():
            words.append(cursor.val)
        self.assertEqual(words, ["cache", "a", "{", "b", "}"])
        self.assertEqual(cursor.place.line, 4)

    def test_next_arg(self) -> None:
        """``next_arg`` stops at the end of the line and before a brace, and does not move then."""
        cursor = dispenser("cache a {\nb c\n}")
        cursor.next()
        self.assertEqual([cursor.next_arg(), cursor.next_arg(), cursor.val], ["a", None, "a"])
        for option in cursor.block():
            self.assertEqual([option, cursor.next_arg(), cursor.next_arg()], ["b", "c", None])

    def test_invocations(self) -> None:
        """Each repetition is counted, its own arguments and options read with it."""
        cursor = dispenser("cache a\ncache b {\nx\n}\ncache c")
        seen = [(count, cursor.remaining_args(), list(cursor.block())) for count in cursor.invocations()]
        self.assertEqual(seen, [(0, ["a"], []), (1, ["b"], ["x"]), (2, ["c"], [])])

    def test_quoted_line_break(self) -> None:
        """An argument after one with a line break in it is still on the line."""
        cursor = dispenser('cache "a\nb" c')
        cursor.next()
        self.assertEqual(cursor.remaining_args(), ["a\nb", "c"])

    def test_unread_words(self) -> None:
        """Words that an option leaves unread come as the next option."""
        cursor = dispenser("cache {\na b\nc\n}")
        cursor.next()
        self.assertEqual(list(cursor.block()), ["a", "b", "c"])
        self.assertEqual(cursor.val, "}")

    def test_expect_arg(self) -> None:
        """A missing argument is an error at the line's end, and another before a brace."""
        for body, wanted in (
            ("cache", LOC.format(2) + WRONG.format("cache")),
            ("cache {\n}", LOC.format(2) + "Unexpected token '{', expecting argument"),
        ):
            cursor = dispenser(body)
            cursor.next()
            with self.assertRaises(CorefileError) as caught:
                cursor.expect_arg()
            self.assertEqual(str(caught.exception), wanted)
        cursor = dispenser("cache x")
        cursor.next()
        self.assertEqual(cursor.expect_arg(), "x")

    def test_args(self) -> None:
        """``args`` takes an exact number, a range, or any number from one on."""
        for least, most, texts in ((2, -1, "a b"), (0, 2, ""), (0, 2, "a b"), (1, None, "a b c d")):
            cursor = dispenser(f"cache {texts}")
            cursor.next()
            self.assertEqual(cursor.args(least, most), texts.split())
        for least, most, texts in ((2, -1, "a"), (2, -1, "a b c"), (0, 1, "a b"), (1, None, "")):
            cursor = dispenser(f"cache {texts}")
            cursor.next()
            self.assertRaises(CorefileError, cursor.args, least, most)

    def test_values(self) -> None:
        """The one argument of a line as text, number or duration."""

        def reading(body: str, read: Callable[[Dispenser], object]) -> object:
            cursor = dispenser(body)
            cursor.next()
            return read(cursor)

        self.assertEqual(reading("cache x", Dispenser.word), "x")
        self.assertEqual(reading("cache -7", Dispenser.integer), -7)
        self.assertEqual(reading("cache 1.5s", Dispenser.duration), 1.5)


class NamelessTests(SynchronousTestCase):
    """``on`` is read by the parser and complains in its words."""

    def test_errors(self) -> None:
        """A cursor without a plugin's name makes errors of the language."""
        cursor = Dispenser(dispenser("on frob true", "on")._directive, "")
        cursor.next()
        error = cursor.error(f"Wrong event name or event not supported: '{cursor.expect_arg()}'")
        self.assertEqual(
            str(error), "Corefile:2 - Error during parsing: Wrong event name or event not supported: 'frob'"
        )

    def test_other_name(self) -> None:
        """A plugin found by a dotted name may give a shorter one."""
        cursor = Dispenser(dispenser("cache x")._directive, "mine")
        self.assertEqual(str(cursor.once_error()), "plugin/mine: this plugin can only be used once per Server Block")
