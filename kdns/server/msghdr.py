# -*- test-case-name: tests.server.test_mmsg -*-
"""How Linux lays out what ``recvmmsg`` and ``sendmmsg`` work on, where pointers have 8 octets, and where CPython keeps octets."""

from __future__ import annotations

import ctypes
from struct import Struct

NAME = 28  # sizeof(struct sockaddr_in6), the larger of the two
CONTROL = 64  # room for one in6_pktinfo or in_pktinfo with its head
HEAD = 64  # sizeof(struct mmsghdr)
IOVEC = 16
MSGHDR = Struct("=QI4xQQQQi4xI4x")  # name, namelen, iov, iovlen, control, controllen, flags; then msg_len
BYTES_HEAD = bytes.__basicsize__ - 1
"""Where the octets of a bytes object begin, behind its head."""


def address_of(buffer: bytearray | bytes) -> int:
    """Where the octets of a buffer lie; it must live as long as that is used, and a bytearray must not change its size."""
    if isinstance(buffer, bytes):
        return id(buffer) + BYTES_HEAD
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
