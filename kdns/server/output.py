# -*- test-case-name: tests.server.test_output -*-
"""
Where lines for the operator go: standard output, which may be slow, stuck or gone, and must never hold up an answer.

Lines are gathered for some milliseconds and then written together, only as far as the descriptor takes them without blocking. What does not
fit into a bounded queue is dropped and counted, and when there is room again a line says how much that was. The descriptor is not made
non-blocking, because others may share it (a terminal, a parent process). Pipes and terminals are opened a second time instead
(:func:`unblocked`), and where that is not allowed the descriptor is asked before each piece. A file blocks whatever one does.
"""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from kdns.core.metrics import Counter, Registry
from kdns.server.log_format import LineFormat, LogLine, as_text

MOST_WAITING = 1 << 20
"""Octets that may wait to be written: some 10,000 lines of the query log."""

MOST_GATHERED = 1024
"""Lines that are gathered until they are made into octets, which bounds what comes within one turn of the reactor."""

DELAY = 0.01
"""Seconds that lines are gathered: each waking costs as much as several lines."""

PIECE = select.PIPE_BUF
"""Octets that a pipe takes whole when it says that it takes any (pipe(7)); 4096 on Linux."""

LARGE_PIECE = 1 << 16
"""Octets written at a time to what takes as many as it likes: a file, or a descriptor that does not block."""

MOST_PER_TURN = 1 << 18
"""Octets written in one turn of the reactor; a pipe takes them in less than a millisecond."""

RETRY = 0.02
"""Seconds until a descriptor that takes nothing is asked again."""

MEND = 5.0
"""Seconds until a descriptor that failed is tried again: a disk may have room by then. Lines that come meanwhile are dropped."""

LAST_PATIENCE = 1.0
"""Seconds that the end of the process waits for the last lines."""


def takes_octets(descriptor: int, patience: float = 0.0) -> bool:
    """Whether a write would not block, waiting *patience* seconds for it; a reader that is gone does not block either."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


def unblocked(descriptor: int) -> int:
    """
    A new descriptor for the same pipe or terminal that does not block, or the same one where there is none to be had.

    A terminal that is nearly full takes a part of a write and blocks for the rest, so asking it is not enough. Who runs as another user
    than the one who made the pipe may not open it again.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            return descriptor
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return descriptor


def lost_lines(lost: int) -> LogLine:
    """What is said of lines that were dropped."""
    return LogLine(f"{lost} log lines dropped: the output takes them too slowly", "WARNING", details={"dropped": lost})


