"""Signatures are made once, in threads, and what waits for them is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.plugin import ResolutionFailed, ServerContext
from kdns.plugins.dnssec import signer as module
from kdns.plugins.dnssec.keys import read_key
from kdns.plugins.dnssec.signer import Job, Made, Signer, job_of
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from kdns.zones.signing import canonical_rrset
from tests.conformance.cases import CASES

KEY = read_key(f"{CASES}/mat/csk")
ZONE = from_text("example.org")


def job(number: int) -> Job:
    """One of many RRsets."""
    return job_of(canonical_rrset([a_or_aaaa(ZONE, 60, number.to_bytes(4, "big"))]), ZONE, (KEY,))


class Later(Signer):
    """A signer whose threads work when the test says so."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context, 100)
        self.queue: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, work: Callable[[], Any]) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.queue.append((work, waiting))
        return waiting

    def work(self, error: Exception | None = None) -> None:
        """Do what waits."""
        queue, self.queue = self.queue, []
        for work, waiting in queue:
            waiting.callback(Failure(error) if error is not None else work())


class SignerTests(SynchronousTestCase):
    """A signer with a programmed pool."""

    def setUp(self) -> None:
        clock = Clock()
        clock.advance(1_700_000_000)
        self.signer = Later(ServerContext(clock, clock=clock.seconds, wall=clock.seconds, kernel_sockets=False))

    def digests(self, made: Deferred[Made]) -> set[bytes]:
        found: Made = self.successResultOf(made)
        return set(found)

    def test_once(self) -> None:
        """Replies that need the same signature wait for one making of it."""
        first = self.signer.sign([job(1), job(2)])
        second = self.signer.sign([job(2), job(3)])
        third = self.signer.sign([job(1)])
        self.assertEqual(len(self.signer.queue), 2)
        self.assertNoResult(first)
        self.signer.work()
        self.assertEqual(self.digests(first), {job(1).digest, job(2).digest})
        self.assertLessEqual({job(2).digest, job(3).digest}, self.digests(second))
        self.assertIn(job(1).digest, self.digests(third))
        self.assertEqual(set(self.signer.find([job(1), job(3), job(4)])), {job(1).digest, job(3).digest})

    def test_cancelled(self) -> None:
        """Who waits no longer does not end the work for others."""
        first, second = self.signer.sign([job(1)]), self.signer.sign([job(1)])
        first.cancel()
        self.failureResultOf(first)
        self.signer.work()
        self.assertEqual(self.digests(second), {job(1).digest})

    def test_failed(self) -> None:
        """A failure reaches all that wait, and the next one tries again."""
        first, second = self.signer.sign([job(1)]), self.signer.sign([job(1)])
        self.signer.work(ZeroDivisionError())
        for one in (first, second):
            self.failureResultOf(one, ZeroDivisionError)
        again = self.signer.sign([job(1)])
        self.signer.work()
        self.assertEqual(self.digests(again), {job(1).digest})

    def test_bound(self) -> None:
        """With too many replies waiting the next one fails at once; one that needs what is being made does not."""
        self.patch(module, "MOST_BATCHES", 2)
        waiting = [self.signer.sign([job(1)]), self.signer.sign([job(2)])]
        with self.assertRaises(ResolutionFailed) as raised:
            self.signer.sign([job(3)])
        self.assertEqual((raised.exception.rcode, raised.exception.ede), (2, (0, "busy")))
        waiting.append(self.signer.sign([job(1), job(2)]))
        self.signer.work()
        for one in waiting:
            self.successResultOf(one)

    def test_stop(self) -> None:
        """At the end what waits fails, and is not made any more."""
        waiting = self.signer.sign([job(1)])
        self.signer.stop()
        self.failureResultOf(waiting, ResolutionFailed)
        self.signer.work()
        self.assertEqual(len(self.signer.store), 0)


class ThreadTests(TestCase):
    """A signer with threads of its own."""

    async def test_threads(self) -> None:
        """Signatures come back in the reactor's thread, and no thread is left at the end."""
        from threading import enumerate as threads

        from twisted.internet import reactor

        signer = Signer(ServerContext(reactor), 100)
        signer.start()
        before = set(threads())
        made = await signer.sign([job(number) for number in range(20)])
        self.assertEqual(len(made), 20)
        self.assertGreater(len(set(threads()) - before), 0)
        await signer.sign([job(30)])
        signer.stop()
        self.assertEqual([thread for thread in set(threads()) - before if thread.is_alive()], [])
