"""Signatures are made once, by a program, and what waits for them is bounded."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.core.timing import pause
from kdns.plugin import ResolutionFailed, ServerContext, Unavailable
from kdns.plugins.dnssec import signer as module
from kdns.plugins.dnssec.keys import read_key
from kdns.plugins.dnssec.program import LENGTH, Task, Work, do, frame, frames, key_of, serve
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
    """A signer whose program works when the test says so."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context, [KEY], 1000)
        self.tasks: list[Task] = []

    def _can_sign(self) -> bool:
        return True

    def _hand_over(self, task: Task) -> None:
        self.tasks.append(task)

    def work(self) -> None:
        """Do all that waits."""
        while self.tasks:
            self.made(do(self.tasks.pop(0), [KEY]))


class SignerTests(SynchronousTestCase):
    """A signer with a programmed program."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.signer = Later(ServerContext(self.clock, clock=self.clock.seconds, wall=self.clock.seconds))

    def digests(self, made: Deferred[Made]) -> set[bytes]:
        found: Made = self.successResultOf(made)
        return set(found)

    def test_once(self) -> None:
        """What is needed in one turn is one task; replies that need the same signature wait for one making of it."""
        first = self.signer.sign([job(1), job(2)])
        second = self.signer.sign([job(2), job(3)])
        self.assertEqual(self.signer.tasks, [])
        self.clock.advance(0)
        (task,) = self.signer.tasks
        self.assertEqual(len(task.works), 3)
        third = self.signer.sign([job(1)])
        self.clock.advance(0)
        self.assertEqual(len(self.signer.tasks), 1)
        self.assertNoResult(first)
        self.signer.work()
        self.assertEqual(self.digests(first), {job(1).digest, job(2).digest})
        self.assertEqual(self.digests(second), {job(2).digest, job(3).digest})
        self.assertEqual(self.digests(third), {job(1).digest})
        self.assertEqual(set(self.signer.find([job(1), job(3), job(4)])), {job(1).digest, job(3).digest})

    def test_gathered(self) -> None:
        """While two tasks are under way the others gather, as many as a task may have."""
        self.patch(module, "MOST_IN_TASK", 3)
        waiting = []
        for number in range(10):
            waiting.append(self.signer.sign([job(number)]))
            self.clock.advance(0)
        self.assertEqual([len(task.works) for task in self.signer.tasks], [1, 1])
        self.signer.made(do(self.signer.tasks.pop(0), [KEY]))
        self.assertEqual([len(task.works) for task in self.signer.tasks], [1, 3])
        self.signer.work()
        for number, one in enumerate(waiting):
            self.assertEqual(self.digests(one), {job(number).digest})

    def test_cancelled(self) -> None:
        """A reply that waits no longer does not end the work for others."""
        first, second = self.signer.sign([job(1)]), self.signer.sign([job(1)])
        first.cancel()
        self.failureResultOf(first)
        self.clock.advance(0)
        self.signer.work()
        self.assertEqual(self.digests(second), {job(1).digest})

    def test_bound(self) -> None:
        """With too many waiting the next reply fails at once; one that needs what is being made does not."""
        self.patch(module, "MOST_WAITING", 2)
        waiting = [self.signer.sign([job(1)]), self.signer.sign([job(2)])]
        with self.assertRaises(ResolutionFailed) as raised:
            self.signer.sign([job(3)])
        self.assertEqual((raised.exception.rcode, raised.exception.ede), (2, (0, "busy")))
        waiting.append(self.signer.sign([job(1), job(2)]))
        self.clock.advance(0)
        self.signer.work()
        for one in waiting:
            self.successResultOf(one)

    def test_stop(self) -> None:
        """At the end what waits fails, and no timer is left."""
        waiting = self.signer.sign([job(1)])
        self.signer.stop()
        self.failureResultOf(waiting, ResolutionFailed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ServeTests(SynchronousTestCase):
    """What the program says to what it is sent."""

    def test_frames(self) -> None:
        """It is ready once it has the keys, and answers each task in turn; a frame cut short is its end."""
        rrset = job(1).rrset
        tasks = [Task(number, number + 9, (Work(rrset, ZONE, (0,)), Work(rrset, ZONE, ()))) for number in (1, 2)]
        sent = b"".join(map(frame, [[key_of(KEY)], *tasks])) + b"\x00\x00"
        sink = BytesIO()
        serve(BytesIO(sent), sink)
        ready, *made = [msgspec.msgpack.decode(content) for content in frames(BytesIO(sink.getvalue()))]
        self.assertEqual((ready, made), ([], [do(task, [KEY]) for task in tasks]))
        self.assertEqual([len(rdatas) for rdatas in made[0]], [1, 0])
        self.assertEqual(LENGTH, 4)


class ProgramTests(TestCase):
    """The program itself."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor  # to mypy it is a module
        self.context = ServerContext(reactor)
        self.signer = Signer(self.context, [KEY], 100)

    async def test_program(self) -> None:
        """It signs, is started again when it was killed, and ends with its signer."""
        self.patch(module, "PAUSE", 0.0)
        await (self.signer.start() or succeed(None))
        made = await self.signer.sign([job(number) for number in range(20)])
        self.assertEqual(len(made), 20)
        program = self.signer._program
        assert program is not None
        waiting = self.signer.sign([job(30)])
        program.end()
        try:
            made = await waiting
        except ResolutionFailed:
            made = {}  # it was killed first
        await program.ended
        self.assertLessEqual(len(made), 1)
        self.assertEqual([state.name for state in self.context.degraded], ["program of dnssec"])
        while self.signer._program is None:
            await pause(self.reactor, 0.0)
        await self.signer._program.ready
        self.assertEqual(len(await self.signer.sign([job(40)])), 1)
        self.assertEqual(list(self.context.degraded), [])
        await (self.signer.stop() or succeed(None))

    async def test_not_started(self) -> None:
        """One that cannot be started fails the start."""
        self.patch(module, "PROGRAM", ("/bin/false",))
        with self.assertRaises(Unavailable) as raised:
            await (self.signer.start() or succeed(None))
        self.assertIn("the program that signs does not start", str(raised.exception))
        with self.assertRaises(ResolutionFailed):
            self.signer.sign([job(1)])
        await (self.signer.stop() or succeed(None))
