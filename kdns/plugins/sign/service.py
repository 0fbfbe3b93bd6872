# -*- test-case-name: tests.plugins.sign.test_service -*-
"""
Sign a zone file at the start, when it changed, and long before the signatures expire.

Whether it is time is seen in the signed file itself, in slices of the reactor's turn; signing is done by a program of its own
(:mod:`kdns.plugins.sign.program`). *file* or *auto* notice the new file by its serial.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred, execute
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.config_files import config_file_status, open_config_file
from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.values import format_duration, quote
from kdns.plugin import Resource, ServerContext, to_text
from kdns.plugins.sign.program import CannotSign, Done, Task, sign_file
from kdns.wire.constants import RRSIG, SOA
from kdns.zones.master import MasterReader
from kdns.zones.signing import SigningKey
from kdns.zones.zone import BadZone

if TYPE_CHECKING:
    from kdns.plugins.sign.config import SignConfig

log = Logger(namespace="plugin/sign")

HOUR, DAY = 3600, 86400

CHECK_INTERVAL = 5 * HOUR
"""Seconds between two looks into the signed file."""

WATCH_INTERVAL = 60.0
"""Seconds between two looks whether the unsigned file changed. CoreDNS does not look."""

OLDEST = 6 * DAY
"""Seconds since the inception after which a zone is signed again."""

LEAST_LEFT = 7 * DAY
"""Seconds to the expiration below which it is signed again."""

CLOCK_SKEW, LIFETIME = 3 * HOUR, 32 * DAY
"""Seconds from the inception to now, and from now to the expiration, without the spread."""

INCEPTION_SPREAD, EXPIRATION_SPREAD = 18 * HOUR, 5 * DAY
"""Seconds that are drawn once for each zone, so that many zones are not signed in the same hour."""

PROGRAM = (sys.executable, "-m", "kdns.plugins.sign.program")
MOST_OUTPUT = 4096
"""Bytes of what the program prints that are kept."""


class SignedState(NamedTuple):
    """What the signatures of the SOA say."""

    inception: int
    """Unix seconds: the earliest."""

    expiration: int
    """Unix seconds: the earliest."""

    tags: frozenset[int]
    """Key tags."""


class ZoneSigner(Resource):
    """Keep one zone signed."""

    at_parent = True

    def __init__(self, config: SignConfig, keys: Sequence[SigningKey], context: ServerContext) -> None:
        self._config = config
        self._keys = keys
        self._context = context
        self._inception_lead = CLOCK_SKEW + context.random.randrange(INCEPTION_SPREAD)
        self._lifetime = LIFETIME + context.random.randrange(EXPIRATION_SPREAD)
        self._tags = frozenset(key.tag for key in keys)
        self._zone = quote(to_text(config.origin))
        self._condition = context.degraded.condition(Fault.SIGNING, f"zone {to_text(config.origin)} of sign")
        self._timer: Timer | None = None
        self._work: Deferred[Any] | None = None
        self._running: _Running | None = None
        """The last program that was started."""

        self._next_check = 0.0
        """In seconds of the server's clock."""

        self._seen: int | None = None
        """Time of the unsigned file when it was last signed, or when that was tried."""

        self.expires = 0.0
        """Unix seconds: when the signed file's signatures expire."""

        registry = context.registry
        self._runs = registry.counter("kdns_sign_runs_total", "Zones signed, by what became of it.", ["zone", "result"])
        registry.gauge(
            "kdns_sign_expiry_seconds",
            "When the signatures of a signed zone expire, in Unix time.",
            ["zone"],
            greatest=True,
        ).gauge(to_text(config.origin), read=lambda: self.expires)

    def start(self) -> None:
        """Look at once, and from time to time; the start does not wait for the signing."""
        self._look()

    def stop(self) -> Deferred[None] | None:
        """End what runs, and wait for the program; a file that is not whole is not left behind."""
        stop_timer(self._timer)
        self._timer = None
        if self._work is not None:
            self._work.cancel()
        self._condition.forget()
        return None if self._running is None else self._running.ended

    def _look(self) -> None:
        self._timer = self._context.reactor.callLater(WATCH_INTERVAL, self._look)
        if self._work is not None:
            return
        changed = self._modified(self._config.path)
        due = self._context.clock() >= self._next_check
        if due or (self._seen is not None and changed is not None and changed != self._seen):
            self._next_check = self._context.clock() + CHECK_INTERVAL
            self._seen = changed
            self._work = work = Deferred.fromCoroutine(self._check())
            work.addBoth(self._checked)

    def _checked(self, outcome: Failure | None) -> None:
        self._work = None
        if isinstance(outcome, Failure) and not outcome.check(CancelledError):
            log.failure("signing zone {zone}", outcome, zone=self._zone)

    @staticmethod
    def _modified(path: str) -> int | None:
        try:
            return config_file_status(path).st_mtime_ns
        except OSError:
            return None

    async def _check(self) -> None:
        """Sign if it is time to."""
        config = self._config
        reason = await self._reason()
        if not reason:
            log.info(
                "Skipping signing zone {zone} in {path}: signatures are valid",
                zone=self._zone,
                path=quote(config.signed_path),
            )
            self._condition.end(self._context.wall(), log)
            return
        now = int(self._context.wall())
        tags = ",".join(str(key.tag) for key in self._keys)
        task = Task(
            os.path.abspath(config.path),
            config.origin,
            tuple(map(os.path.abspath, config.key_paths)),
            os.path.abspath(config.signed_path),
            now,
            now - self._inception_lead,
            now + self._lifetime,
        )
        log.info("Signing {zone} because {reason}", zone=self._zone, reason=reason)
        following = format_duration(CHECK_INTERVAL)
        try:
            done = await self._sign(task)
        except CannotSign as error:
            self._runs.counter(to_text(config.origin), "failed").value += 1
            log.warn(
                "Error signing {zone} with key tags {tags}: {error}, next try in {following}, or when {path} changes",
                zone=self._zone,
                tags=quote(tags),
                error=str(error),
                following=following,
                path=config.path,
            )
            self._condition.begin(str(error), self._context.wall())
            return
        self._runs.counter(to_text(config.origin), "signed").value += 1
        self.expires = task.expiration
        log.info(
            "Successfully signed zone {zone} in {path} with key tags {tags} and {serial} SOA serial, elapsed {elapsed}, next: {following}",
            zone=self._zone,
            path=quote(config.signed_path),
            tags=quote(tags),
            serial=task.serial,
            elapsed=format_duration(round(done.seconds, 6)),
            following=following,
        )
        self._condition.end(self._context.wall(), log)

    async def _reason(self) -> str:
        """Why the zone must be signed now; empty when it need not."""
        config = self._config
        try:
            signed = config_file_status(config.signed_path)
            state = await in_slices(self._context.reactor, self._state())
        except OSError as error:
            return f"open {config.signed_path}: {reason_of(error)}"
        except BadZone as error:
            return str(error)
        if state is None:
            return "no SOA RRSIG found"
        now = self._context.wall()
        self.expires = state.expiration
        changed = self._modified(config.path)
        if changed is not None and changed > signed.st_mtime_ns:
            return f"{config.path} is newer than the signed zone"
        if state.tags != self._tags:
            return "it is signed with other keys"
        if state.inception > now:
            return "the inception of a SOA RRSIG is in the future"
        if now - state.inception > OLDEST:
            return f"the inception of a SOA RRSIG is {format_duration(int(now - state.inception))} ago"
        if state.expiration - now < LEAST_LEFT:
            return f"a SOA RRSIG expires in {format_duration(max(0, int(state.expiration - now)))}"
        return ""

    def _state(self) -> Generator[None, None, SignedState | None]:
        """
        Read the signed file as far as the signatures of its SOA, which come first.

        :raises BadZone: it cannot be parsed.
        """
        found: list[bytes] = []
        others = 0

        def add(owner: bytes, rtype: int, ttl: int, rdata: bytes, spelled: bytes | None) -> None:
            nonlocal others
            if rtype == RRSIG and owner == self._config.origin and int.from_bytes(rdata[:2], "big") == SOA:
                found.append(rdata)
            elif found:
                others += 1

        steps = MasterReader(open_config_file, self._config.signed_path, self._config.origin, add).read()
        for _ in steps:
            if others:
                break
            yield
        if not found:
            return None
        return SignedState(
            min(int.from_bytes(rdata[12:16], "big") for rdata in found),
            min(int.from_bytes(rdata[8:12], "big") for rdata in found),
            frozenset(int.from_bytes(rdata[16:18], "big") for rdata in found),
        )

    def _sign(self, task: Task) -> Deferred[Done]:
        """Run the program; where the network is in memory there are no processes, and the work is done at once."""
        if not self._context.kernel_sockets:
            return execute(sign_file, task)
        self._running = running = _Running(msgspec.json.encode(task))
        self._context.reactor.spawnProcess(running, PROGRAM[0], PROGRAM, None)
        return running.done


