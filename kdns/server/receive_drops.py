# -*- test-case-name: tests.server.test_sockets -*-
"""How many datagrams the kernel dropped at a socket."""

from __future__ import annotations

import socket
from struct import Struct
from struct import error as StructError

_SO_MEMINFO = 55
"""Linux's socket option for the counters of a socket's buffers, from ``asm-generic/socket.h``; Python has no name for it."""

_MEMINFO = Struct("9I")
"""The ninth is the datagrams dropped because the receive buffer was full (``SK_MEMINFO_DROPS``)."""


def receive_drops(sock: socket.socket) -> int:
    """Datagrams that the kernel dropped because nobody read them in time; 0 where it does not tell, and for a closed socket."""
    try:
        return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])
    except (OSError, StructError):
        return 0
