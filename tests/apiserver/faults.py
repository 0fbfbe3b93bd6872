# -*- test-case-name: tests.apiserver.test_faults -*-
"""
Trouble on demand: which requests get which fault, and what a fault does to the lines of a watch.

Values only; carrying out what concerns bytes and connections is left to http.py and server.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tests.apiserver.watching import Line, LineKind


class FaultKind(Enum):
    """What goes wrong."""

    HANG = "the request is read and nothing is ever said"
    DELAY = "the answer comes after some seconds"
    STATUS = (
        "an HTTP status with a Status body; on an open watch, or after some lines of one, an ERROR event and the end"
    )
    STALE = "a replica that knows no version newer than the one given answers"
    CUT = "the connection is closed"
    HALF_CLOSE = "the server's direction of the connection is closed"
    RESET = "the connection is reset"
    DRIP = "the body comes a few bytes at a time"
    SILENT = "a watch stays open and says nothing more, no bookmarks either"
    CORRUPT = "watch lines, or the body of another answer, are no JSON"
    LONG_LINE = "watch lines are padded to a great length"
    SKIP_BOOKMARKS = "bookmarks are left out (not the one that ends the initial events)"
    DUPLICATE = "watch lines come twice"
    REORDER = "watch lines change places with the next one"


BREAKING = (FaultKind.CUT, FaultKind.HALF_CLOSE, FaultKind.RESET)
_ALTERING = (
    FaultKind.CORRUPT,
    FaultKind.LONG_LINE,
    FaultKind.SKIP_BOOKMARKS,
    FaultKind.DUPLICATE,
    FaultKind.REORDER,
)


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """
    One fault and the requests it is for.

    A breaking fault (cut, half-close, reset) strikes before any byte of the answer, unless *after_bytes* (of the body) or
    *after_lines* (of a watch) says otherwise.
    """

    kind: FaultKind
    resource: str = ""  # plural; empty: any
    verb: str = ""  # get, list, watch, create ...; empty: any
    times: int | None = 1  # so many requests; None: until cleared
    after_bytes: int | None = None  # body bytes that still get through
    after_lines: int | None = None  # watch lines that still get through
    mid_line: bool = False  # a breaking fault lets half of the next line through
    lines: int | None = None  # so many lines are altered; None: all from there on
    seconds: float = 1.0  # of a delay; between drips
    size: int = 1 << 22  # bytes: of a long line
    chunk: int = 16  # bytes: of a drip
    code: int = 500  # of a status
    message: str = "injected fault"
    retry_after: int = 0  # whole seconds of a status, 0: none
    version: int = 0  # of a stale replica


@dataclass(slots=True)
class FaultPlan:
    """The faults waiting for requests."""

    _waiting: list[tuple[Fault, int | None]] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Let the fault strike requests from now on."""
        self._waiting.append((fault, fault.times))

    def clear(self, fault: Fault | None = None) -> None:
        """Take one fault back, or all of them."""
        self._waiting = [] if fault is None else [pair for pair in self._waiting if pair[0] is not fault]

    def take(self, verb: str, plural: str) -> tuple[Fault, ...]:
        """The faults that strike this request; each is used up by one."""
        struck: list[Fault] = []
        left: list[tuple[Fault, int | None]] = []
        for fault, times in self._waiting:
            if fault.verb in ("", verb) and fault.resource in ("", plural):
                struck.append(fault)
                times = None if times is None else times - 1
            if times is None or times > 0:
                left.append((fault, times))
        self._waiting = left
        return tuple(struck)


@dataclass(slots=True)
class _Altering:
    fault: Fault
    start: int  # lines of the watch before it strikes
    left: int | None


@dataclass(slots=True)
class LineTrouble:
    """What the faults of one watch do to its lines."""

    silent: bool = False
    broken: Fault | None = None  # what ends the watch after the lines handed out last
    _seen: int = 0
    _altering: list[_Altering] = field(default_factory=list)
    _breaking: list[tuple[Fault, int]] = field(default_factory=list)
    _silent_from: int | None = None
    _held: bytes = b""

    def add(self, fault: Fault) -> None:
        """A fault for the lines from here on; one that breaks without a line count is the caller's."""
        start = self._seen + (fault.after_lines or 0)
        if fault.kind is FaultKind.SILENT:
            self._silent_from = start
            self.silent = self._seen >= start
        elif fault.kind in (*BREAKING, FaultKind.STATUS) and (fault.after_lines is not None or fault.mid_line):
            self._breaking.append((fault, start))
        elif fault.kind in _ALTERING:
            self._altering.append(_Altering(fault, start, fault.lines))

    def pass_on(self, line: Line) -> bytes:
        """What is written in place of a line."""
        if self.silent or self.broken:
            return b""
        data = line.data
        for fault, start in self._breaking:
            if fault.mid_line and self._seen >= start:
                self.broken = fault
                return data[: len(data) // 2]
        for altering in self._altering:
            if self._seen >= altering.start and altering.left != 0:
                data = self._alter(altering, line, data)
        self._seen += 1
        self.silent = self._silent_from is not None and self._seen >= self._silent_from
        for fault, start in self._breaking:
            if not fault.mid_line and self._seen >= start:
                self.broken = fault
        return data

    def _alter(self, altering: _Altering, line: Line, data: bytes) -> bytes:
        kind = altering.fault.kind
        if (kind is FaultKind.SKIP_BOOKMARKS) is not (line.kind is LineKind.BOOKMARK):
            # Skipping concerns ordinary bookmarks only, and nothing else concerns them.
            return data
        if kind is FaultKind.REORDER:
            if self._held:
                data, self._held = data + self._held, b""
            else:
                data, self._held = b"", data
                return data  # counted as one with its partner
        elif kind is FaultKind.SKIP_BOOKMARKS:
            data = b""
        elif kind is FaultKind.DUPLICATE:
            data += data
        elif kind is FaultKind.LONG_LINE:
            data = b'{"padding":"' + b"x" * altering.fault.size + b'",' + data[1:]
        else:
            data = corrupted(data)
        if altering.left is not None:
            altering.left -= 1
        return data


def corrupted(data: bytes) -> bytes:
    """The same number of bytes and lines, with the middle third turned to bytes that are neither JSON nor UTF-8."""
    third = len(data) // 3
    return data[:third] + b"\xff" * third + data[2 * third :]
