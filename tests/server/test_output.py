"""Tests of :mod:`kdns.server.output`."""

from __future__ import annotations

import json
import os
import pty
import socket
import tempfile
from errno import ENOSPC

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Registry
from kdns.server.logs import AsJson
from kdns.server.output import (
    DELAY,
    MOST_COLLECTED,
    MOST_PER_TURN,
    MOST_WAITING,
    RETRY,
    RETRY_FAILED,
    LineWriter,
    is_writable,
    unblocked,
)
from kdns.testing.memory import MemoryReactor


class Pipe:
    """What the writer writes to: takes as much as it is told to."""

    def __init__(self) -> None:
        self.written = b""
        self.writes: list[int] = []
        self.room = 1 << 30
        self.error: OSError | None = None

    def ready(self, descriptor: int) -> bool:
        """Whether there is room."""
        return self.room > 0

    def write(self, descriptor: int, octets: bytes) -> int:
        """Take some."""
        if self.error is not None:
            raise self.error
        taken = octets[: self.room]
        self.room -= len(taken)
        self.written += taken
        self.writes.append(len(taken))
        return len(taken)


class WriterTests(SynchronousTestCase):
    """When lines are written, and which are not."""

    def setUp(self) -> None:
        self.pipe = Pipe()
        self.clock = Clock()
        self.registry = Registry()
        self.writer = LineWriter(-1, self.registry, ready=self.pipe.ready, write=self.pipe.write)

    def dropped(self) -> float:
        """The metric."""
        return self.registry.counter("kdns_log_dropped_lines_total", "").counter().value

    def written(self) -> float:
        """The other metric."""
        return self.registry.counter("kdns_log_lines_total", "").counter().value

    def test_before_the_reactor_runs(self) -> None:
        """Each line is written when it comes."""
        self.writer("one")
        self.assertEqual(self.pipe.written, b"one\n")

    def test_batch(self) -> None:
        """While the reactor runs the lines of some milliseconds are one write."""
        self.writer.batch(self.clock)
        for line in ("one", "two", "drei \N{LATIN SMALL LETTER SHARP S} \udcff"):
            self.writer(line)
        self.assertEqual(self.pipe.written, b"")
        self.clock.advance(DELAY)
        self.assertEqual(self.pipe.written, "one\ntwo\ndrei ß \\udcff\n".encode())
        self.assertEqual(len(self.pipe.writes), 1)
        self.assertEqual(self.written(), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_reader(self) -> None:
        """A reader that takes nothing holds nobody up; what waits is written in order when it takes some again."""
        self.writer.batch(self.clock)
        self.pipe.room = 5
        self.writer("one")
        self.writer("two")
        self.clock.advance(DELAY)
        self.assertEqual(self.pipe.written, b"one\nt")
        self.writer("three")
        self.clock.advance(RETRY)
        self.assertEqual(self.pipe.written, b"one\nt")
        self.pipe.room = 1000
        self.clock.advance(RETRY)
        self.assertEqual(self.pipe.written, b"one\ntwo\nthree\n")

    def test_bounded(self) -> None:
        """What does not fit is dropped and counted, and a line says so when there is room again."""
        self.writer.batch(self.clock)
        self.pipe.room = 0
        line = "x" * 1023
        for _ in range(MOST_WAITING // 1024 + 7):
            self.writer(line)
        self.clock.advance(DELAY)
        self.assertEqual(self.dropped(), 7)
        self.writer(line)
        self.clock.advance(RETRY)
        self.assertEqual(self.dropped(), 8)
        self.pipe.room = 1 << 30
        for _ in range(20):
            self.clock.advance(RETRY)
        self.assertEqual(self.pipe.written.count(line.encode() + b"\n"), MOST_WAITING // 1024)
        self.assertTrue(
            self.pipe.written.endswith(b"\n[WARNING] 8 log lines dropped: the output takes them too slowly\n")
        )
        self.assertEqual((self.dropped(), self.written()), (8, MOST_WAITING // 1024 + 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_lines_as_json(self) -> None:
        """What was lost is said in the style of all lines."""
        self.writer = LineWriter(
            -1, self.registry, ready=self.pipe.ready, write=self.pipe.write, line_format=AsJson(lambda: 0.0)
        )
        self.writer.batch(self.clock)
        for _ in range(3):
            self.writer("x" * (MOST_WAITING - 1))
        for _ in range(20):
            self.clock.advance(RETRY)
        last = json.loads(self.pipe.written.splitlines()[-1])
        self.assertEqual((last["level"], last["dropped"], self.dropped()), ("warning", 2, 2))

    def test_within_a_turn(self) -> None:
        """However long the reactor has no turn for the output, what waits is bounded and the first lines are those that are kept."""
        self.writer.batch(self.clock)
        many = 3 * MOST_WAITING // 8
        for number in range(many):
            self.writer(f"{number:07}")
        self.assertEqual(self.dropped(), many - many % MOST_COLLECTED - MOST_WAITING // 8)
        for _ in range(20):
            self.clock.advance(RETRY)
        lines = self.pipe.written.decode().splitlines()
        self.assertEqual(lines[:-1], [f"{number:07}" for number in range(MOST_WAITING // 8)])
        self.assertEqual(
            lines[-1], f"[WARNING] {many - MOST_WAITING // 8} log lines dropped: the output takes them too slowly"
        )
        self.assertEqual(self.dropped() + self.written(), many + 1)

    def test_a_turn_is_short(self) -> None:
        """One turn writes no more than is good, and the next one goes on."""
        reactor = MemoryReactor()
        self.writer.batch(reactor)
        for _ in range(MOST_PER_TURN // 1024 + 10):
            self.writer("x" * 1023)
        after_a_turn: list[int] = []
        reactor.callLater(DELAY, lambda: after_a_turn.append(len(self.pipe.written)))
        reactor.advance(DELAY)
        self.assertEqual(after_a_turn, [MOST_PER_TURN])
        self.assertEqual(len(self.pipe.written), MOST_PER_TURN + 10 * 1024)

    def test_broken_pipe(self) -> None:
        """A reader that is gone does no harm; what nobody reads is counted."""
        self.writer.batch(self.clock)
        self.pipe.error = BrokenPipeError()
        self.writer("one")
        self.writer("two")
        self.clock.advance(DELAY)
        self.writer("three")
        self.clock.advance(1)
        self.assertEqual(self.dropped(), 3)
        self.writer.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_mended(self) -> None:
        """A disk that has room again some seconds later is written to; what was lost is said, and half a line stays alone."""
        self.writer.batch(self.clock)
        self.pipe.room = 6
        self.writer("one")
        self.writer("two")
        self.clock.advance(DELAY)
        self.pipe.room, self.pipe.error = 1 << 30, OSError(ENOSPC, "no space")
        self.clock.advance(RETRY)
        self.writer("three")
        self.assertEqual(self.dropped(), 3)
        self.pipe.error = None
        self.clock.advance(RETRY_FAILED)
        self.writer("four")
        self.clock.advance(DELAY)
        self.clock.advance(DELAY)
        lines = ["one", "tw", "four", "[WARNING] 3 log lines dropped: the output takes them too slowly"]
        self.assertEqual(self.pipe.written.decode().splitlines(), lines)
        self.assertEqual((self.written(), self.dropped()), (2, 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_descriptor_that_would_block(self) -> None:
        """A descriptor that changed its mind is asked again later."""
        self.writer.batch(self.clock)
        self.pipe.error = BlockingIOError()
        self.writer("one")
        self.clock.advance(DELAY)
        self.pipe.error = None
        self.clock.advance(RETRY)
        self.assertEqual(self.pipe.written, b"one\n")

    def test_close(self) -> None:
        """At the end everything is written at once, and what still comes too."""
        self.writer.batch(self.clock)
        self.writer("one")
        self.writer.close()
        self.assertEqual(self.pipe.written, b"one\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.writer("two")
        self.assertEqual(self.pipe.written, b"one\ntwo\n")


class SystemTests(SynchronousTestCase):
    """On descriptors of the system."""

    def test_full_pipe(self) -> None:
        """A pipe that nobody reads is never waited for, and everything arrives when somebody does."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        clock, registry = Clock(), Registry()
        writer = LineWriter(writing, registry)
        writer.batch(clock)
        lines = [f"{number:01023d}" for number in range(200)]
        for line in lines:
            writer(line)
        clock.advance(DELAY)
        self.assertFalse(is_writable(writing))
        received = b""
        while len(received) < 200 * 1024:
            received += os.read(reading, 1 << 16)
            clock.advance(RETRY)
        self.assertEqual(received.decode().splitlines(), lines)

    def test_full_pipe_opened_again(self) -> None:
        """A descriptor of its own that does not block leaves the one that others share as it was, and is written to in large pieces."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        own = unblocked(writing)
        self.addCleanup(os.close, own)
        self.assertEqual((own != writing, os.get_blocking(writing), os.get_blocking(own)), (True, True, False))
        os.close(writing)
        clock, registry = Clock(), Registry()
        writer = LineWriter(own, registry)
        writer.batch(clock)
        lines = [f"{number:01023d}" for number in range(200)]
        for line in lines:
            writer(line)
        clock.advance(DELAY)
        received = b""
        while len(received) < 200 * 1024:
            received += os.read(reading, 1 << 16)
            clock.advance(RETRY)
        self.assertEqual(received.decode().splitlines(), lines)
        self.assertEqual(registry.counter("kdns_log_lines_total", "").counter().value, 200)

    def test_full_terminal(self) -> None:
        """A terminal that nobody looks at is never waited for, not even when it has room for a part of a piece."""
        looking, writing = pty.openpty()
        own = unblocked(writing)
        for descriptor in (looking, writing, own):
            self.addCleanup(os.close, descriptor)
        self.assertNotEqual(own, writing)
        clock, registry = Clock(), Registry()
        writer = LineWriter(own, registry)
        writer.batch(clock)
        for number in range(3 * MOST_WAITING // 1024):
            writer(f"{number:01023d}")
            clock.advance(DELAY)
        clock.advance(RETRY)
        self.assertTrue(registry.counter("kdns_log_dropped_lines_total", "").counter().value > 1000)

    def test_nothing_to_open_again(self) -> None:
        """A file, a socket and a descriptor that there is not are taken as they are."""
        here, there = socket.socketpair()
        with tempfile.TemporaryFile() as file, here, there:
            for descriptor in (file.fileno(), here.fileno(), 1 << 20):
                self.assertEqual(unblocked(descriptor), descriptor)

    def test_reader_gone(self) -> None:
        """A pipe whose reader is gone raises nothing."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        os.close(reading)
        registry = Registry()
        LineWriter(writing, registry)("one")
        self.assertEqual(registry.counter("kdns_log_dropped_lines_total", "").counter().value, 1)

    def test_file(self) -> None:
        """A file takes everything."""
        with tempfile.TemporaryFile() as file:
            LineWriter(file.fileno(), Registry())("x" * 100_000)
            self.assertEqual(os.fstat(file.fileno()).st_size, 100_001)
