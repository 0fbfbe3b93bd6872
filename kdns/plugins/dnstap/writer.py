# -*- test-case-name: tests.plugins.dnstap.test_writer -*-
"""
What waits to be read, and the connection that it is written to.

Queries never wait for a reader: a message goes into a bounded queue, or is dropped and counted. A connection takes what is in the queue as
its reader takes it. The same connection serves both ways of *dnstap*: kdns connects to a reader, or a reader connects to kdns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.core.timing import Clock, Timer, stop_timer
from kdns.plugins.dnstap.frames import CONTENT_TYPE, BadFrame, Control, ControlReader, control_frame

FLUSH_INTERVAL = 0.2
"""Seconds that a message may wait for others to be written with it."""

PIECE = 65_536
"""Bytes that are written at a time; so many are written at once."""

HANDSHAKE_SECONDS = 4.0
"""In which a reader must accept."""

FINISH_SECONDS = 1.0
"""In which a reader may take what is left and say that it has all, when kdns ends."""

BYTES_EACH = 1024
"""Bytes that a queue may hold for each of its messages, besides those of its buffer."""


class FrameQueue:
    """
    Frames that wait; a frame that does not fit is dropped.

    :param most: frames that it may hold.
    :param buffer: bytes that it may hold besides :data:`BYTES_EACH` for each frame.
    :ivar notify: called when there is something to write.
    """

    def __init__(self, most: int, buffer: int, sent: Counter, dropped: Counter) -> None:
        self._most = most
        self._most_bytes = most * BYTES_EACH + buffer
        self._sent = sent
        self._dropped = dropped
        self._frames: deque[bytes] = deque()
        self.size = 0
        self.notify: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> None:
        frames = self._frames
        size = self.size + len(frame)
        if len(frames) >= self._most or size > self._most_bytes:
            self._dropped.value += 1
            return
        self.size = size
        frames.append(frame)
        self.notify()

    def take(self) -> bytes:
        """The oldest frames, :data:`PIECE` bytes or a little more; they count as sent."""
        frames = self._frames
        taken: list[bytes] = []
        size = 0
        while frames and size < PIECE:
            frame = frames.popleft()
            size += len(frame)
            taken.append(frame)
        self.size -= size
        self._sent.value += len(taken)
        return b"".join(taken)

    def close(self) -> None:
        """What is left will not be read."""
        self._dropped.value += len(self._frames)
        self._frames.clear()
        self.size = 0


class State(Enum):
    READY = "READY was sent, and the reader has not accepted yet"
    OPEN = "frames are written"
    ENDING = "what is left is written"
    STOPPED = "STOP was sent, and the reader has not finished yet"
    CLOSED = "nothing is written any more"


@implementer(IPushProducer)
class FrameWriter(Protocol):
    """
    A connection to one reader.

    :param closed: called when the connection is lost, with the reason.
    :param opened: called when the reader has accepted.
    """

    transport: Any

    def __init__(
        self,
        queue: FrameQueue,
        clock: Clock,
        closed: Callable[[FrameWriter, str], None],
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self.queue = queue
        self.state = State.CLOSED
        self._clock = clock
        self._on_closed = closed
        self._on_opened = opened
        self.accepted = False
        """Whether the reader has accepted."""

        self._reader = ControlReader()
        self._timer: Timer | None = None
        self._flush_timer: Timer | None = None
        self._paused = False
        self._problem = ""
        self._finished: Deferred[None] | None = None

    def connectionMade(self) -> None:
        self.state = State.READY
        self._limit(HANDSHAKE_SECONDS, "the reader accepts nothing")
        self.transport.registerProducer(self, True)
        self.transport.write(control_frame(Control.READY, CONTENT_TYPE))

    def _limit(self, seconds: float, problem: str) -> None:
        stop_timer(self._timer)
        self._timer = self._clock.callLater(seconds, self._fail, problem)

    def _fail(self, problem: str) -> None:
        self._problem = self._problem or problem
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        try:
            for control, types in self._reader.feed(data):
                self._control(control, types)
        except BadFrame as error:
            self._fail(f"the reader sends {error}")

    def _control(self, control: Control, types: list[bytes]) -> None:
        if control is Control.ACCEPT and self.state is State.READY:
            if types and CONTENT_TYPE not in types:
                raise BadFrame("ACCEPT for another content type")
            stop_timer(self._timer)
            self.state = State.OPEN
            self.accepted = True
            self.transport.write(control_frame(Control.START, CONTENT_TYPE))
            self._on_opened()
            self.queue.notify = self.wake
            self.flush()
        elif control is Control.FINISH and self.state is State.STOPPED:
            self.transport.unregisterProducer()  # with TLS, a connection with a producer does not end
            self.transport.loseConnection()
        else:
            raise BadFrame(f"{control.name} when {self.state.value}")

    # Writing

    def wake(self) -> None:
        """There is something in the queue."""
        if self.queue.size >= PIECE:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = self._clock.callLater(FLUSH_INTERVAL, self._flush_late)

    def _flush_late(self) -> None:
        self._flush_timer = None
        self.flush()

    def flush(self) -> None:
        """Write what the reader takes."""
        while self.queue.size and not self._paused and self.state in (State.OPEN, State.ENDING):
            self.transport.write(self.queue.take())
        if self.state is State.ENDING and not self.queue.size:
            self.state = State.STOPPED
            self.transport.write(control_frame(Control.STOP))

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.flush()

    def stopProducing(self) -> None:
        """The connection is lost."""

    # The end

    def finish(self) -> Deferred[None]:
        """Write what is left and say STOP; fires when the reader has all, or has had enough time."""
        finished = self._finished = Deferred()
        if self.state is State.OPEN:
            self.state = State.ENDING
            self._limit(FINISH_SECONDS, "the reader did not take all in time")
            self.flush()
        elif self.state is State.CLOSED:
            finished.callback(None)
        else:
            self._fail("kdns ends")
        return finished

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        was = self.state
        self.state = State.CLOSED
        self.queue.notify = lambda: None
        stop_timer(self._timer)
        stop_timer(self._flush_timer)
        self._flush_timer = None
        problem = self._problem or ("" if was is State.STOPPED else reason.getErrorMessage())
        self._on_closed(self, problem)
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(None)
