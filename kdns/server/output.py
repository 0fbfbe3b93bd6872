# -*- test-case-name: tests.server.test_output -*-
"""
Write log lines to standard output, which may be slow, stuck or closed, and must never delay an answer.

Lines are collected for some milliseconds and written together, as far as the descriptor takes them without blocking. Lines that do not fit
into a bounded queue are dropped and counted; when there is room again, a line gives their number. The descriptor is not made non-blocking,
because a terminal or a parent process may share it. Pipes and terminals are opened a second time instead (:func:`unblocked`). Where that is
not allowed, the descriptor is polled before each piece. A regular file always blocks.
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
from kdns.server.logs import LineFormat, LogLine, as_text

MOST_WAITING = 1 << 20
"""Bytes that may wait to be written: some 10,000 lines of the query log."""

MOST_COLLECTED = 1024
"""Lines that are collected before they are encoded; bounds what one turn of the reactor can add."""

DELAY = 0.01
"""Seconds that lines are collected: a timer costs as much as several lines."""

PIECE = select.PIPE_BUF
"""Bytes that a pipe takes whole when poll says that it takes any (pipe(7)); 4096 on Linux."""

LARGE_PIECE = 1 << 16
"""Bytes written at a time to a file, or to a descriptor that does not block."""

MOST_PER_TURN = 1 << 18
"""Bytes written in one turn of the reactor; a pipe takes them in less than a millisecond."""

RETRY = 0.02
"""Seconds until a descriptor that takes nothing is tried again."""

RETRY_FAILED = 5.0
"""Seconds until a descriptor that failed is tried again: a disk may have room then. Lines in between are dropped."""

LAST_PATIENCE = 1.0
"""Seconds that the end of the process waits for the last lines."""


def is_writable(descriptor: int, patience: float = 0.0) -> bool:
    """Whether a write would not block, after waiting up to *patience* seconds. A pipe without a reader does not block either."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


def unblocked(descriptor: int) -> int:
    """
    A new non-blocking descriptor for the same pipe or terminal; the same descriptor where it cannot be opened again.

    A terminal that is nearly full takes a part of a write and blocks for the rest, so polling it is not enough. A process of another user
    than the pipe's may not open it again.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            return descriptor
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return descriptor


def lost_lines(lost: int) -> LogLine:
    """The line about lines that were dropped."""
    return LogLine(f"{lost} log lines dropped: the output takes them too slowly", "WARNING", details={"dropped": lost})


class LineWriter:
    """
    Writes lines to a descriptor; it is a :data:`kdns.plugin.seam.Output`.

    Until :meth:`batch` and after :meth:`close` each line is written at once. Call it in the reactor's thread only. Every line is counted:
    as written after its last byte, or as dropped.

    :param line_format: formats the line about dropped lines.
    """

    def __init__(
        self,
        descriptor: int,
        registry: Registry,
        *,
        ready: Callable[[int], bool] = is_writable,
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
        """Encoded lines that wait, each chunk with the number of its lines."""

        self._waiting = 0
        """Bytes of all chunks."""

        self._sent = 0
        """Bytes of the first chunk that were written."""

        self._lost = 0
        self._broken = False
        self._torn = False
        """Whether the descriptor failed in the middle of a line."""

        self._retry_call: Any = None
        asks = _may_block(descriptor)
        self._piece = PIECE if asks else LARGE_PIECE
        self._ready = ready if asks else _always

    def __call__(self, line: str) -> None:
        """Write a line at once or soon, or count it as dropped."""
        lines = self._lines
        lines.append(line)
        if self._call is None or len(lines) >= MOST_COLLECTED:
            self._wake()

    def batch(self, reactor: Any) -> None:
        """Collect lines from now on, while *reactor* runs."""
        self._reactor = reactor

    def close(self) -> None:
        """Write the queued lines, for :data:`LAST_PATIENCE` seconds at most; the descriptor stays open."""
        self._reactor = None
        for call in (self._call, self._retry_call):
            if call is not None:
                call.cancel()
        self._call = self._retry_call = None
        end = monotonic() + LAST_PATIENCE
        self._flush()
        while self._waiting and monotonic() < end:
            is_writable(self._descriptor, end - monotonic())
            self._flush()

    def _wake(self) -> None:
        """The first line of a batch has come, or the last that is collected."""
        if self._reactor is None:
            self._flush()
            return
        if self._broken or len(self._lines) >= MOST_COLLECTED:
            self._encode_lines()
        elif self._call is None:
            self._call = self._reactor.callLater(DELAY, self._flush)

    def _flush(self) -> None:
        self._call = None
        self._encode_lines()
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

    def _encode_lines(self) -> None:
        """Encode the collected lines, as many as there is room for; drop the rest, latest first."""
        lines = self._lines
        if not lines:
            return
        kept = 0 if self._broken else len(lines)
        data = (b"\n" if self._torn else b"") + _encoded(lines) if kept else b""
        if kept and self._waiting + len(data) > MOST_WAITING:
            kept, data = _fitting(lines, MOST_WAITING - self._waiting)
        if kept:
            self._torn = False
            self._chunks.append((data, kept))
            self._waiting += len(data)
        if kept < len(lines):
            self._dropped.value += len(lines) - kept
            self._lost += len(lines) - kept
        lines.clear()

    def _write_piece(self) -> int:
        """Write as much as does not block; 0 if nothing."""
        data, count = self._chunks[0]
        try:
            if not self._ready(self._descriptor):
                return 0
            taken = self._write(self._descriptor, data[self._sent : self._sent + self._piece])
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0
        self._sent += taken
        self._waiting -= taken
        if self._sent >= len(data):
            self._chunks.popleft()
            self._sent = 0
            self._written.value += count
        return taken

    def _break(self) -> None:
        """The reader is gone, or the disk is full. Answering goes on."""
        data, _ = self._chunks[0]
        self._torn = self._torn or (self._sent > 0 and data[self._sent - 1 : self._sent] != b"\n")
        lost = sum(count for _, count in self._chunks)
        self._dropped.value += lost
        self._lost += lost
        self._chunks.clear()
        self._waiting = self._sent = 0
        if self._reactor is not None:
            self._broken = True
            self._retry_call = self._reactor.callLater(RETRY_FAILED, self._try_again)

    def _try_again(self) -> None:
        self._retry_call = None
        self._broken = False


def _encoded(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", errors="backslashreplace")


def _fitting(lines: list[str], room: int) -> tuple[int, bytes]:
    """How many lines fit into *room* bytes, and their encoding."""
    data = bytearray()
    for kept, line in enumerate(lines):
        more = _encoded([line])
        if len(data) + len(more) > room:
            return kept, bytes(data)
        data += more
    return len(lines), bytes(data)


def _always(descriptor: int) -> bool:
    """A regular file polls as ready always (poll(2)); a non-blocking descriptor refuses the write itself."""
    return True


def _may_block(descriptor: int) -> bool:
    try:
        return os.get_blocking(descriptor) and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True
