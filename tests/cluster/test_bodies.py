"""Bodies of responses: lines of watches, and whole pages."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from kdns.cluster.bodies import (
    LINES_AT_ONCE,
    MOST_BUFFERED,
    LineSplitter,
    LineStream,
    Overlong,
    Silence,
    StreamProblem,
    WholeBody,
)


def lines_of(splitter: LineSplitter) -> list[bytes | Overlong]:
    """All lines that are ready."""
    found = []
    while (line := splitter.take()) is not None:
        found.append(line)
    return found


class LineSplitterTests(SynchronousTestCase):
    """Lines, however the stream is cut."""

    def test_lines(self) -> None:
        """Complete lines are handed out in order; what has no end yet waits for it."""
        splitter = LineSplitter()
        splitter.feed(b"one\ntwo\nthr")
        self.assertEqual(lines_of(splitter), [b"one", b"two"])
        self.assertEqual(splitter.unfinished, 3)
        splitter.feed(b"ee\n")
        self.assertEqual(lines_of(splitter), [b"three"])
        self.assertEqual((splitter.buffered, splitter.unfinished), (0, 0))

    def test_empty_lines(self) -> None:
        """Empty lines and those of blanks are left out."""
        splitter = LineSplitter()
        splitter.feed(b"\n\r\na\n\n \nb\n")
        self.assertEqual(lines_of(splitter), [b"a", b"b"])

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # the machine may be busy
    @given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda b: b"\n" not in b and b.strip())), st.data())
    def test_any_cut(self, wanted: list[bytes], data: st.DataObject) -> None:
        """Where the pieces end makes no difference, and nothing stays behind."""
        stream = b"".join(line + b"\n" for line in wanted)
        splitter = LineSplitter(limit=8)
        found = []
        while stream:
            size = data.draw(st.integers(1, len(stream)))
            splitter.feed(stream[:size])
            stream = stream[size:]
            self.assertLessEqual(splitter.buffered, sum(map(len, wanted)))
            if data.draw(st.booleans()):
                found += lines_of(splitter)
        found += lines_of(splitter)
        plain = [line.size if isinstance(line, Overlong) else line for line in found]
        self.assertEqual(plain, [line if len(line) <= 8 else len(line) for line in wanted])
        heads = [(line.head, whole) for line, whole in zip(found, wanted, strict=True) if isinstance(line, Overlong)]
        self.assertTrue(all(head and whole.startswith(head) for head, whole in heads), heads)
        self.assertEqual(splitter.buffered, 0)

    def test_overlong(self) -> None:
        """Of a line over the limit the head is kept and nothing else, however long it goes on; the next line is whole."""
        splitter = LineSplitter(limit=1000)
        for _ in range(5000):
            splitter.feed(b"x" * 100)
            self.assertLessEqual(splitter.buffered, 1100)
        self.assertEqual(splitter.unfinished, 500_000)
        splitter.feed(b"y\nnext\n")
        self.assertEqual(lines_of(splitter), [Overlong(500_001, b"x" * 1024), b"next"])

    def test_buffered(self) -> None:
        """The octets held are counted, so that a reader can stop the stream."""
        splitter = LineSplitter()
        splitter.feed(b"abc\ndefg\nhi")
        self.assertEqual((len(splitter), splitter.buffered), (2, 9))
        splitter.take()
        self.assertEqual(splitter.buffered, 6)


GOOD = Failure(ResponseDone())
BAD = Failure(ConnectionLost())


class FakeTransport:
    """Notes what a body asks of its transport."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pauseProducing(self) -> None:
        """Stop."""
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        """Go on."""
        self.asked.append("resume")

    def loseConnection(self) -> None:
        """Enough."""
        self.asked.append("lose")


