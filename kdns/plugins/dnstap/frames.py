# -*- test-case-name: tests.plugins.dnstap.test_frames -*-
"""
Frame Streams, the framing of dnstap, as the writing side of a bidirectional stream sees it: a core module of *dnstap*.

::

    writer   READY ------> START, data, data, ... STOP ------>
    reader         ACCEPT ------>                     FINISH

A data frame is its length in four bytes and its payload. A control frame is four zero bytes, its length, its type, and fields: a type, a
length and a value each.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"

MOST_CONTROL = 512
"""Bytes of a control frame without its first eight, as in the reference implementation."""

_FIELD_CONTENT_TYPE = 1

_WORD = Struct("!I")
_TWO_WORDS = Struct("!II")


class Control(IntEnum):
    """Types of control frames."""

    ACCEPT = 1
    START = 2
    STOP = 3
    READY = 4
    FINISH = 5


class BadFrame(ValueError):
    """What came is no control frame."""


def control_frame(control: Control, content_type: bytes = b"") -> bytes:
    """A control frame, with a content type where there is one."""
    fields = _TWO_WORDS.pack(_FIELD_CONTENT_TYPE, len(content_type)) + content_type if content_type else b""
    return _TWO_WORDS.pack(0, 4 + len(fields)) + _WORD.pack(control) + fields


def data_frame(payload: bytes) -> bytes:
    return _WORD.pack(len(payload)) + payload


class ControlReader:
    """Cuts what a reader sends into control frames; a reader sends nothing else."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[Control, list[bytes]]]:
        """
        Take some bytes; the control frames that are complete, each with its content types.

        :raises BadFrame: it is something else.
        """
        found = []
        self._buffer += data
        while len(self._buffer) >= 8:
            zero, length = _TWO_WORDS.unpack_from(self._buffer)
            if zero or not 4 <= length <= MOST_CONTROL:
                raise BadFrame("a data frame, or a control frame of an impossible length")
            if len(self._buffer) < 8 + length:
                break
            found.append(_control(self._buffer[8 : 8 + length]))
            self._buffer = self._buffer[8 + length :]
        return found


def _control(frame: bytes) -> tuple[Control, list[bytes]]:
    (number,) = _WORD.unpack_from(frame)
    try:
        control = Control(number)
    except ValueError:
        raise BadFrame(f"a control frame of type {number}") from None
    types = []
    position = 4
    while position < len(frame):
        if position + 8 > len(frame):
            raise BadFrame("a field that is cut short")
        field, length = _TWO_WORDS.unpack_from(frame, position)
        position += 8 + length
        if position > len(frame):
            raise BadFrame("a field that is cut short")
        if field == _FIELD_CONTENT_TYPE:
            types.append(frame[position - length : position])
    return control, types
