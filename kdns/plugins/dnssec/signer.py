# -*- test-case-name: tests.plugins.dnssec.test_signer -*-
"""
Make signatures in a process of their own, and keep them.

A signature that is known is found in the reactor's turn. What is missing is sent to the program (:mod:`kdns.plugins.dnssec.program`), all
of a turn in one task, and while tasks are under way the next one gathers: the more there is to sign, the less a signature costs. A reply
that needs a signature which is being made waits for it.

When the program ends, the replies that wait fail, and it is started again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.degraded import Fault
from kdns.core.timing import Timer, stop_timer
from kdns.plugin import ResolutionFailed, Resource, ServerContext, Unavailable
from kdns.plugins.dnssec.program import LENGTH, Task, Work, do, frame, key_of
from kdns.plugins.dnssec.store import CLOCK_SKEW, LIFETIME, Signatures, SignatureStore, digest_of
from kdns.wire.constants import EDE_OTHER, SERVFAIL
from kdns.zones.signing import Rrset, SigningKey

log = Logger(namespace="plugin/dnssec")

PROGRAM = (sys.executable, "-m", "kdns.plugins.dnssec.program")

MOST_WAITING = 4000
"""RRsets that wait for signatures: with ECDSA keys some 200 ms of work. A reply that needs more fails at once."""

MOST_IN_TASK = 100
"""RRsets of a task: so many are made before the first of them is answered."""

MOST_TASKS = 2
"""Tasks under way, so that the program need not wait for the next one."""

PAUSE = 1.0
"""Seconds until a program that ended is started again."""

MOST_ERRORS = 4096
"""Bytes of what the program prints that are kept."""

Made = dict[bytes, Signatures]
"""Signatures by digest."""


class Job(NamedTuple):
    """An RRset to be signed."""

    digest: bytes
    """What its signatures are kept under."""

    rrset: Rrset
    signer: bytes
    """The zone, lower-case wire form."""

    keys: tuple[SigningKey, ...]


def job_of(rrset: Rrset, signer: bytes, keys: tuple[SigningKey, ...]) -> Job:
    return Job(digest_of(signer, rrset), rrset, signer, keys)


class _Waiting:
    """A job, and the replies that wait for it."""

    __slots__ = ("job", "replies")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.replies: list[Deferred[Made]] = []

    def when_done(self) -> Deferred[Made]:
        waiting: Deferred[Made] = Deferred(self.replies.remove)
        self.replies.append(waiting)
        return waiting

    def finish(self, outcome: Made | Failure) -> None:
        replies, self.replies = self.replies, []
        for reply in replies:
            reply.callback(outcome)  # a Failure takes the way of errors


class _UnderWay(NamedTuple):
    waiting: list[_Waiting]
    expiration: int


class Signer(Resource):
    """The signatures of one configuration of ``dnssec``."""

    def __init__(self, context: ServerContext, keys: Sequence[SigningKey], capacity: int) -> None:
        self.store = SignatureStore(capacity)
        self._context = context
        self._keys = list(keys)
        self._places = {key.rdata: number for number, key in enumerate(keys)}
        self._jobs: dict[bytes, _Waiting] = {}
        """All jobs that are not done, by digest."""

        self._queue: list[_Waiting] = []
        """Those that no task has yet."""

        self._tasks: list[_UnderWay] = []
        """Those that the program has, the oldest first."""

        self._condition = context.degraded.condition(Fault.SIGNING, "program of dnssec")
        self._timer: Timer | None = None
        self._program: _Program | None = None

    def start(self) -> Deferred[None] | None:
        """Start the program; queries are answered when it is ready."""
        if not self._context.kernel_sockets:
            return None
        return self._start_program().ready

    def stop(self) -> Deferred[None] | None:
        """End the program; the replies that wait fail."""
        self._condition.forget()
        stop_timer(self._timer)
        self._fail("the server stops signing", "shutting down")
        program, self._program = self._program, None
        if program is None:
            return None
        program.end()
        return program.ended

    def find(self, jobs: Sequence[Job]) -> Made:
        """The signatures that are there."""
        now = self._context.wall()
        found = ((job.digest, self.store.find(job.digest, now)) for job in jobs)
        return {digest: signatures for digest, signatures in found if signatures is not None}

    def sign(self, jobs: Sequence[Job]) -> Deferred[Made]:
        """
        Make signatures that are not there.

        Cancelling stops the waiting. The signatures are made and kept all the same.

        :raises ResolutionFailed: too many RRsets wait, or there is no program.
        """
        new = [job for job in jobs if job.digest not in self._jobs]
        if len(self._jobs) + len(new) > MOST_WAITING:
            raise _failed("too many replies wait for signatures", "busy")
        if not self._can_sign():
            raise _failed("the program that signs is not running", "not ready")
        for job in new:
            self._jobs[job.digest] = waiting = _Waiting(job)
            self._queue.append(waiting)
        results = [self._jobs[job.digest].when_done() for job in jobs]
        if not self._context.kernel_sockets:
            self._send()
        elif self._queue and self._timer is None:
            self._timer = self._context.reactor.callLater(0, self._send)
        if len(results) == 1:
            return results[0]
        return gatherResults(results, consumeErrors=True).addCallbacks(_joined, _first_failure)

    def _can_sign(self) -> bool:
        return not self._context.kernel_sockets or self._program is not None

    def _send(self) -> None:
        """Send what waits to the program, as far as it is not busy."""
        self._timer = None
        while self._queue and len(self._tasks) < MOST_TASKS:
            some, self._queue = self._queue[:MOST_IN_TASK], self._queue[MOST_IN_TASK:]
            now = int(self._context.wall())
            works = tuple(
                Work(job.rrset, job.signer, tuple(self._places[key.rdata] for key in job.keys))
                for job in (waiting.job for waiting in some)
            )
            self._tasks.append(_UnderWay(some, now + LIFETIME))
            self._hand_over(Task(now - CLOCK_SKEW, now + LIFETIME, works))

    def _hand_over(self, task: Task) -> None:
        """Give a task to the program. Where the network is in memory there are no processes, and the work is done at once."""
        if self._program is not None:
            self._program.transport.write(frame(task))
        else:
            self.made(do(task, self._keys))

    def made(self, rdatas: list[list[bytes]]) -> None:
        """The signatures of the oldest task."""
        task = self._tasks.pop(0)
        for waiting, found in zip(task.waiting, rdatas, strict=True):
            digest = waiting.job.digest
            signatures = Signatures(tuple(found), task.expiration)
            self.store.put(digest, signatures)
            del self._jobs[digest]
            waiting.finish({digest: signatures})
        if self._queue and self._timer is None:
            self._send()

    def _fail(self, text: str, extra: str) -> None:
        """Fail all replies that wait."""
        jobs, self._jobs, self._queue, self._tasks = self._jobs, {}, [], []
        for waiting in jobs.values():
            waiting.finish(Failure(_failed(text, extra)))

    def _start_program(self) -> _Program:
        self._timer = None
        self._program = program = _Program(self)
        self._context.reactor.spawnProcess(program, PROGRAM[0], PROGRAM, None)
        program.transport.write(frame([key_of(key) for key in self._keys]))
        return program

    def _start_again(self) -> None:
        ready = self._start_program().ready
        ready.addCallbacks(lambda _: self._condition.end(self._context.wall(), log), lambda failure: None)

    def ended(self, program: _Program, reason: str) -> None:
        """The program ended, whatever for."""
        if self._program is not program:
            return
        self._program = None
        self._condition.begin(f"it ended: {reason}", self._context.wall(), log)
        stop_timer(self._timer)
        self._timer = self._context.reactor.callLater(PAUSE, self._start_again)
        self._fail("the program that signs ended", "not ready")


class _Program(ProcessProtocol):
    """
    The program that signs, while it runs.

    :ivar ready: fires when it can sign; fails when it ends before.
    :ivar ended: fires when it has ended.
    """

    transport: Any

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._received = bytearray()
        self._errors = b""
        self._decoder = msgspec.msgpack.Decoder(list[list[bytes]])
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def end(self) -> None:
        """End it: it has nothing to finish."""
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def outReceived(self, data: bytes) -> None:
        """Take frames."""
        received = self._received
        received += data
        while len(received) >= LENGTH:
            end = LENGTH + int.from_bytes(received[:LENGTH], "big")
            if len(received) < end:
                return
            content = bytes(received[LENGTH:end])
            del received[:end]
            if not self.ready.called:
                self.ready.callback(None)
            else:
                self._signer.made(self._decoder.decode(content))

    def errReceived(self, data: bytes) -> None:
        """Keep the end, where a traceback says what happened."""
        self._errors = (self._errors + data)[-MOST_ERRORS:]

    def processEnded(self, reason: Failure) -> None:
        """Tell those that wait."""
        lines = self._errors.decode("utf-8", "replace").strip().splitlines()
        text = lines[-1] if lines else reason.getErrorMessage()
        self.ended.callback(None)
        self._signer.ended(self, text)
        if not self.ready.called:
            self.ready.errback(Unavailable(f"plugin/dnssec: the program that signs does not start: {text}"))


def _failed(text: str, extra: str) -> ResolutionFailed:
    return ResolutionFailed(f"dnssec: {text}", SERVFAIL, (EDE_OTHER, extra))


def _joined(made: list[Made]) -> Made:
    found: Made = {}
    for one in made:
        found |= one
    return found


def _first_failure(failure: Failure) -> Any:
    """What a :class:`~twisted.internet.defer.FirstError` holds."""
    inner = getattr(failure.value, "subFailure", None)
    return failure if inner is None else inner
