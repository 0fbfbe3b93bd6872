# -*- test-case-name: tests.server.test_mmsg -*-
"""The layout of message headers for ``recvmmsg`` and ``sendmmsg`` on 64-bit Linux, and of ``bytes`` in CPython."""

from __future__ import annotations

import ctypes
from struct import Struct

NAME = 28  # sizeof(struct sockaddr_in6), the larger of the two
CONTROL = 64  # room for one in6_pktinfo or in_pktinfo with its head
HEAD = 64  # sizeof(struct mmsghdr)
IOVEC = 16
MSGHDR = Struct("=QI4xQQQQi4xI4x")  # name, namelen, iov, iovlen, control, controllen, flags; then msg_len
BYTES_HEAD = bytes.__basicsize__ - 1
"""Offset of the content in a bytes object."""


def address_of(buffer: bytearray | bytes) -> int:
    """The address of a buffer's content. The buffer must outlive its use, and a bytearray must not change its size."""
    if isinstance(buffer, bytes):
        return id(buffer) + BYTES_HEAD
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
