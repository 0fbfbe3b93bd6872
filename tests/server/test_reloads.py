"""What is known of reloads: the last outcome, metrics, and texts with their places."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import Overlap, ParseError, Place, SetupError
from kdns.plugin.seam import Unavailable
from kdns.server.reloads import Outcome, Reloads, located
from kdns.testing.memory import MemoryReactor
from tests.server.support import a_house

HERE = Place("Corefile", 7)


class LocatedTests(SynchronousTestCase):
    """Texts of errors."""

    def test_place(self) -> None:
        """File and line stand before a text that does not say them, and are said once."""
        for error, place, wanted in (
            (ParseError("no", place=HERE), None, "Corefile:7 - Error during parsing: no"),
            (SetupError("no", plugin="log", place=HERE), None, "plugin/log: Corefile:7 - Error during parsing: no"),
            (SetupError("no", plugin="log", place=HERE, located=False), None, "Corefile:7 - plugin/log: no"),
            (SetupError("no", plugin="log", hint="yes"), None, "plugin/log: no (yes)"),
            (
                Overlap("a", "b", place=HERE),
                Place("other", 1),
                "Corefile:7 - cannot serve a - zone overlap listener capacity with b",
            ),
            (Unavailable("taken"), HERE, "Corefile:7 - taken"),
            (Unavailable("taken"), None, "taken"),
        ):
            self.assertEqual(located(error, place), wanted)


class RecordTests(SynchronousTestCase):
    """One service's reloads."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.context = a_house(self.reactor)
        self.reloads = Reloads(self.context)

    def metric(self, name: str) -> float:
        """A metric without labels."""
        return next(family.counter().value for family in self.context.registry.families() if family.name == name)

    def test_end_is_logged(self) -> None:
        """A Corefile that can be used again is logged once, with how long it could not, whether it says something new or not."""
        heard: list[str] = []
        observer = cast("Any", lambda event: heard.append(formatEvent(event)))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.reloads.started("one", watched=True)
        self.reloads.unreadable(ParseError("no", place=HERE))
        self.reactor.advance(60.0)
        self.reloads.unreadable(ParseError("no", place=HERE))
        self.reactor.advance(30.0)
        self.reloads.unchanged()
        self.reloads.unchanged()
        self.reloads.failed(Unavailable("taken"), HERE, "two", looked=False)
        self.reloads.taken_over("three")
        self.assertEqual(
            [line for line in heard if "again" in line],
            ["The Corefile can be used again, after 1m30s", "The Corefile can be used again, after 0s"],
        )

    def test_bad_until_mended(self) -> None:
        """The gauge is 1 from a reload that fails until one succeeds or the file says again what runs."""
        self.reactor.advance(10.0)
        self.reloads.started("one", watched=True)
        self.assertEqual((self.metric("kdns_reload_config_bad"), self.reloads.last), (0, None))
        self.reactor.advance(1.0)
        error = Unavailable("taken")
        self.reloads.failed(error, HERE, "two", looked=True)
        self.assertEqual((self.metric("kdns_reload_config_bad"), self.reloads.config_bad), (1, True))
        self.assertEqual(self.reloads.last, Outcome(11.0, False, "Corefile:7 - taken"))
        self.assertEqual(self.reloads.refused, "two")
        self.reloads.unchanged()
        self.assertEqual((self.metric("kdns_reload_config_bad"), self.reloads.refused), (0, ""))
        self.reloads.unreadable(ParseError("no", place=HERE))
        self.assertEqual(self.metric("kdns_reload_config_bad"), 1)
        self.assertEqual(self.metric("coredns_reload_failed_total"), 2)
        self.reactor.advance(1.0)
        self.reloads.taken_over("three")
        self.assertEqual((self.metric("kdns_reload_config_bad"), self.reloads.last), (0, Outcome(12.0, True)))
        self.assertEqual(self.metric("kdns_reload_last_success_timestamp_seconds"), 12.0)

    def test_degraded(self) -> None:
        """A Corefile that cannot be used is listed until it says what runs."""
        self.reloads.started("one", watched=True)
        self.reloads.unreadable(ParseError("no", place=HERE))
        (state,) = self.context.degraded
        self.assertEqual(
            (state.name, state.text),
            ("Corefile", f"cannot be used, so the one before it stays: {located(ParseError('no', place=HERE))}"),
        )
        self.reloads.unchanged()
        self.assertEqual(list(self.context.degraded), [])
