# -*- test-case-name: tests.cluster.test_lines -*-
"""
From pieces of a stream to lines: a core module. The caller reads the stream, and decides in what slices the lines are worked off.

A line longer than the limit is not kept: its octets are thrown away as they come, and :class:`Overlong` stands in its place.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

LINE_LIMIT = 4 << 20
"""Octets. The API server itself takes no object over 1.5 MiB from a client, and its JSON is hardly longer than what came in."""


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line that was too long to keep."""

    octets: int
    head: bytes
    """The beginning of it, where the name of the object may stand."""


HEAD = 1024
"""Octets kept of an overlong line."""


class LineSplitter:
    """
    Cut a stream at newlines; what stands behind the last newline is no line.

    :ivar buffered: octets that are held, whole lines and the unfinished one.
    """

    __slots__ = ("_dropped", "_head", "_limit", "_lines", "_partial", "_partial_size", "buffered")

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._lines: deque[bytes | Overlong] = deque()
        self._partial: list[bytes] = []
        self._partial_size = 0
        # Octets of the line under way that were thrown away; 0 while it is kept.
        self._dropped = 0
        self._head = b""
        self.buffered = 0

    def __len__(self) -> int:
        """How many lines are ready."""
        return len(self._lines)

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
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
        """The line under way is complete."""
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
        """The next line, without its end; None when there is none yet."""
        if not self._lines:
            return None
        line = self._lines.popleft()
        if not isinstance(line, Overlong):
            self.buffered -= len(line)
        return line

    @property
    def unfinished(self) -> int:
        """Octets behind the last newline, kept or not."""
        return self._dropped or self._partial_size