class LineWriter:
    """
    Writes lines to a descriptor; it is a :data:`kdns.plugin.seam.Output`.

    Until :meth:`batch` and after :meth:`close` each line is written when it comes. Call it in the reactor's thread only. Every line is
    counted, as written when the last of its octets was, or as dropped.

    :param line_format: how the line looks that says how many were dropped.
    """

    def __init__(
        self,
        descriptor: int,
        registry: Registry,
        *,
        ready: Callable[[int], bool] = takes_octets,
        write: Callable[[int, bytes], int] = os.write,
        line_format: LineFormat = as_text,
    ) -> None:
        self._descriptor = descriptor
        self._write = write
        self._format = line_format
        self._dropped: Counter = registry.counter(
            "kdns_log_dropped_lines_total", "Lines that were not written because the output took them too slowly."
        ).counter()
        self._written: Counter = registry.counter("kdns_log_lines_total", "Lines that were written.").counter()
        self._reactor: Any = None
        self._call: Any = None
        self._lines: list[str] = []
        self._chunks: deque[tuple[bytes, int]] = deque()
        """Octets that wait, each with the number of its lines."""

        self._waiting = 0
        """Octets of all chunks."""

        self._sent = 0
        """Octets of the first chunk that were written."""

        self._lost = 0
        self._broken = False
        self._torn = False
        """Whether only the first part of a line was written before the descriptor failed."""

        self._mend: Any = None
        asks = _may_block(descriptor)
        self._piece = PIECE if asks else LARGE_PIECE
        self._ready = ready if asks else _always

    def __call__(self, line: str) -> None:
        """Write a line, now or soon, or count it as dropped."""
        lines = self._lines
        lines.append(line)
        if self._call is None or len(lines) >= MOST_GATHERED:
            self._wake()

    def batch(self, reactor: Any) -> None:
        """Gather lines while *reactor* runs, from now on."""
        self._reactor = reactor

    def close(self) -> None:
        """Write what waits, with some patience, and gather no more; the descriptor stays open."""
        self._reactor = None
        for call in (self._call, self._mend):
            if call is not None:
                call.cancel()
        self._call = self._mend = None
        end = monotonic() + LAST_PATIENCE
        self._flush()
        while self._waiting and monotonic() < end:
            takes_octets(self._descriptor, end - monotonic())
            self._flush()

    def _wake(self) -> None:
        """The first line of a batch came, or as many as are gathered."""
        if self._reactor is None:
            self._flush()
            return
        if self._broken or len(self._lines) >= MOST_GATHERED:
            self._gather()
        elif self._call is None:
            self._call = self._reactor.callLater(DELAY, self._flush)

    def _flush(self) -> None:
        self._call = None
        self._gather()
        written = 0
        while self._chunks and written < MOST_PER_TURN:
            taken = self._write_piece()
            if not taken:
                break
            written += taken
        if not self._chunks and self._lost and written:
            lost, self._lost = self._lost, 0
            self(self._format(lost_lines(lost)))
        elif self._chunks and self._reactor is not None:
            self._call = self._reactor.callLater(0 if written >= MOST_PER_TURN else RETRY, self._flush)

    def _gather(self) -> None:
        """Make octets of the lines that were gathered, as many as there is room for; the rest is dropped, the latest first."""
        lines = self._lines
        if not lines:
            return
        kept = 0 if self._broken else len(lines)
        octets = (b"\n" if self._torn else b"") + _encoded(lines) if kept else b""
        if kept and self._waiting + len(octets) > MOST_WAITING:
            kept, octets = _fitting(lines, MOST_WAITING - self._waiting)
        if kept:
            self._torn = False
            self._chunks.append((octets, kept))
            self._waiting += len(octets)
        if kept < len(lines):
            self._dropped.value += len(lines) - kept
            self._lost += len(lines) - kept
        lines.clear()

    def _write_piece(self) -> int:
        """Write as much as is certain not to block; 0 when that is nothing."""
        octets, count = self._chunks[0]
        try:
            if not self._ready(self._descriptor):
                return 0
            taken = self._write(self._descriptor, octets[self._sent : self._sent + self._piece])
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0
        self._sent += taken
        self._waiting -= taken
        if self._sent >= len(octets):
            self._chunks.popleft()
            self._sent = 0
            self._written.value += count
        return taken

    def _break(self) -> None:
        """The reader is gone, or the disk is full. Answering goes on; nobody is left to be told."""
        octets, _ = self._chunks[0]
        self._torn = self._torn or (self._sent > 0 and octets[self._sent - 1 : self._sent] != b"\n")
        lost = sum(count for _, count in self._chunks)
        self._dropped.value += lost
        self._lost += lost
        self._chunks.clear()
        self._waiting = self._sent = 0
        if self._reactor is not None:
            self._broken = True
            self._mend = self._reactor.callLater(MEND, self._try_again)

    def _try_again(self) -> None:
        self._mend = None
        self._broken = False


def _encoded(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", errors="backslashreplace")


def _fitting(lines: list[str], room: int) -> tuple[int, bytes]:
    """How many lines fit into so many octets, and their octets."""
    octets = bytearray()
    for kept, line in enumerate(lines):
        more = _encoded([line])
        if len(octets) + len(more) > room:
            return kept, bytes(octets)
        octets += more
    return len(lines), bytes(octets)


def _always(descriptor: int) -> bool:
    """A file takes all that is written, asking would say nothing else (poll(2)); and what does not block says so when it is written to."""
    return True


def _may_block(descriptor: int) -> bool:
    try:
        return os.get_blocking(descriptor) and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True
