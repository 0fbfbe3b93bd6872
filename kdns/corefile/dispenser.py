# -*- test-case-name: tests.corefile.test_dispenser -*-
"""
How a plugin reads its part of a server block: a cursor over the tokens of one directive.

The cursor knows lines, option blocks and repetitions, and makes errors that name the place. What the words mean is the plugin's; values
are read with :mod:`kdns.corefile.values`. A plugin's ``parse`` looks like this::

    def parse(directive: Dispenser) -> Config:
        \"""``sample [TTL] { refresh DURATION | names NAME... | quiet }``\"""
        ttl, refresh, names, quiet = 3600, 60.0, [], False
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
        return Config(ttl, refresh, tuple(names), quiet)

An option without arguments calls ``args(0)`` too, or what follows it on its line would pass unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from kdns.corefile.errors import ParseError, Place, SetupError
from kdns.corefile.guesses import option_hint
from kdns.corefile.lexer import Token
from kdns.corefile.tree import Directive
from kdns.corefile.values import parse_duration, parse_int

T = TypeVar("T")


class Dispenser:
    """
    A cursor over all that one server block says under one directive name.

    It starts before the first word. Reading a word moves it there; every error names the place of the word read last.

    :param plugin: whose name errors carry; the directive's own when it is not given, and none for ``""``, which is how ``on`` complains.
    """

    def __init__(self, directive: Directive, plugin: str | None = None) -> None:
        self._directive = directive
        self._plugin = directive.name if plugin is None else plugin
        self._tokens = directive.tokens
        self._position = -1

    # Where the cursor stands

    @property
    def name(self) -> str:
        """The directive's name."""
        return self._directive.name

    @property
    def current(self) -> Token:
        """The word read last; before the first one is read, the directive's name."""
        return self._tokens[max(self._position, 0)]

    @property
    def val(self) -> str:
        """The text of the word read last."""
        return self.current.text

    @property
    def place(self) -> Place:
        """The file and line of the word read last."""
        return self.current.place

    # Going on

    def next(self) -> bool:
        """Move to the next word, on whichever line; false, and no move, when there is none."""
        if self._position + 1 >= len(self._tokens):
            return False
        self._position += 1
        return True

    def invocations(self, *, once: bool = False) -> Iterator[int]:
        """
        Go through the repetitions of the directive: 0, 1, 2 ..., the cursor on the directive's name each time.

        Words that the plugin left unread after an option block count as a repetition, as they do in CoreDNS; so an opening brace that
        stands on the next line is reported as a second use.

        :param once: refuse a second one.
        :raises SetupError: there is a second one. It comes after the first has been read.
        """
        count = 0
        while self.next():
            if count and once:
                raise self.once_error()
            yield count
            count += 1

    def next_arg(self) -> str | None:
        """Move to the next word of the line and return it; ``None``, and no move, at its end or before an option block."""
        following = self._following_on_line()
        if following is None or following.text == "{":
            return None
        self._position += 1
        return following.text

    def expect_arg(self) -> str:
        """
        Move to the next word of the line and return it.

        :raises SetupError: the line ends, or an option block begins.
        """
        following = self._following_on_line()
        if following is None:
            raise self.arg_error()
        self._position += 1
        if following.text == "{":
            raise self.arg_error()
        return following.text

    def remaining_args(self) -> list[str]:
        """Move to the last word of the line, or to the one before an option block, and return all words passed."""
        words = []
        while (word := self.next_arg()) is not None:
            words.append(word)
        return words

    def args(self, least: int, most: int | None = -1) -> list[str]:
        """
        As :meth:`remaining_args`, and check how many there are.

        :param most: the same as *least* when it is left out; ``None`` for any number.
        :raises SetupError: too few or too many.
        """
        words = self.remaining_args()
        limit = least if most == -1 else most
        if len(words) < least or (limit is not None and len(words) > limit):
            raise self.arg_error()
        return words

    def end_of_line(self) -> None:
        """
        Check that nothing follows on the line, neither a word nor an option block.

        :raises SetupError: something does.
        """
        if self._following_on_line() is not None:
            self._position += 1
            raise self.arg_error()

    def block(self) -> Iterator[str]:
        """
        Go through the option block if one opens here: the first word of each line, the cursor on it.

        The plugin reads the rest of the line in the loop; a word it leaves unread comes as the next option. After the loop the cursor
        is on the closing brace.
        """
        following = self._following_on_line()
        if following is None or following.text != "{":
            return
        self._position += 1
        while self.next() and self.val != "}":
            yield self.val

    # Values: one argument, and nothing after it

    def word(self) -> str:
        """
        The one argument of the line.

        :raises SetupError: none, or more than one.
        """
        return self.args(1)[0]

    def integer(self) -> int:
        """
        The one argument of the line as a number.

        :raises SetupError: none, more than one, or no number.
        """
        return self.convert(parse_int, self.word())

    def duration(self) -> float:
        """
        The one argument of the line as a duration in seconds.

        :raises SetupError: none, more than one, or no duration.
        """
        return self.convert(parse_duration, self.word())

    def convert(self, parse: Callable[[str], T], text: str) -> T:
        """
        ``parse(text)``, with its :class:`ValueError` turned into the plugin's error, which by custom shows no place.

        :raises SetupError: *text* is not what *parse* takes.
        """
        try:
            return parse(text)
        except ValueError as error:
            raise self.plain_error(str(error)) from error

    # Errors, to be raised by the caller

    def error(self, text: str, *, hint: str | None = None) -> SetupError | ParseError:
        """An error that shows the place of the word read last."""
        if not self._plugin:
            return ParseError(text, place=self.place, hint=hint)
        return SetupError(text, plugin=self._plugin, place=self.place, hint=hint)

    def plain_error(self, text: str, *, hint: str | None = None) -> SetupError:
        """An error whose text shows no place; it knows the place all the same."""
        return SetupError(text, plugin=self._plugin or self.name, place=self.place, located=False, hint=hint)

    def arg_error(self) -> SetupError | ParseError:
        """Too few or too many words on this line, seen at the word read last."""
        if self.val == "{":
            return self.error("Unexpected token '{', expecting argument")
        return self.error(f"Wrong argument count or unexpected line ending after '{self.val}'")

    def unknown_property(self, *known: str) -> SetupError | ParseError:
        """The word read last is no option; those *known* serve to guess what was meant."""
        return self.error(f"unknown property '{self.val}'", hint=option_hint(self.name, self.val, known))

    def once_error(self) -> SetupError:
        """The directive stands a second time in its server block."""
        return self.plain_error("this plugin can only be used once per Server Block")

    def _following_on_line(self) -> Token | None:
        """The next word if it is on the line of the word read last."""
        if self._position + 1 >= len(self._tokens):
            return None
        following = self._tokens[self._position + 1]
        return None if following.starts_line else following
