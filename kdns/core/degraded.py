# -*- test-case-name: tests.core.test_degraded -*-
"""
What is degraded at present, and since when: a file that cannot be read, a watch that fails, a snapshot that cannot be written.

Whoever notices the fault calls :meth:`DegradedStates.begin`, logs it if that is news, and calls :meth:`DegradedStates.end` once it works
again, which logs how long it took. The list is for whatever shows an operator what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from twisted.logger import Logger


class DegradedState(NamedTuple):
    """Something that does not work as configured."""

    name: str
    """What it is about, as an operator calls it: ``snapshot /var/lib/kdns/snapshot``."""

    since: float
    """Unix seconds."""

    text: str
    """What is wrong."""


class DegradedStates:
    """The degraded states of a process, each under a name of its own."""

    def __init__(self) -> None:
        self._states: dict[str, DegradedState] = {}

    def __iter__(self) -> Iterator[DegradedState]:
        """All states, the longest first."""
        return iter(sorted(self._states.values(), key=lambda state: state.since))

    def begin(self, name: str, text: str, now: float) -> bool:
        """
        Something is wrong; that it is so since before is fine.

        :param now: Unix seconds.
        :return: whether that is news: it worked before, or something else was wrong with it.
        """
        before = self._states.get(name)
        self._states[name] = DegradedState(name, now if before is None else before.since, text)
        return before is None or before.text != text

    def end(self, name: str, now: float, log: Logger) -> None:
        """It works; logged if it did not before."""
        state = self._states.pop(name, None)
        if state is not None:
            seconds = max(0.0, now - state.since)
            log.info("{name}: in order again after {seconds:.0f} s", name=name, seconds=seconds)

    def forget(self, name: str) -> None:
        """It does not exist any more, so nothing is wrong with it."""
        self._states.pop(name, None)