class _Running(ProcessProtocol):
    """
    The program while it runs.

    :ivar done: fires with what it did. Cancelling ends the program.
    :ivar ended: fires when the program has ended, and never fails.
    """

    transport: Any

    def __init__(self, task: bytes) -> None:
        self._task = task
        self._out = self._errors = b""
        self.done: Deferred[Done] = Deferred(self._end)
        self.ended: Deferred[None] = Deferred()

    def _end(self, cancelled: Deferred[Done]) -> None:
        try:
            self.transport.signalProcess("TERM")
        except ProcessExitedAlready:
            pass

    def connectionMade(self) -> None:
        """Tell it what to do."""
        self.transport.write(self._task)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep it."""
        self._out = (self._out + data)[:MOST_OUTPUT]

    def errReceived(self, data: bytes) -> None:
        """Keep the end, where a traceback says what happened."""
        self._errors = (self._errors + data)[-MOST_OUTPUT:]

    def processEnded(self, reason: Failure) -> None:
        """Say how it went."""
        self.ended.callback(None)
        if self.done.called:
            return
        if reason.check(ProcessDone):
            self.done.callback(msgspec.json.decode(self._out, type=Done))
            return
        lines = self._errors.decode("utf-8", "replace").strip().splitlines()
        self.done.errback(CannotSign(lines[-1] if lines else reason.getErrorMessage()))
