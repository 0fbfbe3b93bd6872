# -*- test-case-name: tests.core.test_slices -*-
"""
Long work in short slices, so that queries are answered in between.

The work is a generator that yields wherever it may be interrupted. A step between two yields should take some 10 to 200 microseconds: the
clock is looked at after each of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.timing import Clock, Timer, stop_timer

SLICE_SECONDS = 0.002
"""Seconds of a turn of the reactor that one piece of work takes, and one step more."""

PORTION = 32
"""Steps of :func:`in_portions` in one turn, of about 50 microseconds each."""

T = TypeVar("T")


def in_slices(
    clock: Clock, work: Generator[Any, None, T], seconds: float = SLICE_SECONDS, *, at_once: bool = True
) -> Deferred[T]:
    """
    Run a generator to its end, one slice in each turn of the reactor.

    Cancelling closes the generator.

    :param clock: the reactor.
    :param at_once: whether the first slice runs before this returns; else it waits for the next turn.
    :return: fires with what the generator returns, or fails with what it raises.
    """
    timer: Timer | None = None
    running = False

    def cancel(_: Deferred[T]) -> None:
        stop_timer(timer)
        if not running:  # a step that cancels its own work ends first
            work.close()

    done: Deferred[T] = Deferred(cancel)

    def run() -> None:
        nonlocal timer, running
        timer = None
        end = clock.seconds() + seconds
        running = True
        try:
            while not done.called:
                next(work)
                if clock.seconds() >= end:
                    break
        except StopIteration as stop:
            if not done.called:
                done.callback(stop.value)
        except Exception:
            if done.called:
                raise
            done.errback(Failure())
        finally:
            running = False
        if done.called:
            work.close()
        else:
            timer = clock.callLater(0, run)

    if at_once:
        run()
    else:
        timer = clock.callLater(0, run)
    return done


def in_portions(clock: Clock, steps: Iterable[object], many: int = PORTION) -> None:
    """
    Take the steps of an iterable, *many* in each turn of the reactor, the first ones before this returns.

    A turn has fewer of them when they take long: the same reply for a thousand clients may have thousands of records. It cannot be stopped:
    these are things that must be done, such as to tell each of a thousand clients that there is no answer.
    """
    left = iter(steps)
    end = clock.seconds() + SLICE_SECONDS
    for count, _ in enumerate(left, 1):
        if count >= many or clock.seconds() >= end:
            clock.callLater(0, in_portions, clock, left, many)
            return
