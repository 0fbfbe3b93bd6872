# -*- test-case-name: tests.workers.test_channel -*-
"""
The connection between the parent and a worker: a stream socket that carries messages behind their lengths.

It counts bytes on both sides. The receiver acknowledges how many it has worked off, so the sender knows how far behind it is, and how old
the oldest change is that has not arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from kdns.workers.messages import encode

MAX_MESSAGE = 1 << 28
"""Bytes. The largest messages are reports and replies of the admin socket."""

READ_AT_ONCE = 1 << 14
"""Bytes that the reactor reads in one turn: some 100 changes, which take 2 ms."""

ACKNOWLEDGE = 1 << 18
"""Bytes after which a worker acknowledges without being asked."""


class Channel(Int32StringReceiver):
    """
    One end of the connection.

    :param decode: reads a message.
    :param received: called with each message.
    :param lost: called once when the other end is gone.
    :param acknowledged: whether the other end acknowledges what it has worked off.
    """

    MAX_LENGTH = MAX_MESSAGE
    transport: Any

    def __init__(
        self,
        decode: Callable[[bytes], Any],
        received: Callable[[Any], None],
        lost: Callable[[], None],
        clock: Callable[[], float],
        *,
        acknowledged: bool,
    ) -> None:
        self._decode = decode
        self._received = received
        self._lost = lost
        self._clock = clock
        self._tracked = acknowledged
        self.came = 0
        """Bytes of messages received so far."""

        self.sent = 0
        self.acknowledged = 0
        self._unacknowledged: deque[tuple[int, float]] = deque()
        """For each message under way: the bytes sent with it and all before, and when."""

    def connectionMade(self) -> None:
        """Read little at a time."""
        self.transport.bufferSize = READ_AT_ONCE

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; nothing happens when the other end is gone."""
        data = encode(message)
        self.sent += len(data)
        if self._tracked:
            self._unacknowledged.append((self.sent, self._clock()))
        self.sendString(data)

    def acknowledge(self, received: int) -> None:
        """The other end has worked off so many bytes."""
        self.acknowledged = received
        waiting = self._unacknowledged
        while waiting and waiting[0][0] <= received:
            waiting.popleft()

    @property
    def under_way(self) -> int:
        """Bytes that are not acknowledged."""
        return self.sent - self.acknowledged

    @property
    def behind(self) -> float:
        """Seconds since the oldest message was sent that is not acknowledged; 0 when all are."""
        return self._clock() - self._unacknowledged[0][1] if self._unacknowledged else 0.0

    def stringReceived(self, string: bytes) -> None:
        """Hand a message on."""
        self.came += len(string)
        self._received(self._decode(string))

    def lengthLimitExceeded(self, length: int) -> None:
        """Only a broken process sends such a message."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the owner."""
        self._lost()
