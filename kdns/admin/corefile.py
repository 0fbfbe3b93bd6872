# -*- test-case-name: tests.admin.test_corefile -*-
"""The command ``corefile``: the configuration that runs, and how the file on disk differs from it."""

from __future__ import annotations

from difflib import unified_diff

from kdns.admin.commands import Arguments, Result
from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.corefile.printer import format_blocks
from kdns.server.service import KdnsService

MOST_LINES = 200
"""Lines that are compared, behind those that are the same at the beginning: a comparison takes a millisecond or two."""

FRESH = 5.0
"""Seconds for which a reply is given again: reading and comparing takes time that queries wait."""


class CorefileDifference:
    """The command for one server."""

    def __init__(self, server: KdnsService) -> None:
        self._server = server
        self._known: tuple[float, tuple[str, bool], Result] | None = None

    def __call__(self, arguments: Arguments) -> Result:
        """Both with imports resolved and references to the environment replaced, so that a difference is one of meaning."""
        now = self._server.context.clock()
        running = self._server.configuration
        state = ("" if running is None else running.corefile.fingerprint, self._server.reloads.config_bad)
        if self._known is None or now >= self._known[0] or state != self._known[1]:
            self._known = now + FRESH, state, self._compare()
        return self._known[2]

    def _compare(self) -> Result:
        running = self._server.configuration
        result: Result = {"running": "", "error": "", "diff": []}
        if running is None:
            return result
        result["running"] = text_of(running.corefile)
        try:
            found = self._server.read_corefile()
        except CorefileError as error:
            result["error"] = str(error)
            return result
        if found.fingerprint != running.corefile.fingerprint:
            result["diff"] = difference(result["running"].splitlines(), text_of(found).splitlines())
        return result


def difference(before: list[str], after: list[str]) -> list[str]:
    """The lines of a unified diff, of what follows the first difference."""
    same = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - 3)
    lines = list(unified_diff(before[start:][:MOST_LINES], after[start:][:MOST_LINES], lineterm=""))
    return [f"--- running, from line {start + 1}", "+++ on disk", *lines[2:]]


def text_of(corefile: Corefile) -> str:
    """The text of a Corefile; a remark where it has no spelling."""
    try:
        return format_blocks(corefile.blocks)
    except ValueError as error:
        return f"# cannot be shown: {error}\n"
