# -*- test-case-name: tests.cluster.test_bodies -*-
"""
Reading the body of an answer: line by line for a watch, as a whole for a page of a list.

Lines are worked off in slices of a millisecond, so that DNS is answered in between, however much the server sends at once; when more
than a bound waits, the server is stopped. A fault while a line is worked off fails the stream: Twisted would swallow it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from kdns.cluster.lines import LINE_LIMIT, LineSplitter, Overlong
from kdns.cluster.timing import Clock, Timer, stop_timer

SLICE = 0.001
"""Seconds of work that a watch does in a turn of the reactor. Five may be busy in the same turn, and 5 ms is what a turn may take."""

LINES_AT_ONCE = 200
"""Lines in one turn at most, for clocks that do not move while something runs."""

MOST_BUFFERED = 2 * LINE_LIMIT
"""Octets that may wait before the server is stopped; a line of the greatest length must still fit."""

BODY_LIMIT = 64 << 20
"""Octets of a page of a list."""

BODY_PATIENCE = 30.0
"""Seconds without an octet of a page."""


class StreamProblem(Exception):
    """A body that broke off, or did not come."""


class Silence(StreamProblem):
    """Nothing came for too long."""


class LineStream(Protocol):
    """
    The body of a watch.

    :param work: is given each line.
    :ivar done: fires with None when the server ends the stream in good order; fails with :class:`StreamProblem`, or what *work* raised.
        Lines that came before the end are worked off first. Cancelling stops at once; whoever cancels cuts the connection.
    """

    def __init__(self, clock: Clock, work: Callable[[bytes | Overlong], None], patience: float) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close())
        self.lines = 0
        """How many lines were worked off."""
        self._clock = clock
        self._work = work
        self._patience = patience
        self._heard = 0.0
        self._splitter = LineSplitter()
        self._turn: Timer | None = None
        self._idle: Timer | None = None
        self._held = False
        self._paused = False
        self._end: StreamProblem | None = None
        self._ended = False
        self._closed = False

    def connectionMade(self) -> None:
        """The body begins."""
        self.expect(self._patience)

    def expect(self, patience: float) -> None:
        """From now on fail with :class:`Silence` when nothing comes for *patience* seconds."""
        self._patience = patience
        self._heard = self._clock.seconds()
        if not self._closed:
            stop_timer(self._idle)
            self._idle = self._clock.callLater(patience, self._silent)

    def hold(self) -> None:
        """Work no more lines off until :meth:`release`."""
        self._held = True
        stop_timer(self._turn)
        self._turn = None

    def release(self) -> None:
        """Go on."""
        self._held = False
        self._plan()

    def fail(self, problem: Exception) -> None:
        """End the stream from within *work*."""
        self._finish(problem)

    def dataReceived(self, data: bytes) -> None:
        """Octets of the body."""
        if self._closed:
            return
        self._heard = self._clock.seconds()
        self._splitter.feed(data)
        if not self._held and self._turn is None:
            self._slice()
            # A read of the socket brings many chunks, and each of them comes by itself: only the first is worked off in this turn.
            self._plan()
        if self._splitter.buffered > MOST_BUFFERED and not self._paused and not self._closed:
            self._paused = True
            self._producer("pauseProducing")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is at its end, good or bad."""
        if not reason.check(ResponseDone, PotentialDataLoss):
            self._end = StreamProblem(_why(reason))
        elif self._splitter.unfinished:
            self._end = StreamProblem("the stream ended in the middle of a line")
        self._ended = True
        stop_timer(self._idle)
        if not self._closed and not self._held and self._turn is None:
            self._slice()

    def _slice(self) -> None:
        """Work lines off for a while."""
        self._turn = None
        began = self._clock.seconds()
        for _ in range(LINES_AT_ONCE):
            line = self._splitter.take()
            if line is None:
                break
            self.lines += 1
            try:
                self._work(line)
            except Exception as problem:
                self._finish(problem)
            if self._closed or self._held:
                return
            if self._clock.seconds() - began >= SLICE:
                break
        self._after_slice()

    def _after_slice(self) -> None:
        if len(self._splitter):
            self._plan()
        elif self._ended:
            self._finish(self._end)
        if self._paused and self._splitter.buffered <= MOST_BUFFERED // 2 and not self._closed:
            self._paused = False
            self._producer("resumeProducing")

    def _plan(self) -> None:
        if self._turn is None and not self._held and not self._closed:
            self._turn = self._clock.callLater(0, self._slice)

    def _producer(self, call: str) -> None:
        # When the body has ended its transport is gone.
        if not self._ended and self.transport is not None:
            getattr(self.transport, call)()

    def _silent(self) -> None:
        left = self._heard + self._patience - self._clock.seconds()
        if self._held or len(self._splitter) or self._paused:
            # It is us who do not read.
            left = self._patience
        if left > 0.001:
            self._idle = self._clock.callLater(left, self._silent)
            return
        self._finish(Silence(f"nothing came for {self._patience:.0f} seconds"))

    def _close(self) -> None:
        self._closed = True
        stop_timer(self._turn)
        stop_timer(self._idle)
        self._turn = self._idle = None

    def _finish(self, problem: Exception | None) -> None:
        if self._closed:
            return
        self._close()
        if problem is None:
            self.done.callback(None)
        else:
            self.done.errback(problem)


class WholeBody(Protocol):
    """
    The body of any other answer.

    :ivar done: fires with the octets; fails with :class:`StreamProblem`. Cancelling stops at once.
    """

    def __init__(self, clock: Clock, limit: int = BODY_LIMIT, patience: float = BODY_PATIENCE) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._close())
        self._clock = clock
        self._limit = limit
        self._patience = patience
        self._heard = 0.0
        self._pieces: list[bytes] = []
        self._size = 0
        self._idle: Timer | None = None
        self._closed = False

    def connectionMade(self) -> None:
        """The body begins."""
        self._heard = self._clock.seconds()
        self._idle = self._clock.callLater(self._patience, self._silent)

    def dataReceived(self, data: bytes) -> None:
        """Octets of the body."""
        if self._closed:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._finish(StreamProblem(f"an answer of more than {self._limit} octets"))
            return
        self._heard = self._clock.seconds()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body is at its end, good or bad."""
        good = reason.check(ResponseDone, PotentialDataLoss)
        self._finish(None if good else StreamProblem(_why(reason)))

    def _silent(self) -> None:
        left = self._heard + self._patience - self._clock.seconds()
        if left > 0.001:
            self._idle = self._clock.callLater(left, self._silent)
            return
        self._finish(Silence(f"nothing came for {self._patience:.0f} seconds"))

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        stop_timer(self._idle)
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def _finish(self, problem: StreamProblem | None) -> None:
        if self._closed:
            return
        if problem is None:
            self._closed = True
            stop_timer(self._idle)
            self.done.callback(b"".join(self._pieces))
        else:
            self._close()
            self.done.errback(problem)


def _why(reason: Failure) -> str:
    """The innermost cause of a failure: Twisted wraps them in lists."""
    value: Any = reason.value
    while getattr(value, "reasons", None):
        value = value.reasons[0].value
    return f"the connection broke: {' '.join(str(value).split())[:200] or type(value).__name__}"
