# -*- test-case-name: tests.admin.test_commands -*-
"""The register of commands: lines in, lines out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.commands import Arguments, CommandError, Commands, flag_of, number_of, text_of


class CommandsTests(SynchronousTestCase):
    """What comes of a line."""

    def setUp(self) -> None:
        """No commands."""
        self.commands = Commands()

    def said(self, line: bytes) -> Any:
        """The reply that is there at once."""
        reply = self.successResultOf(self.commands.run(line))
        self.assertNotIn(b"\n", reply)
        return json.loads(reply)

    def test_result(self) -> None:
        """A command gets its arguments, and what it returns is the result."""
        self.commands.add("echo", lambda arguments: {"said": arguments["word"]})
        asked = b'{"command": "echo", "arguments": {"word": "a\\nb"}}'
        self.assertEqual(self.said(asked), {"result": {"said": "a\nb"}})

    def test_coroutine(self) -> None:
        """A command may be an ``async def``, and waits as long as it must."""
        waiting: Deferred[dict[str, Any]] = Deferred()

        async def slow(arguments: Arguments) -> dict[str, Any]:
            return await waiting

        self.commands.add("slow", slow)
        reply = self.commands.run(b'{"command": "slow"}')
        self.assertNoResult(reply)
        waiting.callback({"x": 1})
        self.assertEqual(json.loads(self.successResultOf(reply)), {"result": {"x": 1}})

    def test_written_beforehand(self) -> None:
        """A part that is JSON already is taken as it is."""
        self.commands.add("raw", lambda arguments: {"entries": msgspec.Raw(b"[1, 2]")})
        self.assertEqual(self.said(b'{"command": "raw"}'), {"result": {"entries": [1, 2]}})

    def test_refusal(self) -> None:
        """What a command objects to is told, and is nothing to log."""

        def refuse(arguments: Arguments) -> dict[str, Any]:
            raise CommandError("not today")

        self.commands.add("no", refuse)
        self.assertEqual(self.said(b'{"command": "no"}'), {"error": "not today"})

    def test_mistake(self) -> None:
        """What nobody foresaw is told by name, and logged once."""
        self.commands.add("broken", lambda arguments: {"x": 1 // 0})
        self.assertIn("ZeroDivisionError", self.said(b'{"command": "broken"}')["error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unknown(self) -> None:
        """An unknown command is answered with those there are."""
        self.commands.add("b", lambda arguments: {})
        self.commands.add("a", lambda arguments: {})
        wanted = "this kdns does not know the command 'x'; it knows: a, b"
        self.assertEqual(self.said(b'{"command": "x"}'), {"error": wanted})

    def test_no_question(self) -> None:
        """Octets that are no question are told so."""
        for line in (
            b"",
            b"{",
            b"\xff",
            b"[]",
            b"{}",
            b'{"command": 1}',
            b'{"command": "a", "arguments": []}',
            b"[" * 9999,
        ):
            self.assertIn("error", self.said(line), line)

    def test_cancelled(self) -> None:
        """Dropping a question drops the command, without a word in the log."""
        dropped: list[Any] = []
        waiting: Deferred[dict[str, Any]] = Deferred(dropped.append)
        self.commands.add("slow", lambda arguments: waiting)
        reply = self.commands.run(b'{"command": "slow"}')
        reply.cancel()
        self.assertEqual(dropped, [waiting])
        self.assertEqual(json.loads(self.successResultOf(reply)), {"error": "the question was dropped"})


class ArgumentTests(SynchronousTestCase):
    """Readers of arguments."""

    def test_good(self) -> None:
        """What is there is returned, what is not is the default."""
        self.assertEqual((text_of({"a": "x"}, "a"), text_of({}, "a", "y"), text_of({"a": None}, "a")), ("x", "y", ""))
        self.assertEqual((flag_of({"a": True}, "a"), flag_of({}, "a")), (True, False))
        self.assertEqual((number_of({"a": 3}, "a", 5, 9), number_of({}, "a", 5, 9)), (3, 5))

    def test_bad(self) -> None:
        """What is none of its kind is named."""
        for call in (
            lambda: text_of({"a": 1}, "a"),
            lambda: flag_of({"a": 1}, "a"),
            lambda: number_of({"a": "1"}, "a", 1, 9),
            lambda: number_of({"a": True}, "a", 1, 9),
            lambda: number_of({"a": 10}, "a", 1, 9),
        ):
            self.assertIn("a must be", str(self.assertRaises(CommandError, call)))
