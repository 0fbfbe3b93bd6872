# -*- test-case-name: tests.plugins.kubernetes -*-
"""What is logged during a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


class Heard:
    """The lines that a plugin logs until the end of the test, with the time of the test's clock and the level."""

    def __init__(self, test: SynchronousTestCase, seconds: Callable[[], float], plugin: str = "kubernetes") -> None:
        self.lines: list[tuple[float, str, str]] = []
        self._seconds = seconds
        self._namespace = f"plugin/{plugin}"
        observe = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observe)
        test.addCleanup(globalLogPublisher.removeObserver, observe)

    def _observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == self._namespace:
            text = formatEvent(event)
            self.lines.append((round(self._seconds(), 3), event["log_level"].name, text))

    @property
    def texts(self) -> list[str]:
        """The lines alone."""
        return [text for _, _, text in self.lines]
