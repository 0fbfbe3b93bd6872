# -*- test-case-name: tests.server.test_udp_send_queue -*-
"""
UDP replies that are ready after the turn in which their query came, on Linux: those of one turn are sent in one system call.

An upstream's replies come several at a time. Building each client's address and packet information again through Python's socket takes
longer than the kernel takes to send. So the bytes that came with the query are copied into fixed memory and sent from there.

This module also has the layout of the message headers of ``recvmmsg`` and ``sendmmsg`` on 64-bit Linux, and of ``bytes`` in CPython.
"""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable
from struct import Struct
from typing import Any

from kdns.core.metrics import Counter

NAME = 28  # sizeof(struct sockaddr_in6), the larger of the two
CONTROL = 64  # room for one in6_pktinfo or in_pktinfo with its head
HEAD = 64  # sizeof(struct mmsghdr)
IOVEC = 16
MSGHDR = Struct("=QI4xQQQQi4xI4x")  # name, namelen, iov, iovlen, control, controllen, flags; then msg_len
BYTES_HEAD = bytes.__basicsize__ - 1
"""Offset of the content in a bytes object."""


def address_of(buffer: bytearray | bytes) -> int:
    """The address of a buffer's content. The buffer must stay alive, and a bytearray must keep its size."""
    if isinstance(buffer, bytes):
        return id(buffer) + BYTES_HEAD
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


MOST = 64
"""Replies per system call."""


def send_all(sendmmsg: Callable[..., int], fd: int, vector: int, first: int, end: int) -> int:
    """
    Send the messages of a vector from *first* to before *end*.

    :return: the number of messages that the kernel refused.
    """
    refused = 0
    while first < end:
        sent = sendmmsg(fd, vector + first * HEAD, end - first, socket.MSG_DONTWAIT)
        if sent > 0:
            first += sent
        elif ctypes.get_errno() != errno.EINTR:
            # The kernel refused the first message (no route, no buffer): it is lost, and the others are sent.
            refused += 1
            first += 1
    return refused


class UdpSendQueue:
    """
    Replies that wait for the end of the turn.

    :param name_size: the size of a client's address.
    :param wildcard: whether packet information comes with each query.
    :param lost: counts replies that the kernel refuses.
    """

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        sendmmsg: Callable[..., int],
        name_size: int,
        wildcard: bool,
        lost: Counter,
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._sendmmsg = sendmmsg
        self._lost = lost
        self._call: Any = None
        self._replies: list[bytes] = []
        """The kernel reads them in place, so they must stay in memory until they are sent."""

        self._names = bytearray(MOST * NAME)
        self._control = bytearray(MOST * CONTROL)
        self._iov = bytearray(MOST * IOVEC)
        self._heads = bytearray(MOST * HEAD)
        names, control, iov = address_of(self._names), address_of(self._control), address_of(self._iov)
        for i in range(MOST):
            ancillary = control + i * CONTROL if wildcard else 0
            MSGHDR.pack_into(self._heads, i * HEAD, names + i * NAME, name_size, iov + i * IOVEC, 1, ancillary, 0, 0, 0)
        self._v6 = sock.family == socket.AF_INET6
        self._vector = address_of(self._heads)
        self._quads = memoryview(self._heads).cast("Q")
        self._pointers = memoryview(self._iov).cast("Q")
        self._words = memoryview(self._control).cast("I")

    def add(self, reply: bytes, name: bytes, control: bytes) -> None:
        """
        Send a reply before the next turn begins.

        :param name: the client's address as the kernel gave it.
        :param control: the packet information that came with the query; empty when none did.
        """
        i = len(self._replies)
        if i == MOST:
            self._send()
            i = 0
        self._replies.append(reply)
        self._names[i * NAME : i * NAME + len(name)] = name
        self._pointers[i * 2] = id(reply) + BYTES_HEAD
        self._pointers[i * 2 + 1] = len(reply)
        if control:
            self._control[i * CONTROL : i * CONTROL + len(control)] = control
            self._quads[i * 8 + 5] = len(control)
            # The routing table chooses the interface, except for link-local addresses, which mean nothing without one.
            if not self._v6:
                self._words[i * 16 + 4] = 0
            elif self._words[i * 16 + 4] & 0xC0FF != 0x80FE:
                self._words[i * 16 + 8] = 0
        if self._call is None:
            self._call = self._reactor.callLater(0, self._due)

    def flush(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._send()

    def _due(self) -> None:
        self._call = None
        self._send()

    def _send(self) -> None:
        replies, self._replies = self._replies, []
        if replies and self._socket.fileno() >= 0:
            self._lost.value += send_all(self._sendmmsg, self._socket.fileno(), self._vector, 0, len(replies))
