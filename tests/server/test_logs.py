"""Log lines: formats, and which events are printed."""

from __future__ import annotations

import json
import threading
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ServerFactory
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kdns.corefile.errors import CorefileError, ParseError, Place
from kdns.server.logs import INTERVAL, MOST_SUMMED, AsJson, LogLine, OperatorLog, as_text, line_format
from kdns.testing.memory import MemoryReactor

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


def a_failure(text: str = "what") -> Failure:
    """An exception from a certain line."""
    try:
        raise ZeroDivisionError(text)
    except ZeroDivisionError:
        return Failure()


class LogTests(SynchronousTestCase):
    """What operators see."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        self.reactor = MemoryReactor()
        self.observer = OperatorLog(self.lines.append, self.reactor)

    def logger(self, namespace: str) -> Logger:
        """A logger that only this observer hears."""
        return Logger(namespace=namespace, observer=cast(ILogObserver, self.observer))

    def test_interface(self) -> None:
        """It is an observer in Twisted's words."""
        self.assertTrue(verifyObject(ILogObserver, self.observer))

    def test_plugins(self) -> None:
        """A plugin's lines carry its name, at every level."""
        log = self.logger("plugin/forward")
        log.info("{name} is {state}", name="a", state="up")
        log.warn("b")
        log.error("c")
        log.critical("d")
        self.assertEqual(
            self.lines,
            [
                "[INFO] plugin/forward: a is up",
                "[WARNING] plugin/forward: b",
                "[ERROR] plugin/forward: c",
                "[FATAL] plugin/forward: d",
            ],
        )

    def test_server(self) -> None:
        """The rest of kdns speaks without a name."""
        self.logger("kdns.server.service").info("Reloading")
        self.logger("kdns").error("Restart failed: {error}", error="x")
        self.assertEqual(self.lines, ["[INFO] Reloading", "[ERROR] Restart failed: x"])

    def test_debug(self) -> None:
        """Lines of level DEBUG are for those who ask for them."""
        log = self.logger("plugin/kubernetes")
        log.debug("one")
        self.observer.debug = True
        log.debug("two")
        self.logger("twisted.web").debug("noise")
        self.assertEqual(self.lines, ["[DEBUG] plugin/kubernetes: two"])

    def test_same_line_again(self) -> None:
        """What kdns itself says is not summed up."""
        for _ in range(2):
            self.logger("plugin/ready").info("x")
        self.assertEqual(self.lines, ["[INFO] plugin/ready: x"] * 2)

    def test_libraries(self) -> None:
        """Libraries are heard from warnings up, with their name."""
        log = self.logger("twisted.internet.protocol.ServerFactory")
        log.info("Starting factory {factory}", factory=ServerFactory())
        self.logger("log_legacy").info("printed")
        log.warn("x")
        self.assertEqual(self.lines, ["[WARNING] twisted.internet.protocol.ServerFactory: x"])

    def test_failure(self) -> None:
        """An exception shows where it happened; it does not end the process."""
        log = self.logger("kdns.server")
        log.failure('Recovered from panic in server: "{label}" {error}', a_failure(), label="dns://:53", error="what")
        (text,) = self.lines
        first, *rest = text.splitlines()
        self.assertEqual(first, '[ERROR] Recovered from panic in server: "dns://:53" what')
        self.assertIn("ZeroDivisionError: what", rest[-1])
        self.assertTrue(any("test_logs" in line for line in rest))

    def test_json(self) -> None:
        """With another style all the same is said: values in fields, the traceback in one, and what is summed up with its number."""
        self.observer = OperatorLog(self.lines.append, self.reactor, line_format=AsJson(lambda: 0.0))
        self.logger("plugin/forward").warn("{upstream} is down", upstream="10.0.0.1:53")
        for _ in range(3):
            self.logger("kdns.server").failure("odd {label}", a_failure(), label="x")
        self.logger("urllib3").warn("y {host}", host="z")
        self.observer.close()
        said = [json.loads(line) for line in self.lines]
        for line in said:
            self.assertEqual(line.pop("time"), "1970-01-01T00:00:00.000000Z")
        self.assertIn("ZeroDivisionError: what", said[1].pop("traceback"))
        self.assertEqual(
            said,
            [
                {"level": "warning", "plugin": "forward", "msg": "10.0.0.1:53 is down", "upstream": "10.0.0.1:53"},
                {"level": "error", "msg": "odd x", "label": "x"},
                {"level": "warning", "logger": "urllib3", "msg": "y z"},
                {"level": "error", "msg": "odd x (2 times more in the last 1m0s)", "label": "x", "times": 2},
            ],
        )

    def test_failure_again(self) -> None:
        """The same exception from the same place is printed once, and summed up a minute later."""
        log = self.logger("plugin/cache")
        for number in range(3):
            log.failure("odd {number}", a_failure(str(number)), number=number)
        self.assertEqual(len(self.lines), 1)
        self.reactor.advance(INTERVAL)
        self.assertEqual(self.lines[1:], ["[ERROR] plugin/cache: odd 0 (2 times more in the last 1m0s)"])
        self.reactor.advance(INTERVAL)
        log.failure("odd {number}", a_failure(), number=9)
        self.assertEqual(len(self.lines), 3)
        self.assertTrue(self.lines[2].startswith("[ERROR] plugin/cache: odd 9\n"))

    def test_library_again(self) -> None:
        """So is what a library replay."""
        log = self.logger("urllib3")
        log.warn("x")
        log.warn("x")
        log.warn("y")
        self.reactor.advance(INTERVAL)
        self.assertEqual(
            self.lines,
            [
                "[WARNING] urllib3: x",
                "[WARNING] urllib3: y",
                "[WARNING] urllib3: x (once more in the last 1m0s)",
            ],
        )
        self.assertEqual(self.reactor.leftovers(), [])

    def test_bounded(self) -> None:
        """Very many different events are not kept."""
        log = self.logger("library")
        for number in range(MOST_SUMMED + 5):
            log.warn("{number}", number=number)
        for _ in range(2):
            log.warn("{number}", number=MOST_SUMMED + 1)
        self.assertEqual(len(self.lines), MOST_SUMMED + 7)
        self.observer.close()

    def test_close(self) -> None:
        """At the end the sums are told."""
        for _ in range(2):
            self.logger("library").error("x")
        self.observer.close()
        self.assertEqual(self.lines, ["[ERROR] library: x", "[ERROR] library: x (once more in the last 1m0s)"])
        self.assertEqual(self.reactor.leftovers(), [])

    def test_unhandled_error(self) -> None:
        """What Twisted finds in a Deferred that nobody looked after says what it was."""
        self.logger("twisted.internet.defer.Deferred").failure("Unhandled error in Deferred:", a_failure())
        first = self.lines[0].splitlines()[0]
        self.assertEqual(
            first, "[ERROR] twisted.internet.defer.Deferred: Unhandled error in Deferred: ZeroDivisionError: what"
        )
        self.observer.close()

    def test_event_without_anything(self) -> None:
        """An event may lack all that others have."""
        self.observer({})
        self.observer({"log_level": LogLevel.error})
        self.assertEqual(self.lines, ["[ERROR] "])
        self.observer.close()

    def test_other_thread(self) -> None:
        """What a thread logs is printed by the reactor's."""
        thread = threading.Thread(target=lambda: self.logger("plugin/kubernetes").info("x"))
        thread.start()
        thread.join()
        self.assertEqual(self.lines, [])
        self.reactor.settle()
        self.assertEqual(self.lines, ["[INFO] plugin/kubernetes: x"])

    def test_failed_deferred(self) -> None:
        """A failure without frames has no place and is printed all the same."""
        deferred: Deferred[None] = fail(ValueError("x"))
        deferred.addErrback(lambda failure: self.logger("plugin/x").failure("y", failure))
        self.assertTrue(self.lines[0].startswith("[ERROR] plugin/x: y\n"))
        self.observer.close()
