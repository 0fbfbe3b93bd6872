# -*- test-case-name: tests.plugins.pprof.test_taking -*-
"""How profiles are taken: stacks of the main thread while the processor is used, and the objects that there are."""

from __future__ import annotations

import gc
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator
from threading import enumerate as all_threads
from traceback import format_stack
from types import CodeType, FrameType
from typing import Any, TypeAlias

from kdns.plugins.pprof.profile import Place, Profile, Stack, Unit

PERIOD = 0.01
"""Seconds of processor time between two samples, as in Go."""

MOST_DEEP = 64
"""Places of a stack."""

MOST_STACKS = 10_000
"""Different stacks of a profile, of some hundred bytes each; further ones are one."""

OBJECTS_A_STEP = 500

Take: TypeAlias = Callable[[FrameType | None], None]
Arm: TypeAlias = Callable[[Take, float], Callable[[], None]]
"""Has a function called with the current frame after each so many seconds of processor time; returns what ends that."""


def by_signal(take: Take, period: float) -> Callable[[], None]:
    """An :data:`Arm` for the main thread. A frame that waits in C is seen at the line that called."""
    before = signal.signal(signal.SIGPROF, lambda number, frame: take(frame))
    signal.setitimer(signal.ITIMER_PROF, period, period)

    def disarm() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN if before is None else before)

    return disarm


class CpuSamples:
    """Stacks of the main thread, by how often they were seen."""

    def __init__(self) -> None:
        self._stacks: Counter[tuple[tuple[CodeType, int], ...]] = Counter()
        self._others = 0

    def take(self, frame: FrameType | None) -> None:
        """See one more; called in the middle of anything, so it only counts."""
        stack: list[tuple[CodeType, int]] = []
        while frame is not None and len(stack) < MOST_DEEP:
            stack.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back
        key = tuple(stack)
        if key in self._stacks or len(self._stacks) < MOST_STACKS:
            self._stacks[key] += 1
        else:
            self._others += 1

    def profile(self, began: float, seconds: float) -> Profile:
        """What was seen."""
        period = int(PERIOD * 1e9)
        samples: dict[Stack, tuple[int, ...]] = {}
        for stack, count in self._stacks.items():
            places = tuple(Place(code.co_qualname, code.co_filename, line) for code, line in stack)
            if places:
                samples[places] = (count, count * period)
        if self._others:
            samples[(Place("(other stacks)"),)] = (self._others, self._others * period)
        return Profile((Unit("samples", "count"), Unit("cpu", "nanoseconds")), samples, began, seconds, period)


class ObjectCount:
    """
    The objects that the garbage collector knows, by type. Numbers, texts and bytes are in none of its lists.

    The list of all objects is made in one piece, some 10 ms for a million; they are counted in steps.
    """

    def __init__(self) -> None:
        self._counts: Counter[type] = Counter()
        self._sizes: Counter[type] = Counter()

    def counting(self) -> Generator[None, None, None]:
        """Count all, as work for :func:`~kdns.core.slices.in_slices`."""
        objects: list[Any] = gc.get_objects()
        while objects:
            some = objects[-OBJECTS_A_STEP:]
            del objects[-OBJECTS_A_STEP:]
            for one in some:
                kind = type(one)
                self._counts[kind] += 1
                self._sizes[kind] += sys.getsizeof(one, 0)
            yield

    def profile(self, now: float) -> Profile:
        """What was counted: a stack for each type."""
        samples: dict[Stack, tuple[int, ...]] = {}
        for kind, count in self._counts.items():
            place = (Place(f"{kind.__module__}.{kind.__qualname__}"),)
            before = samples.get(place, (0, 0))
            samples[place] = (before[0] + count, before[1] + self._sizes[kind])
        return Profile((Unit("inuse_objects", "count"), Unit("inuse_space", "bytes")), samples, now)


def thread_stacks() -> str:
    """Where each thread is now."""
    frames = sys._current_frames()
    texts = []
    for thread in all_threads():
        frame = frames.get(thread.ident or 0)
        texts.append(f"thread {thread.name}:\n{''.join(format_stack(frame)) if frame is not None else ''}")
    return "\n".join(texts)
