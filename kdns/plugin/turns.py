# -*- test-case-name: tests.plugin.test_turns -*-
"""
Share the turns of the reactor among many connections: one deadline bounds what all of them do in a turn.

A bound for each connection alone is no bound: with hundreds of clients that send what they can, their shares add up to seconds in which
nobody else is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from kdns.core.timing import Clock

TURN_SECONDS = 0.002
"""Seconds that all steps of a turn may take together; the last one begins within them."""

Step: TypeAlias = Callable[[float], object]
"""A short piece of work, called with the time at which its turn is over. One that has more to do adds itself again."""


class TurnQueue:
    """
    Steps that wait for their turn, first come first served.

    A step that adds itself again goes to the end, so connections take turns, and one that always has more to do holds up no other.

    :param clock: seconds of a clock that never goes back.
    """

    def __init__(self, reactor: Clock, clock: Callable[[], float], seconds: float = TURN_SECONDS) -> None:
        self._reactor = reactor
        self._clock = clock
        self._seconds = seconds
        self._steps: deque[Step] = deque()
        self._planned = False

    def add(self, step: Step) -> None:
        """Call *step* in the next turn, or in a later one when those before it take long."""
        self._steps.append(step)
        if not self._planned:
            self._planned = True
            self._reactor.callLater(0, self._run)

    def _run(self) -> None:
        steps, clock = self._steps, self._clock
        end = clock() + self._seconds
        try:
            while steps:
                steps.popleft()(end)
                if clock() >= end:
                    break
        finally:  # a step that raises does not take the others with it
            self._planned = bool(steps)
            if steps:
                self._reactor.callLater(0, self._run)
