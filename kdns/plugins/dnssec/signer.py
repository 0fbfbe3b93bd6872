# -*- test-case-name: tests.plugins.dnssec.test_signer -*-
"""
Make signatures in a small pool of threads, and keep them.

A signature that is known is found in the reactor's turn. The others of a reply are made together in a thread. A reply that needs a
signature which is being made waits for it. At most :data:`MOST_BATCHES` replies wait for threads; what is over it fails at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, execute, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from kdns.plugin import ResolutionFailed, Resource, ServerContext
from kdns.plugins.dnssec.store import CLOCK_SKEW, LIFETIME, Signatures, SignatureStore, digest_of
from kdns.wire.constants import EDE_OTHER, SERVFAIL
from kdns.zones.signing import Rrset, SigningKey, rrsig_rdata

THREADS = 2
"""More would only wait for each other: they share the interpreter with the reactor."""

MOST_BATCHES = 1000
"""Replies whose signatures are being made, or wait for that; some 100 ms of work with ECDSA keys."""

ORIGINAL_TTL = 3600
"""Seconds. One number for all RRsets, as in CoreDNS: so a signature holds whatever is left of a TTL in a cache (RFC 4035 section 5.3.3)."""

T = TypeVar("T")


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


Made = dict[bytes, Signatures]
"""Signatures by digest."""


class _Batch:
    """Jobs that a thread does together."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[Made]] = []
        self._outcome: Made | Failure | None = None

    def when_done(self) -> Deferred[Made]:
        waiting: Deferred[Made] = Deferred(self._waiting.remove)
        if self._outcome is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self._outcome)
        return waiting

    def finish(self, outcome: Made | Failure) -> None:
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)  # a Failure takes the way of errors


class Signer(Resource):
    """The signatures of one configuration of ``dnssec``."""

    def __init__(self, context: ServerContext, capacity: int) -> None:
        self.store = SignatureStore(capacity)
        self._context = context
        self._pool: ThreadPool | None = None
        self._in_flight: dict[bytes, _Batch] = {}
        self._batches: set[_Batch] = set()
        self._stopped = False

    def start(self) -> None:
        """Start the pool; it has no thread until there is work."""
        self._stopped = False
        if self._context.kernel_sockets:
            self._pool = ThreadPool(0, THREADS, "kdns-dnssec")
            self._pool.start()

    def stop(self) -> None:
        """End the threads; what is in their queue is not done any more, and fails."""
        self._stopped = True
        for batch in list(self._batches):
            batch.finish(Failure(_failed("the server stops signing", "shutting down")))
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def find(self, jobs: Sequence[Job]) -> Made:
        """The signatures that are there."""
        now = self._context.wall()
        found = ((job.digest, self.store.find(job.digest, now)) for job in jobs)
        return {digest: signatures for digest, signatures in found if signatures is not None}

    def sign(self, jobs: Sequence[Job]) -> Deferred[Made]:
        """
        Make signatures that are not there.

        Cancelling stops the waiting. The signatures are made and kept all the same.

        :raises ResolutionFailed: too many replies wait.
        """
        new = [job for job in jobs if job.digest not in self._in_flight]
        batches = {self._in_flight[job.digest] for job in jobs if job.digest in self._in_flight}
        if new:
            if len(self._batches) >= MOST_BATCHES:
                raise _failed("too many replies wait for signatures", "busy")
            batches.add(self._begin(new))
        return gatherResults([batch.when_done() for batch in batches], consumeErrors=True).addCallbacks(
            _joined, _first_failure
        )

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Run *work* in a thread; at once where the network is in memory and there are no threads."""
        if self._pool is None:
            return execute(work)
        return deferToThreadPool(self._context.reactor, self._pool, work)

    def _begin(self, jobs: list[Job]) -> _Batch:
        batch = _Batch()
        self._batches.add(batch)
        for job in jobs:
            self._in_flight[job.digest] = batch
        now = int(self._context.wall())
        self.run(lambda: self._made(jobs, now)).addBoth(self._finish, jobs, batch)
        return batch

    def _made(self, jobs: list[Job], now: int) -> Made:
        """Runs in a thread."""
        made = {}
        for job in jobs:
            if self._stopped:
                break
            inception, expiration = now - CLOCK_SKEW, now + LIFETIME
            rdatas = [rrsig_rdata(key, job.signer, job.rrset, ORIGINAL_TTL, inception, expiration) for key in job.keys]
            made[job.digest] = Signatures(tuple(rdatas), expiration)
        return made

    def _finish(self, outcome: Made | Failure, jobs: list[Job], batch: _Batch) -> None:
        self._batches.discard(batch)
        for job in jobs:
            del self._in_flight[job.digest]
        if isinstance(outcome, dict):
            for digest, signatures in outcome.items():
                self.store.put(digest, signatures)
        batch.finish(outcome)


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
