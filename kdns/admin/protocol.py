# -*- test-case-name: tests.admin.test_protocol -*-
"""
The connections of the admin socket: a line of JSON in, a line of JSON out, one question after another.

A line is bounded, a connection is dropped when nothing moves on it, and whoever hangs up has its question dropped.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from kdns.admin.commands import Commands

MOST_LINE = 16384
"""Octets of a question: names and flags; a name has 255."""

MOST_CONNECTIONS = 16
"""Operators and scripts that ask at a time."""

IDLE = 60.0
"""Seconds without a question, or without an octet of a reply taken, after which a connection is dropped."""


class AdminProtocol(LineReceiver, TimeoutMixin):
    """One connection."""

    delimiter = b"\n"
    MAX_LENGTH = MOST_LINE
    transport: Any

    def __init__(self, factory: AdminFactory) -> None:
        self._context = factory
        self._asked: Deferred[bytes] | None = None

    def callLater(self, period: float, func: Any) -> Any:
        """What TimeoutMixin keeps the time with."""
        return self._context.reactor.callLater(period, func)

    def connectionMade(self) -> None:
        """Wait for a question."""
        self._context.connections.add(self)
        self.setTimeout(IDLE)

    def lineReceived(self, line: bytes) -> None:
        """Carry out a question; what follows it on the connection waits."""
        self.setTimeout(None)
        self.pauseProducing()
        asked = self._asked = self._context.commands.run(line)
        asked.addCallback(self._answer)

    def _answer(self, reply: bytes) -> None:
        self._asked = None
        if self not in self._context.connections:
            return
        self.sendLine(reply)
        self.setTimeout(IDLE)
        self.resumeProducing()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say so and hang up: where the next question would begin is not known."""
        self.sendLine(b'{"error":"the question is too long"}')
        self.transport.loseConnection()

    def timeoutConnection(self) -> None:
        """Nothing moved."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end hung up: nobody waits for the answer."""
        self.setTimeout(None)
        self._context.connections.discard(self)
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()


class AdminFactory(Factory):
    """Makes the connections, and knows which there are."""

    noisy = False

    def __init__(self, reactor: Any, commands: Commands) -> None:
        self.reactor = reactor
        self.commands = commands
        self.connections: set[AdminProtocol] = set()

    @property
    def full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self.connections) >= MOST_CONNECTIONS

    def buildProtocol(self, addr: Any) -> AdminProtocol:
        """For one connection."""
        return AdminProtocol(self)

    def drop_all(self) -> None:
        """Hang up on everybody; what was written is sent if it is taken."""
        for connection in list(self.connections):
            connection.transport.loseConnection()
