"""Tests of :mod:`kdns.testing.memory.reactor`: time, turns, events, names, and Twisted's web server and client on top."""

from __future__ import annotations

import threading
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorThreads, IReactorTime
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kdns.testing.memory import MemoryReactor, NeverSettles
from kdns.testing.memory.reactor import MemoryUDPPort


class TimeTests(SynchronousTestCase):
    """The clock, and the order of things."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()

    def test_interfaces(self) -> None:
        """It is a reactor in Twisted's words."""
        for interface in (IReactorTime, IReactorCore, IReactorFDSet, IReactorThreads):
            verifyObject(interface, self.reactor)

    def test_each_call_at_its_own_time(self) -> None:
        """Advancing runs each call at its own time, and calls made meanwhile at theirs."""
        seen: list[tuple[str, float]] = []

        def note(name: str) -> None:
            seen.append((name, self.reactor.seconds()))

        def again() -> None:
            note("again")
            self.reactor.callLater(0.25, note, "child")

        self.reactor.callLater(2.0, note, "late")
        self.reactor.callLater(1.0, again)
        self.reactor.advance(1.5)
        self.assertEqual(seen, [("again", 1.0), ("child", 1.25)])
        self.reactor.pump([0.25, 0.25, 1.0])
        self.assertEqual(seen[2:], [("late", 2.0)])
        self.assertEqual((self.reactor.seconds(), self.reactor.rightNow), (3.0, 3.0))

    def test_looping_call(self) -> None:
        """A looping call runs as often as there is time for it."""
        runs: list[float] = []
        loop = LoopingCall(lambda: runs.append(self.reactor.seconds()))
        loop.clock = cast(IReactorTime, self.reactor)
        loop.start(1.0)
        self.reactor.advance(3.5)
        loop.stop()
        self.assertEqual(runs, [0.0, 1.0, 2.0, 3.0])
        self.assertEqual(self.reactor.leftovers(), [])

    def test_cancel_and_reset(self) -> None:
        """Delayed calls can be moved and cancelled."""
        seen: list[float] = []
        moved = self.reactor.callLater(1.0, lambda: seen.append(self.reactor.seconds()))
        gone = self.reactor.callLater(1.0, seen.append, -1.0)
        moved.delay(1.0)
        gone.cancel()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(5.0)
        self.assertEqual(seen, [2.0])

    def test_settle(self) -> None:
        """Settling does all that is due now, and counts the turns; later things wait."""
        seen: list[int] = []

        def count_down(number: int) -> None:
            seen.append(number)
            if number:
                self.reactor.callLater(0, count_down, number - 1)

        self.reactor.callLater(0, count_down, 3)
        self.reactor.callLater(0.001, seen.append, 99)
        self.assertEqual(self.reactor.settle(), 4)
        self.assertEqual((seen, self.reactor.turn()), ([3, 2, 1, 0], False))

    def test_never_settles(self) -> None:
        """Work without end at one moment is an error, not a hang."""

        def for_ever() -> None:
            self.reactor.callLater(0, for_ever)

        for_ever()
        with self.assertRaises(NeverSettles):
            self.reactor.settle()

    def test_failing_call(self) -> None:
        """A delayed call that raises is logged, and the others run."""
        seen: list[int] = []

        def fail() -> None:
            raise ZeroDivisionError

        self.reactor.callLater(1, fail)
        self.reactor.callLater(1, seen.append, 1)
        self.reactor.advance(1)
        self.assertEqual(seen, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_call_from_thread(self) -> None:
        """What another thread hands over runs in this one, at the next turn."""
        seen: list[threading.Thread] = []
        thread = threading.Thread(
            target=lambda: self.reactor.callFromThread(lambda: seen.append(threading.current_thread()))
        )
        thread.start()
        thread.join()
        self.assertEqual(seen, [])
        self.reactor.settle()
        self.assertEqual(seen, [threading.current_thread()])

    def test_system_events(self) -> None:
        """Triggers run in their phases when the test fires the event; one taken back does not."""
        seen: list[str] = []
        waiting: Deferred[None] = Deferred()

        def before() -> Deferred[None]:
            seen.append("before")
            return waiting

        self.reactor.addSystemEventTrigger("after", "shutdown", seen.append, "after")
        self.reactor.addSystemEventTrigger("before", "shutdown", before)
        self.reactor.removeSystemEventTrigger(
            self.reactor.addSystemEventTrigger("during", "shutdown", seen.append, "never")
        )
        self.assertTrue(self.reactor.running)
        self.reactor.fireSystemEvent("shutdown")
        self.assertEqual(seen, ["before"])
        waiting.callback(None)
        self.assertEqual(seen, ["before", "after"])
        self.assertFalse(self.reactor.running)

    def test_call_when_running_and_stop(self) -> None:
        """The reactor runs from the start; stopping it closes what is open, at the next turn."""
        seen: list[str] = []
        self.reactor.callWhenRunning(seen.append, "running")
        port: MemoryUDPPort = self.reactor.listenUDP(53, DatagramProtocol())
        self.reactor.stop()
        self.reactor.settle()
        self.assertEqual((seen, port.connected, self.reactor.leftovers()), (["running"], 0, []))

    def test_foreign_descriptors(self) -> None:
        """What is no socket of this network cannot be waited for."""
        foreign = cast(Any, FileDescriptor(cast(IReactorFDSet, self.reactor)))
        for add in (self.reactor.addReader, self.reactor.addWriter):
            with self.assertRaises(ValueError):
                add(foreign)
        self.assertEqual((self.reactor.getReaders(), self.reactor.getWriters()), ([], []))

    def test_names(self) -> None:
        """Host names are what the test's table says."""
        self.reactor.hosts["api.test"] = ["10.96.0.1"]
        self.assertEqual(self.successResultOf(self.reactor.resolve("api.test")), "10.96.0.1")
        self.failureResultOf(self.reactor.resolve("nobody.test"))


class Streaming(Resource):
    """Answers in pieces, one a second, what it was sent."""

    isLeaf = True

    def __init__(self, reactor: MemoryReactor) -> None:
        super().__init__()
        self.reactor = reactor

    def render_POST(self, request: Any) -> int:
        """Begin."""
        words = request.content.read().split()
        request.setHeader(b"content-type", b"text/plain")
        for second, word in enumerate(words):
            self.reactor.callLater(second, request.write, word + b"\n")
        self.reactor.callLater(len(words), request.finish)
        return NOT_DONE_YET


class Body(Protocol):
    """Notes when which piece of a body arrives."""

    def __init__(self, reactor: MemoryReactor) -> None:
        self.reactor = reactor
        self.pieces: list[tuple[float, bytes]] = []
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        self.pieces.append((self.reactor.seconds(), data))

    def connectionLost(self, reason: Failure = Failure(ResponseDone())) -> None:  # noqa: B008  # as Twisted has it
        """The end."""
        self.ended = reason


@implementer(IAgentEndpointFactory)
class Fixed:
    """Always the same endpoint."""

    def __init__(self, endpoint: TCP4ClientEndpoint) -> None:
        self.endpoint = endpoint

    def endpointForURI(self, uri: object) -> TCP4ClientEndpoint:
        """Wherever it goes."""
        return self.endpoint


@implementer(IBodyProducer)
class Words:
    """A body of some words."""

    length = 13

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """All at once."""
        consumer.write(b"one two three")
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def stopProducing(self) -> None:
        """Nothing is left."""

    pauseProducing = resumeProducing = stopProducing


class WebTests(SynchronousTestCase):
    """Twisted's web server and client run here."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(["127.0.0.1", "10.96.0.1"])
        self.port = self.reactor.listenTCP(
            80, Site(Streaming(self.reactor), reactor=self.reactor), interface="10.96.0.1"
        )

    def request(self, agent: Agent) -> tuple[Any, Body]:
        """Ask, and begin to read the body."""
        waiting = agent.request(b"POST", b"http://api.test/words", None, cast(IBodyProducer, Words()))
        self.reactor.settle()
        response: Any = self.successResultOf(waiting)
        body = Body(self.reactor)
        response.deliverBody(body)
        return response, body

    def test_streamed_body(self) -> None:
        """Each piece of a streamed body arrives when it was sent; the connection is used again and closed in the end."""
        pool = HTTPConnectionPool(self.reactor)
        endpoint = TCP4ClientEndpoint(self.reactor, "10.96.0.1", 80)
        agent = Agent.usingEndpointFactory(self.reactor, Fixed(endpoint), pool)
        response, body = self.request(agent)
        self.assertEqual(response.code, 200)
        self.reactor.advance(10)
        self.assertEqual(body.pieces, [(0.0, b"one\n"), (1.0, b"two\n"), (2.0, b"three\n")])
        assert body.ended is not None
        body.ended.trap(ResponseDone)
        self.request(agent)
        self.reactor.advance(3)
        connections = [line for line in self.reactor.leftovers() if line.startswith("TCP connection")]
        self.assertEqual(len(connections), 2, "two ends of one connection")
        self.successResultOf(self.settled(pool.closeCachedConnections()))
        self.port.stopListening()
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def settled(self, waiting: Deferred[Any]) -> Deferred[Any]:
        """Do what is due now, and return *waiting*."""
        self.reactor.settle()
        return waiting

    def test_by_name(self) -> None:
        """An agent finds a host by its name in the table."""
        self.reactor.hosts["api.test"] = ["10.96.0.1"]
        _, body = self.request(Agent(self.reactor))
        self.reactor.advance(3)
        self.assertEqual(b"".join(piece for _, piece in body.pieces), b"one\ntwo\nthree\n")
