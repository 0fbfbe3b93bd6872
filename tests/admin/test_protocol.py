# -*- test-case-name: tests.admin.test_protocol -*-
"""Connections of the admin socket, without a socket."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.commands import Arguments, Commands
from kdns.admin.service import IDLE, MAX_CONNECTIONS, MAX_LINE, AdminFactory, AdminProtocol


class ProtocolTests(SynchronousTestCase):
    """One connection."""

    def setUp(self) -> None:
        """Two commands: one that answers, one that waits."""
        self.clock = Clock()
        self.waiting: list[Deferred[dict[str, Any]]] = []
        self.dropped: list[Any] = []
        commands = Commands()
        commands.add("now", lambda arguments: {"x": arguments.get("x")})
        commands.add("later", self.later)
        self.factory = AdminFactory(self.clock, commands)
        self.transport, self.protocol = self.connected()

    def connected(self) -> tuple[StringTransportWithDisconnection, AdminProtocol]:
        """A connection."""
        transport: Any = StringTransportWithDisconnection()
        transport.abortConnection = transport.loseConnection
        protocol = self.factory.buildProtocol(None)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport, protocol

    def later(self, arguments: Arguments) -> Deferred[dict[str, Any]]:
        """A command that waits."""
        waiting: Deferred[dict[str, Any]] = Deferred(self.dropped.append)
        self.waiting.append(waiting)
        return waiting

    def lines(self) -> list[Any]:
        """What was said."""
        return [json.loads(line) for line in self.transport.value().splitlines()]

    def test_questions_in_turn(self) -> None:
        """Questions that come at once are answered one after another, in their order."""
        asked = b'{"command":"later"}\n{"command":"now","arguments":{"x":1}}\n{"command":"now","arguments":{"x":2}}\n'
        for octet in asked:
            self.protocol.dataReceived(bytes((octet,)))
        self.assertEqual((self.lines(), len(self.waiting)), ([], 1))
        self.waiting[0].callback({"x": 0})
        self.assertEqual(self.lines(), [{"result": {"x": number}} for number in range(3)])

    def test_idle(self) -> None:
        """A connection on which nothing moves is dropped, one whose command takes its time is not."""
        self.clock.advance(IDLE - 1)
        self.protocol.dataReceived(b'{"command":"later"}\n')
        self.clock.advance(IDLE * 3)
        self.assertTrue(self.transport.connected)
        self.waiting[0].callback({})
        self.clock.advance(IDLE - 1)
        self.assertTrue(self.transport.connected)
        self.clock.advance(1)
        self.assertFalse(self.transport.connected)
        self.assertEqual((self.clock.getDelayedCalls(), self.factory.connections), ([], set()))

    def test_hung_up(self) -> None:
        """Who hangs up has its question dropped."""
        self.protocol.dataReceived(b'{"command":"later"}\n')
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.dropped, self.waiting)
        self.assertEqual((self.clock.getDelayedCalls(), self.factory.connections), ([], set()))

    def test_long_line(self) -> None:
        """A line without an end is told so and dropped."""
        self.protocol.dataReceived(b"x" * (MAX_LINE + 2))
        self.assertEqual(self.lines(), [{"error": "the question is too long"}])
        self.assertFalse(self.transport.connected)

    def test_full(self) -> None:
        """The number of connections is bounded."""
        for _ in range(MAX_CONNECTIONS - 1):
            self.assertFalse(self.factory.full)
            self.connected()
        self.assertTrue(self.factory.full)
        self.factory.drop_all()
        self.assertEqual((self.factory.connections, self.clock.getDelayedCalls()), (set(), []))