class LineStreamTests(SynchronousTestCase):
    """The body of a watch."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[bytes | Overlong] = []
        self.transport = FakeTransport()
        self.stream = self.begin(self.lines.append)

    def begin(self, work: Callable[[bytes | Overlong], None]) -> LineStream:
        """A stream whose body begins."""
        stream = LineStream(self.clock, work, patience=100.0)
        stream.makeConnection(self.transport)
        return stream

    def test_at_once(self) -> None:
        """A line is worked off in the turn in which it comes."""
        self.stream.dataReceived(b"one\ntwo\nth")
        self.assertEqual(self.lines, [b"one", b"two"])

    def test_slices_by_time(self) -> None:
        """Work that takes long is cut: after a millisecond DNS has its turn."""

        def work(line: bytes | Overlong) -> None:
            self.lines.append(line)
            self.clock.rightNow += 0.0004

        stream = self.begin(work)
        stream.dataReceived(b"x\n" * 10)
        self.assertEqual(len(self.lines), 3)
        self.clock.advance(0)
        self.assertEqual(len(self.lines), 10)

    def test_many_reads_in_a_turn(self) -> None:
        """What comes in several pieces in one turn gets one slice of it."""
        self.stream.dataReceived(b"a\n")
        self.stream.dataReceived(b"b\n")
        self.stream.dataReceived(b"c\n")
        self.assertEqual(self.lines, [b"a"])
        self.clock.advance(0)
        self.assertEqual(self.lines, [b"a", b"b", b"c"])

    def test_slices_by_number(self) -> None:
        """There is a bound for clocks that stand still, too."""
        self.stream.dataReceived(b"x\n" * (LINES_AT_ONCE + 1))
        self.assertEqual(len(self.lines), LINES_AT_ONCE)

    def test_back_pressure(self) -> None:
        """When too much waits the server is stopped, and goes on when half of it is worked off."""
        self.stream.hold()
        piece = b"x" * 99_999 + b"\n"
        for _ in range(MOST_BUFFERED // len(piece) + 1):
            self.stream.dataReceived(piece)
        self.assertEqual(self.transport.asked, ["pause"])
        self.stream.release()
        self.clock.pump([0] * 5)
        self.assertEqual(self.transport.asked, ["pause", "resume"])

    def test_hold(self) -> None:
        """What is held is worked off when it is released, and its end comes after it."""
        self.stream.hold()
        self.stream.dataReceived(b"one\n")
        self.stream.connectionLost(GOOD)
        self.assertEqual(self.lines, [])
        self.assertNoResult(self.stream.done)
        self.stream.release()
        self.clock.advance(0)
        self.assertEqual(self.lines, [b"one"])
        self.assertIsNone(self.successResultOf(self.stream.done))

    def test_silence(self) -> None:
        """A stream that says nothing for its patience fails; each octet begins the patience anew."""
        self.clock.advance(99)
        self.stream.dataReceived(b"x")
        self.clock.advance(99)
        self.assertNoResult(self.stream.done)
        self.clock.advance(2)
        self.failureResultOf(self.stream.done, Silence)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_own_fault_is_no_silence(self) -> None:
        """While kdns holds the stream, the server is not blamed."""
        self.stream.hold()
        self.clock.advance(1000)
        self.assertNoResult(self.stream.done)

    def test_ends(self) -> None:
        """Good order, a break, and half a line are told apart."""
        for reason, data, problem in ((GOOD, b"x\n", None), (BAD, b"x\n", StreamProblem), (GOOD, b"x", StreamProblem)):
            stream = self.begin(self.lines.append)
            stream.dataReceived(data)
            stream.connectionLost(reason)
            self.clock.advance(0)
            if problem is None:
                self.successResultOf(stream.done)
            else:
                self.failureResultOf(stream.done, problem)
        self.assertEqual(self.lines, [b"x", b"x"])

    def test_failing_work(self) -> None:
        """A fault while a line is worked off fails the stream: nothing is swallowed, and nothing more is worked off."""

        def work(line: bytes | Overlong) -> None:
            self.lines.append(line)
            raise KeyError("fault")

        stream = self.begin(work)
        stream.dataReceived(b"one\ntwo\n")
        self.failureResultOf(stream.done, KeyError)
        stream.dataReceived(b"three\n")
        self.assertEqual(self.lines, [b"one"])

    def test_cancelled(self) -> None:
        """Cancelling leaves no timer behind."""
        self.stream.dataReceived(b"x\n" * (LINES_AT_ONCE + 1))
        self.stream.done.cancel()
        self.failureResultOf(self.stream.done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WholeBodyTests(SynchronousTestCase):
    """The body of a page."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = FakeTransport()
        self.body = WholeBody(self.clock, limit=10, patience=5.0)
        self.body.makeConnection(self.transport)

    def test_whole(self) -> None:
        """The octets, when the end was good."""
        self.body.dataReceived(b"abc")
        self.clock.advance(4)
        self.body.dataReceived(b"def")
        self.clock.advance(4)
        self.body.connectionLost(GOOD)
        self.assertEqual(self.successResultOf(self.body.done), b"abcdef")
        self.assertEqual((self.clock.getDelayedCalls(), self.transport.asked), ([], []))

    def test_broken(self) -> None:
        """A part is no page."""
        self.body.dataReceived(b"abc")
        self.body.connectionLost(BAD)
        self.failureResultOf(self.body.done, StreamProblem)

    def test_too_long(self) -> None:
        """What is longer than the limit is not read to its end."""
        self.body.dataReceived(b"x" * 11)
        self.failureResultOf(self.body.done, StreamProblem)
        self.assertEqual(self.transport.asked, ["lose"])

    def test_silence(self) -> None:
        """A body that stops in the middle is given up."""
        self.body.dataReceived(b"abc")
        self.clock.pump([4, 2])
        self.failureResultOf(self.body.done, Silence)
        self.assertEqual(self.clock.getDelayedCalls(), [])
