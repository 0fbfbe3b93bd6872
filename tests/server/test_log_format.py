"""Tests of :mod:`kdns.server.log_format`."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError, ParseError, Place
from kdns.server.log_format import AsJson, LogLine, as_text, line_format

NOW = 1_795_428_920.125


def shown(said: LogLine) -> dict[str, Any]:
    """What a line of JSON says, but for its time."""
    line = AsJson(lambda: NOW)(said)
    found: dict[str, Any] = json.loads(line)
    assert found.pop("time") == "2026-11-23T10:15:20.125000Z"
    return found


class TextTests(SynchronousTestCase):
    """Lines as CoreDNS prints them."""

    def test_lines(self) -> None:
        """Level, who says it, text; and what stands alone."""
        for said, wanted in [
            (LogLine("x"), "[INFO] x"),
            (LogLine("x", "ERROR", plugin="cache"), "[ERROR] plugin/cache: x"),
            (LogLine("x", "WARNING", logger="urllib3"), "[WARNING] urllib3: x"),
            (LogLine(".:53", bare=True, details={"a": 1}), ".:53"),
            (LogLine("x", "ERROR", traceback="a\nb"), "[ERROR] x\na\nb"),
        ]:
            self.assertEqual(as_text(said), wanted)

    def test_by_name(self) -> None:
        """A style is chosen by its name."""
        self.assertIs(line_format("text", lambda: NOW), as_text)
        self.assertIsInstance(line_format("json", lambda: NOW), AsJson)


class JsonTests(SynchronousTestCase):
    """Lines as machines read them."""

    def test_fields(self) -> None:
        """Who says it is a field, and so is each plain value that the text was made from."""
        for said, wanted in [
            (LogLine("x"), {"level": "info", "msg": "x"}),
            (LogLine(".:53", bare=True), {"level": "info", "msg": ".:53"}),
            (LogLine("x", "ERROR", plugin="cache"), {"level": "error", "plugin": "cache", "msg": "x"}),
            (LogLine("x", "WARNING", logger="urllib3"), {"level": "warning", "logger": "urllib3", "msg": "x"}),
            (LogLine("x", traceback="a\nb"), {"level": "info", "msg": "x", "traceback": "a\nb"}),
            (
                LogLine(
                    "x", details={"a": 1, "b": "c", "d": None, "e": True, "f": 0.5, "g": float("nan"), "h": object()}
                ),
                {"level": "info", "msg": "x", "a": 1, "b": "c", "d": None, "e": True, "f": 0.5, "g": None},
            ),
            (LogLine("x", details={"time": 0, "level": 1, "msg": 2, "plugin": 3}), {"level": "info", "msg": "x"}),
        ]:
            self.assertEqual(shown(said), wanted)

    def test_errors(self) -> None:
        """An error is its text; one in a Corefile tells its place in fields."""
        self.assertEqual(shown(LogLine("x", details={"error": ValueError("y")}))["error"], "y")
        error = ParseError("bad", place=Place("Corefile", 7))
        found = shown(LogLine("x", details={"error": error}))
        self.assertEqual((found["error"], found["file"], found["line"]), (str(error), "Corefile", 7))
        self.assertEqual(
            shown(LogLine("x", details={"place": Place("y", 3)})), {"level": "info", "msg": "x", "file": "y", "line": 3}
        )
        self.assertEqual(shown(LogLine("x", details={"error": CorefileError("z")}))["error"], "z")

    @given(st.text(st.characters()), st.text(st.characters()))
    def test_one_line(self, text: str, value: str) -> None:
        """Whatever is said is one line that can be encoded, and reads as it was said."""
        line = AsJson(lambda: NOW)(LogLine(text, details={"value": value}))
        self.assertEqual(len(line.split("\n")), 1)
        found = json.loads(line.encode())
        if not any("\ud800" <= char <= "\udfff" for char in text + value):
            self.assertEqual((found["msg"], found["value"]), (text, value))
