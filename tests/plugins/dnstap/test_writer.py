"""A connection to a reader: the handshake, back-pressure, the end."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Registry
from kdns.plugins.dnstap.frames import CONTENT_TYPE, Control, ControlReader, control_frame, data_frame
from kdns.plugins.dnstap.writer import (
    FINISH_SECONDS,
    FLUSH_INTERVAL,
    HANDSHAKE_SECONDS,
    PIECE,
    FrameQueue,
    FrameWriter,
    State,
)
from tests.fuzz_dnstap import Transport

ACCEPT = control_frame(Control.ACCEPT, CONTENT_TYPE)
START = control_frame(Control.START, CONTENT_TYPE)
STOP = control_frame(Control.STOP)


class WriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        registry = Registry()
        self.sent = registry.counter("sent_total", "Frames.").counter()
        self.dropped = registry.counter("dropped_total", "Frames.").counter()
        self.queue = FrameQueue(100, 100_000, self.sent, self.dropped)
        self.problems: list[str] = []
        self.writer = FrameWriter(self.queue, self.clock, lambda _, problem: self.problems.append(problem))
        self.transport = Transport()
        self.writer.makeConnection(self.transport)

    def written(self) -> bytes:
        """What was written since this was called last."""
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def accept(self) -> None:
        self.written()
        self.writer.dataReceived(ACCEPT)
        self.assertTrue(self.written().startswith(START))

    def lose(self) -> None:
        self.writer.connectionLost(Failure(ConnectionDone()))

    def test_handshake(self) -> None:
        """READY names the content type; what waited is written behind START."""
        self.queue.put(data_frame(b"a"))
        self.assertEqual(ControlReader().feed(self.written()), [(Control.READY, [CONTENT_TYPE])])
        self.writer.dataReceived(ACCEPT)
        self.assertEqual(self.written(), START + data_frame(b"a"))
        self.assertEqual((self.sent.value, self.dropped.value), (1, 0))
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_never_accepted(self) -> None:
        """A reader that says nothing is left after some seconds."""
        self.clock.advance(HANDSHAKE_SECONDS)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual(self.problems, ["the reader accepts nothing"])

    def test_other_content(self) -> None:
        """A reader of something else, or one that sends frames out of turn, is left."""
        for frame, text in (
            (control_frame(Control.ACCEPT, b"protobuf:other"), "another content type"),
            (control_frame(Control.FINISH), "FINISH when READY was sent"),
            (b"GET / HTTP/1.1\r\n", "a data frame"),
        ):
            self.setUp()
            self.writer.dataReceived(frame)
            self.assertTrue(self.transport.aborted)
            self.lose()
            self.assertIn(text, self.problems[0])

    def test_together(self) -> None:
        """Messages wait a moment for others, or until there are many bytes of them."""
        self.accept()
        for letter in (b"a", b"b"):
            self.queue.put(data_frame(letter))
        self.assertEqual(self.written(), b"")
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.written(), data_frame(b"a") + data_frame(b"b"))
        self.queue.put(bytes(PIECE))
        self.assertEqual(self.written(), bytes(PIECE))

    def test_slow_reader(self) -> None:
        """What a reader does not take fills the queue; then messages are dropped and counted, and nothing else happens."""
        self.accept()
        self.writer.pauseProducing()
        for _ in range(150):
            self.queue.put(data_frame(b"a"))
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual((self.written(), len(self.queue), self.dropped.value), (b"", 100, 50))
        self.writer.resumeProducing()
        self.assertEqual((self.written(), self.sent.value), (data_frame(b"a") * 100, 100))

    def test_bytes_are_bounded(self) -> None:
        """A queue has room for so many bytes, however few messages they are."""
        for _ in range(6):
            self.queue.put(bytes(40_000))
        self.assertEqual((len(self.queue), self.dropped.value), (5, 1))
        self.queue.close()
        self.assertEqual((len(self.queue), self.queue.size, self.dropped.value), (0, 0, 6))

    def test_end(self) -> None:
        """At the end what is left is written, then STOP; the reader's FINISH closes the connection."""
        self.accept()
        self.queue.put(data_frame(b"a"))
        finished = self.writer.finish()
        self.assertEqual(self.written(), data_frame(b"a") + STOP)
        self.writer.dataReceived(control_frame(Control.FINISH))
        self.assertTrue(self.transport.disconnecting and not self.transport.aborted)
        self.lose()
        self.successResultOf(finished)
        self.assertEqual((self.problems, self.clock.getDelayedCalls()), ([""], []))

    def test_end_with_slow_reader(self) -> None:
        """A reader that does not take the rest in time is left."""
        self.accept()
        self.writer.pauseProducing()
        self.queue.put(data_frame(b"a"))
        finished = self.writer.finish()
        self.assertEqual(self.written(), b"")
        self.writer.resumeProducing()
        self.assertEqual(self.written(), data_frame(b"a") + STOP)
        self.writer.resumeProducing()
        self.assertEqual(self.written(), b"", "STOP comes once")
        self.clock.advance(FINISH_SECONDS)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.successResultOf(finished)

    def test_end_before_the_handshake(self) -> None:
        """A connection that never was accepted ends at once, and one that is lost already needs nothing."""
        finished: Deferred[None] = self.writer.finish()
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.successResultOf(finished)
        self.assertIs(self.writer.state, State.CLOSED)
        self.successResultOf(self.writer.finish())
