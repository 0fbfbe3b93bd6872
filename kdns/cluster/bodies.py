# -*- test-case-name: tests.cluster.test_bodies -*-
"""
Reading the body of a response: line by line for a watch, as a whole for a page of a list.

Lines are processed in slices of a millisecond, so that DNS is answered in between, however much the server sends at once. When too much
is buffered, reading pauses. An error while a line is processed fails the stream; Twisted would swallow it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from kdns.core.timing import Clock, Timer, stop_timer

LINE_LIMIT = 4 << 20
"""Bytes. The API server takes no object over 1.5 MiB from a client, and its own JSON is hardly longer."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """Stands for a line that was too long to keep."""

    size: int
    head: bytes
    """The first bytes, which may hold the name of the object."""


HEAD = 1024
"""Bytes kept of an overlong line."""


class LineSplitter:
    """
    Cut a stream at newlines; what stands behind the last newline is no line.

    :ivar buffered: bytes that are held, whole lines and the unfinished one.
    """

    __slots__ = ("_dropped", "_head", "_limit", "_lines", "_partial", "_partial_size", "buffered")

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._lines: deque[bytes | Overlong] = deque()
        self._partial: list[bytes] = []
        self._partial_size = 0
        # Bytes dropped of the current line; 0 while it is kept.
        self._dropped = 0
        self._head = b""
        self.buffered = 0

    def __len__(self) -> int:
        """Number of complete lines."""
        return len(self._lines)

    def feed(self, data: bytes) -> None:
        first, newline, rest = data.partition(b"\n")
        self._add(first)
        if not newline:
            return
        self._finish()
        pieces = rest.split(b"\n")
        last = pieces.pop()
        for piece in pieces:
            if len(piece) > self._limit:
                self._add(piece)
                self._finish()
            elif piece.strip():
                self._lines.append(piece)
                self.buffered += len(piece)
        self._add(last)

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        if self._dropped:
            self._dropped += len(piece)
            return
        self._partial.append(piece)
        self._partial_size += len(piece)
        self.buffered += len(piece)
        if self._partial_size > self._limit:
            self._head = b"".join(self._partial)[:HEAD]
            self._dropped = self._partial_size
            self._forget_partial()

    def _finish(self) -> None:
        """The current line is complete."""
        if self._dropped:
            self._lines.append(Overlong(self._dropped, self._head))
            self._dropped, self._head = 0, b""
            return
        line = b"".join(self._partial)
        self._forget_partial()
        if line.strip():
            self._lines.append(line)
            self.buffered += len(line)

    def _forget_partial(self) -> None:
        self.buffered -= self._partial_size
        self._partial.clear()
        self._partial_size = 0

    def take(self) -> bytes | Overlong | None:
        """The next line without its newline; None when there is none yet."""
        if not self._lines:
            return None
        line = self._lines.popleft()
        if not isinstance(line, Overlong):
            self.buffered -= len(line)
        return line

    @property
    def unfinished(self) -> int:
        """Bytes after the last newline, kept or not."""
        return self._dropped or self._partial_size


SLICE = 0.001
"""Seconds of work that a watch does in a turn of the reactor. Five may be busy in the same turn, and 5 ms is what a turn may take."""

LINES_AT_ONCE = 200
"""Lines in one turn at most, for clocks that do not move while something runs."""

MOST_BUFFERED = 2 * LINE_LIMIT
"""Bytes that may be buffered before reading pauses; a line of the greatest length must fit."""

BODY_LIMIT = 64 << 20
"""Bytes of a page of a list."""

BODY_PATIENCE = 30.0
"""Seconds without data of a page."""


class StreamProblem(Exception):
    """A body broke off, or did not come."""


class Silence(StreamProblem):
    pass


class LineStream(Protocol):
    """
    The body of a watch.

    :param work: called with each line.
    :ivar done: fires with None when the server ends the stream in good order; fails with :class:`StreamProblem`, or what *work* raised.
        Lines that came before the end are processed first. Cancelling stops at once; the canceller cuts the connection.
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
        self.expect(self._patience)

    def expect(self, patience: float) -> None:
        """From now on, fail with :class:`Silence` after *patience* seconds without data."""
        self._patience = patience
        self._heard = self._clock.seconds()
        if not self._closed:
            stop_timer(self._idle)
            self._idle = self._clock.callLater(patience, self._silent)

    def hold(self) -> None:
        """Process no more lines until :meth:`release`."""
        self._held = True
        stop_timer(self._turn)
        self._turn = None

    def release(self) -> None:
        self._held = False
        self._plan()

    def fail(self, problem: Exception) -> None:
        """End the stream; for use within *work*."""
        self._finish(problem)

    def dataReceived(self, data: bytes) -> None:
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
        """The body has ended, completely or not."""
        if not reason.check(ResponseDone, PotentialDataLoss):
            self._end = StreamProblem(_why(reason))
        elif self._splitter.unfinished:
            self._end = StreamProblem("the stream ended in the middle of a line")
        self._ended = True
        stop_timer(self._idle)
        if not self._closed and not self._held and self._turn is None:
            self._slice()

    def _slice(self) -> None:
        """Process lines for one time slice."""
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
        # The transport is gone once the body has ended.
        if not self._ended and self.transport is not None:
            getattr(self.transport, call)()

    def _silent(self) -> None:
        left = self._heard + self._patience - self._clock.seconds()
        if self._held or len(self._splitter) or self._paused:
            # We are the ones not reading.
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

    :ivar done: fires with the bytes; fails with :class:`StreamProblem`. Cancelling stops at once.
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
        self._heard = self._clock.seconds()
        self._idle = self._clock.callLater(self._patience, self._silent)

    def dataReceived(self, data: bytes) -> None:
        if self._closed:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._finish(StreamProblem(f"an answer of more than {self._limit} bytes"))
            return
        self._heard = self._clock.seconds()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
    """The innermost cause of a failure; Twisted wraps them in lists."""
    value: Any = reason.value
    while getattr(value, "reasons", None):
        value = value.reasons[0].value
    return f"the connection broke: {' '.join(str(value).split())[:200] or type(value).__name__}"
