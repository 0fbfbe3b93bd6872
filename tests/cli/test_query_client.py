# -*- test-case-name: tests.cli.test_query_client -*-
"""What the asking commands have in common, with a server that is a function."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.client import AdminError
from kdns.cli import cache, explain, query_client


class AskingCase(SynchronousTestCase):
    """Runs commands."""

    def setUp(self) -> None:
        """A server that says what the test wants."""
        self.asked: list[tuple[str | None, str, dict[str, Any]]] = []
        self.reply: Any = {}
        self.patch(query_client, "ask", self.ask)

    def ask(self, path: str | None, command: str, arguments: dict[str, Any], *, patience: float) -> dict[str, Any]:
        """The server."""
        self.asked.append((path, command, arguments))
        if isinstance(self.reply, Exception):
            raise self.reply
        reply: dict[str, Any] = self.reply
        return reply

    def run_with(self, main: Callable[[Sequence[str]], int], *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, error = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", error)
        return main(words), out.getvalue(), error.getvalue()


class AskingTests(AskingCase):
    """Both commands."""

    def test_nobody(self) -> None:
        """When no kdns can be asked one line says why, and the exit status is 3."""
        self.reply = AdminError("no kdns answers at /x")
        for main, words in ((explain.main, ["a"]), (cache.main, ["list"])):
            status, out, error = self.run_with(main, *words)
            self.assertEqual((status, out), (3, ""))
            self.assertEqual(error.splitlines()[0].partition(": ")[2], "no kdns answers at /x")

    def test_usage(self) -> None:
        """A wrong command line ends with 2 and asks nobody; help ends with 0."""
        for main, words in (
            (explain.main, []),
            (explain.main, ["--bogus", "a"]),
            (cache.main, []),
            (cache.main, ["flush"]),
            (cache.main, ["flush", "a", "--all"]),
            (cache.main, ["flush", "--zone", "a", "--all"]),
            (cache.main, ["get"]),
            (cache.main, ["list", "--limit", "x"]),
            (cache.main, ["list", "--limit", "-1"]),
        ):
            status, out, error = self.run_with(main, *words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertIn("usage: kdns", error)
        for main, words in ((explain.main, ["-h"]), (cache.main, ["--help"]), (cache.main, ["flush", "-h"])):
            status, out, error = self.run_with(main, *words)
            self.assertEqual((status, error), (0, ""), words)
            self.assertIn("--socket PATH", out)
        self.assertEqual(self.asked, [])

    def test_socket(self) -> None:
        """``--socket`` says whom to ask."""
        self.reply = {"flushed": 0, "replies": 0}
        self.run_with(cache.main, "flush", "--all", "--socket", "/x")
        self.assertEqual(self.asked, [("/x", "cache.flush", {"name": "", "type": "", "zone": "", "all": True})])
