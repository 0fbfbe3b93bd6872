# -*- test-case-name: tests.server.test_output -*-
"""
Where lines for the operator go: standard output, which may be slow, stuck or gone, and must never hold up an answer.

Lines are gathered and written once per turn of the reactor, only as far as the descriptor takes them without blocking. What does not fit
into a bounded queue is dropped and counted, and when there is room again a line says how much that was. The descriptor is not made
non-blocking, because others may share it (a terminal, a parent process); instead it is asked before each piece.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from time import monotonic
from typing import Any

from kdns.core.metrics import Counter, Registry

MOST_WAITING = 1 << 20
"""Characters that may wait to be written: some 10,000 lines of the query log."""

PIECE = select.PIPE_BUF
"""Octets that a pipe takes whole when it says that it takes any (pipe(7)); 4096 on Linux."""

FILE_PIECE = 1 << 16
"""Octets written to a file at a time."""

MOST_PER_TURN = 1 << 18
"""Octets written in one turn of the reactor; a pipe takes them in less than a millisecond."""

RETRY = 0.02
"""Seconds until a descriptor that takes nothing is asked again."""

LAST_PATIENCE = 1.0
"""Seconds that the end of the process waits for the last lines."""


def takes_octets(descriptor: int, patience: float = 0.0) -> bool:
    """Whether a write would not block, waiting *patience* seconds for it; a reader that is gone does not block either."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


class LineWriter:
    """
    Writes lines to a descriptor; it is a :data:`kdns.plugins.seam.Output`.

    Until :meth:`batch` and after :meth:`close` each line is written when it comes. Call it in the reactor's thread only.
    """

    def __init__(
        self,
        descriptor: int,
        registry: Registry,
        *,
        ready: Callable[[int], bool] = takes_octets,
        write: Callable[[int, bytes], int] = os.write,
    ) -> None:
        self._descriptor = descriptor
        self._ready = ready
        self._write = write
        self._dropped: Counter = registry.counter(
            "kdns_log_dropped_lines_total", "Lines that were not written because the output took them too slowly."
        ).counter()
        self._reactor: Any = None
        self._call: Any = None
        self._lines: list[str] = []
        self._size = 0
        self._octets = b""
        self._sent = 0
        self._lost = 0
        self._broken = False
        self._piece = _piece(descriptor)

    def __call__(self, line: str) -> None:
        """Write a line, now or soon, or count it as dropped."""
        size = len(line) + 1
        if self._broken or self._size + self._unsent + size > MOST_WAITING:
            self._dropped.value += 1
            self._lost += 1
            return
        self._lines.append(line)
        self._size += size
        if self._reactor is None:
            self._flush()
        elif self._call is None:
            self._call = self._reactor.callLater(0, self._flush)

    @property
    def _unsent(self) -> int:
        return len(self._octets) - self._sent

    def batch(self, reactor: Any) -> None:
        """Write once per turn of *reactor* from now on; call it when the reactor runs."""
        self._reactor = reactor

    def close(self) -> None:
        """Write what waits, with some patience, and gather no more; the descriptor stays open."""
        self._reactor = None
        if self._call is not None:
            self._call.cancel()
            self._call = None
        end = monotonic() + LAST_PATIENCE
        self._flush()
        while self._unsent and monotonic() < end:
            takes_octets(self._descriptor, end - monotonic())
            self._flush()

    def _flush(self) -> None:
        self._call = None
        self._gather()
        written = 0
        while self._unsent and written < MOST_PER_TURN:
            taken = self._write_piece()
            if not taken:
                break
            written += taken
        if not self._unsent and self._lost and not self._broken:
            lost, self._lost = self._lost, 0
            self(f"[WARNING] {lost} log lines dropped: the output takes them too slowly")
            return
        if self._unsent and self._reactor is not None:
            self._call = self._reactor.callLater(0 if written >= MOST_PER_TURN else RETRY, self._flush)

    def _gather(self) -> None:
        if self._lines:
            self._lines.append("")
            self._octets = self._octets[self._sent :] + "\n".join(self._lines).encode(
                "utf-8", errors="backslashreplace"
            )
            self._sent = 0
            self._lines.clear()
            self._size = 0

    def _write_piece(self) -> int:
        """Write as much as is certain not to block; 0 when that is nothing."""
        try:
            if not self._ready(self._descriptor):
                return 0
            taken = self._write(self._descriptor, self._octets[self._sent : self._sent + self._piece])
        except BlockingIOError:
            return 0
        except OSError:
            # The reader is gone, or the disk is full. Answering goes on; nobody is left to be told.
            self._broken = True
            self._dropped.value += self._octets.count(b"\n", self._sent)
            self._octets, self._sent = b"", 0
            return 0
        self._sent += taken
        return taken


def _piece(descriptor: int) -> int:
    try:
        return FILE_PIECE if stat.S_ISREG(os.fstat(descriptor).st_mode) else PIECE
    except OSError:
        return PIECE
