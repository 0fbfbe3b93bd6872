# -*- test-case-name: tests.cluster.test_reflector -*-
"""
The watch of one resource: walks through the states of watch_states.py and keeps the index equal to the server.

Each state is a coroutine that returns the move that ends it. Entered objects serve throughout: only an event deletes one, or the sweep
after a complete list. Failures lead to BACKING_OFF and show in :class:`Freshness`; they never end the watch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from kdns.cluster import projection
from kdns.cluster.api import ApiClient, ApiRefusal, Unreachable, WatchProblem, WatchStream
from kdns.cluster.bodies import Overlong, Silence, StreamProblem
from kdns.cluster.drift import DriftChecker
from kdns.cluster.freshness import Complaints, Freshness, FreshnessMetrics
from kdns.cluster.objects import Change, pack_version
from kdns.cluster.pacing import Backoff
from kdns.cluster.projection import Bookmark, Event, ProjectionError, Projector
from kdns.cluster.relist import Relist
from kdns.cluster.resources import FIRST_PAGE, Watched, list_options, next_limit, stream_options, watch_options
from kdns.cluster.source import ChangeSink
from kdns.cluster.watch_states import MOVES, Move, State
from kdns.core.degraded import DegradedStates, Fault
from kdns.core.timing import Clock, Timer, pause, stop_timer

IDLE = (90.0, 120.0)
"""Seconds without event or bookmark after which a connection is not trusted; the server sends a bookmark about once a minute."""

DURATION = (240, 480)
"""Seconds that a watch is asked to last: short enough that a server that is going away gets rid of us, drawn so that we do not return all
at once."""

INITIAL_PATIENCE = 3.0
"""
Seconds without a line in an initial stream. Servers from before WatchList may take it for an ordinary watch, whose initial part has
no end; the state is listed then.
"""

REMEMBER_REFUSAL = 3600.0
"""Seconds for which the whole state is listed in pages after a stream of it has failed, in whatever way."""

TOO_SHORT = 1.0
"""Seconds. A watch that ends so soon without a word is a failure, else a broken server would be asked without a pause."""

RELIST_GAP = 10.0
"""Seconds. A version that expires again so soon counts as a failure, too."""

RESYNC = (30.0, 3600.0)
"""Seconds until the whole state is asked for again because something could not be read: at first, and at most; it doubles."""

CHECK = (600.0, 900.0)
"""Seconds between two checks for drift."""

QUIET = (12.0, 15.0)
"""
Seconds of silence on a watch after which the server is asked whether the watch has missed something. With the patience for the answer, a
frozen connection is noticed within 30 seconds.
"""

PROBE_SETTLE = 2.0
"""Seconds that a change which the server tells elsewhere gets to arrive on the watch, too."""

_NAME_IN_HEAD = re.compile(rb'"name":"([^"]{1,253})"')

log = Logger(namespace="plugin/kubernetes")


@dataclass(frozen=True, slots=True)
class WatchContext:
    api: ApiClient
    projector: Projector
    sink: ChangeSink
    clock: Clock
    chance: Random
    metrics: FreshnessMetrics
    degraded: DegradedStates


class Reflector:
    """
    Keep one kind of objects in the index equal to the server's, from :meth:`start` to :meth:`stop`.

    :param on_sync: called each time the whole state has been entered.
    """

    def __init__(self, watched: Watched, context: WatchContext, on_sync: Callable[[], None] = lambda: None) -> None:
        self.watched = watched
        self.freshness = Freshness(watched.plural)
        self.state = State.STOPPED
        self._api = context.api
        self._projector = context.projector
        self._sink = context.sink
        self._clock = context.clock
        self._chance = context.chance
        self._metrics = context.metrics
        self._degraded = context.degraded.condition(Fault.WATCH, f"watch of {watched.plural}")
        self._on_sync = on_sync
        self._backoff = Backoff(context.chance)
        self._complaints = Complaints()
        self._drift = DriftChecker(
            watched, context.api, context.projector, context.sink, context.clock, self._bad_object
        )
        self._running: list[Deferred[None]] = []
        self._stopped = True
        self._watch: WatchStream | None = None
        self._relist: Relist | None = None
        # Where a watch would go on; empty when the whole state is needed.
        self._version = ""
        self._reason = "start"
        self._retry_after: float | None = None
        self._no_streams_until = 0.0
        self._expired_at: float | None = None
        self._too_large = 0
        # Of the state that is being entered: whether its end was seen, and whether all of it could be read.
        self._complete = False
        self._unreadable = False
        self._bad_before = 0
        # What proves that the present watch is frozen, should it fail for its silence.
        self._frozen = ""
        # A requested relist: why, its timer, and the pause before the next one.
        self._wanted = ""
        self._resync_timer: Timer | None = None
        self._resync_pause = RESYNC[0]

    # From outside

    def start(self) -> None:
        assert self.state is State.STOPPED, "started twice"
        self._metrics.show(self.freshness)
        self._move(Move.START)
        self._stopped = False
        self._running = [
            Deferred.fromCoroutine(self._run()),
            Deferred.fromCoroutine(self._check_now_and_then()),
            Deferred.fromCoroutine(self._probe_when_quiet()),
        ]

    def stop(self) -> Deferred[None]:
        """Stop watching; the index keeps its objects."""
        if self.state is not State.STOPPED:
            self._metrics.hide(self.freshness)
            self._degraded.forget()
        self._move(Move.STOP)
        self._stopped = True
        running, self._running = self._running, []
        for coroutine in running:
            coroutine.cancel()
        stop_timer(self._resync_timer)
        self._resync_timer = None
        self._close()
        # A cancelled request may need one more turn of the reactor.
        return DeferredList(running).addCallback(lambda _: None)

    def resync(self, reason: str) -> None:
        """List the whole state again as soon as possible; the stored objects serve meanwhile."""
        self._wanted = self._wanted or reason
        if self._watch is not None and self.state is State.STREAMING:
            self._watch.notify()

    # The loop

    def _move(self, move: Move) -> None:
        self.state = self.freshness.state = MOVES[self.state, move]

    async def _run(self) -> None:
        steps: dict[State, Callable[[], Coroutine[Deferred[Any], Any, Move]]] = {
            State.INITIAL_STREAM: self._initial_stream,
            State.LISTING: self._list,
            State.CONNECTING: self._connect,
            State.STREAMING: self._stream,
            State.BACKING_OFF: self._back_off,
        }
        while not self._stopped:
            try:
                move = await steps[self.state]()
            except CancelledError:
                return
            except WatchProblem as problem:
                move = self._judge(problem)
            except Exception:
                # A fault of kdns: it must not end the watch, and it must be seen.
                log.failure("the watch of {resource} failed", resource=self.watched.plural)
                self._note("internal", "internal error, see the log")
                self._forget_version("failed")
                move = Move.FAILED
            if self._stopped:
                break
            if move not in (Move.SYNCED, Move.OPENED) or self.state is State.LISTING:
                self._close()
            self._move(move)

    def _judge(self, problem: WatchProblem) -> Move:
        now = self._clock.seconds()
        if isinstance(problem, ApiRefusal) and problem.expired:
            before, self._expired_at = self._expired_at, now
            self._forget_version("expired")
            if before is None or now - before >= RELIST_GAP:
                return Move.EXPIRED
        elif isinstance(problem, ApiRefusal) and problem.too_large and self._version:
            # It may be a replica that lags; but a server that was restored from a backup never reaches the version.
            self._too_large += 1
            if self._too_large >= 2:
                self._forget_version("version_unknown")
        self._retry_after = problem.retry_after
        self._note(problem.cause, str(problem))
        text = self._complaints.hear(str(problem), now)
        if text:
            log.error(
                "Failed to watch: failed to {verb} {type}: {text}",
                verb=problem.verb,
                type=self.watched.type_name,
                text=text,
            )
        return Move.FAILED

    def _note(self, cause: str, text: str) -> None:
        self.freshness.errors[cause] += 1
        self._metrics.errors.counter(self.watched.plural, cause).inc()
        self._fails(text)

    def _fails(self, text: str, kind: Fault = Fault.WATCH) -> None:
        self.freshness.problem = text
        self._degraded.begin(text, self._sink.wall(), kind=kind)

    def _forget_version(self, reason: str) -> None:
        self._version = ""
        self._reason = self._reason or reason

    def _works(self) -> None:
        """The server answered as it should."""
        self._accepted()
        self._complaints.forget()
        self._too_large = 0

    def _accepted(self) -> None:
        """The server accepted the watch, which may still break soon."""
        self.freshness.problem = ""
        self._degraded.end(self._sink.wall(), log)

    def _close(self) -> None:
        """Abandon the current stream and list."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._relist is not None:
            self._relist.abort()
            self._relist = None

    async def _back_off(self) -> Move:
        delay = self._backoff.delay(self._clock.seconds(), self._retry_after)
        self._retry_after = None
        await pause(self._clock, delay)
        return Move.RETRY_WATCH if self._version else Move.RETRY_SYNC

    # The whole state

    def _begin_state(self) -> None:
        """The whole state is about to come."""
        if self._wanted:
            self._reason, self._wanted = self._reason or self._wanted, ""
            stop_timer(self._resync_timer)
            self._resync_timer = None
        if self._reason:
            self.freshness.relists[self._reason] += 1
            self._metrics.relists.counter(self.watched.plural, self._reason).inc()
            self._reason = ""
        self._version = ""
        self._complete = self._unreadable = False
        self._bad_before = self.freshness.bad_objects
        self.freshness.entered = 0
        self._relist = self._sink.relist(self.watched.kind)

    async def _initial_stream(self) -> Move:
        if self._clock.seconds() < self._no_streams_until:
            return Move.REFUSED
        try:
            watch = await self._whole_stream()
        except ApiRefusal as problem:
            # Servers refuse a stream for reasons that say nothing about lists: 400 and 422 where the feature is off, 500 where etcd is too
            # old for it. So pages are the next try after any refusal.
            if problem.refuses_lists_too:
                raise
            return self._no_streams(str(problem))
        except StreamProblem as problem:
            return self._no_streams(str(problem))
        await self._finish_state()
        watch.work = self._line
        watch.stream.expect(self._chance.uniform(*IDLE))
        watch.stream.release()
        return Move.SYNCED

    async def _whole_stream(self) -> WatchStream:
        """
        Read a stream up to the end of the whole state.

        :raises StreamProblem: it broke off, or fell silent.
        """
        watch = await self._api.watch(self.watched, stream_options(self._chance.randint(*DURATION)))
        self._begin_state()
        self._watch = watch
        watch.read(self._initial_line, INITIAL_PATIENCE)
        while not self._complete:
            await watch.news()
            if watch.ended:
                raise watch.failure or StreamProblem("the stream of the whole state ended before its end")
        return watch

    def _no_streams(self, why: str) -> Move:
        log.info(
            "{resource}: listed in pages, since the API server does not stream them: {why}",
            resource=self.watched.plural,
            why=why,
        )
        self._no_streams_until = self._clock.seconds() + REMEMBER_REFUSAL
        return Move.REFUSED

    def _initial_line(self, line: bytes | Overlong) -> None:
        event = self._read(line)
        if isinstance(event, Event):
            self.freshness.entered += 1
            self._apply(event.change)
        elif isinstance(event, Bookmark):
            assert self._watch is not None, "lines come from it"
            if not event.ends_initial:
                # An ordinary bookmark has no place here: the server took this for an ordinary watch.
                self._watch.stream.fail(Silence("the whole state has no end"))
                return
            self._version = event.version
            self._complete = True
            self._watch.stream.hold()
            self._watch.notify()

    async def _list(self) -> Move:
        limit, token = FIRST_PAGE, ""
        kind = self.watched.kind
        begun = False
        while True:
            data = await self._api.page(self.watched, list_options(limit, token))
            try:
                page = self._projector.page(kind, data)
            except ProjectionError as problem:
                raise WatchProblem(self.watched, "list", problem.reason) from None
            if not begun:
                self._begin_state()
                begun = True
            self.freshness.last_event = self._clock.seconds()
            await self._sink.each(page.items, self._enter_item)
            limit, token = next_limit(len(data), len(page.items)), page.continue_token
            if not token:
                break
        self._version = page.version
        await self._finish_state()
        if not self._version:
            raise WatchProblem(self.watched, "list", "the list has no resourceVersion")
        return Move.SYNCED

    def _enter_item(self, item: msgspec.Raw) -> None:
        self.freshness.entered += 1
        try:
            self._apply(self._projector.project(self.watched.kind, item))
        except ProjectionError as problem:
            self._bad_object(problem)

    async def _finish_state(self) -> None:
        """All of it is entered: delete what was not in it."""
        relist, self._relist = self._relist, None
        assert relist is not None, "begun before"
        if self._unreadable:
            # An object in it has no name, so what is missing is unknown.
            relist.abort()
        else:
            await self._sink.sweep(relist)
        self.freshness.last_sync = self._clock.seconds()
        if self.freshness.bad_objects == self._bad_before:
            self._resync_pause = RESYNC[0]
        self._works()
        self._on_sync()

    # Changes as they happen

    async def _connect(self) -> Move:
        if self._wanted:
            return Move.RESYNC
        options = watch_options(self._version, self._chance.randint(*DURATION))
        self._watch = watch = await self._api.watch(self.watched, options)
        watch.read(self._line, self._chance.uniform(*IDLE))
        self._accepted()
        return Move.OPENED

    async def _stream(self) -> Move:
        watch = self._watch
        assert watch is not None, "OPENED and SYNCED leave one"
        self._frozen = "silence"
        while not self._wanted:
            await watch.news()
            if not watch.ended:
                continue
            if isinstance(watch.failure, Silence):
                self._metrics.frozen.counter(self.watched.plural, self._frozen).inc()
                self._fails(f"the watch is frozen: {watch.failure}", Fault.WATCH_FROZEN)
                log.warn("{resource}: {problem}", resource=self.watched.plural, problem=self.freshness.problem)
                return Move.SILENT
            if watch.failure is not None:
                raise self._broken(watch.failure)
            if self._clock.seconds() - watch.began < TOO_SHORT and not watch.stream.lines:
                raise Unreachable(self.watched, "watch", "the server ends the watch at once")
            return Move.ENDED
        return Move.RESYNC

    def _broken(self, failure: BaseException) -> BaseException:
        return Unreachable(self.watched, "watch", str(failure)) if isinstance(failure, StreamProblem) else failure

    def _line(self, line: bytes | Overlong) -> None:
        event = self._read(line)
        if event is None:
            return
        if isinstance(event, Event):
            if self._in_order(event):
                self._apply(event.change)
        else:
            self._advance(event.version)
        self._works()

    def _in_order(self, event: Event) -> bool:
        """
        Whether to enter an event, by its version.

        Versions of one resource grow from event to event. A repeated one changes nothing. A late one is entered if the stored object
        is older, but then the stream is out of order, and everything is listed again.
        """
        change = event.change
        if self._advance(event.version) or isinstance(change, ProjectionError):
            return True
        this = pack_version(event.version)
        if event.version == self._version:
            return False
        self._resync_later("out_of_order")
        stored = self._sink.index.drift(change.kind).page([(change.namespace, change.name, "")])
        version = stored[0].stored if stored else None
        return isinstance(version, int) and isinstance(this, int) and version < this

    def _advance(self, version: str) -> bool:
        """Resume from *version* from now on, unless it is older than the current one."""
        last, this = pack_version(self._version), pack_version(version)
        if isinstance(last, int) and isinstance(this, int) and this <= last:
            return False
        self._version = version
        return True

    def _read(self, line: bytes | Overlong) -> Event | Bookmark | None:
        """Decode a line; None when that fails. An ERROR ends the stream."""
        self.freshness.last_event = self._clock.seconds()
        kind = self.watched.kind
        try:
            if isinstance(line, Overlong):
                name = _NAME_IN_HEAD.search(line.head)
                text = f"a line of {line.size} bytes" + (f", {name[1].decode('latin-1')}" if name else "")
                raise ProjectionError(kind, b"", b"", text)
            event = self._projector.event(kind, line)
        except ProjectionError as problem:
            self._bad_object(problem)
            return None
        if isinstance(event, projection.Failure):
            raise ApiRefusal(self.watched, "watch", event.code, event.reason, event.message, event.retry_after)
        return event

    def _apply(self, change: Change | ProjectionError) -> None:
        if isinstance(change, ProjectionError):
            self._bad_object(change)
        else:
            self._sink.apply(change)

    # What could not be read

    def _bad_object(self, problem: ProjectionError) -> None:
        """Count and log it, keep the stored value, and list again later."""
        self.freshness.bad_objects += 1
        self._metrics.bad_objects.counter(self.watched.plural).inc()
        log.warn("{problem}; what is known of it is kept", problem=str(problem))
        keep = problem.keep()
        if keep is not None:
            self._sink.apply(keep)
        else:
            self._unreadable = True
        self._resync_later("bad_object")

    def _resync_later(self, reason: str) -> None:
        if self._resync_timer is not None and self._resync_timer.active():
            return
        delay = self._resync_pause * self._chance.uniform(1.0, 1.5)
        self._resync_pause = min(self._resync_pause * 2, RESYNC[1])
        self._resync_timer = self._clock.callLater(delay, self.resync, reason)

    # Frozen connections: what holds one open and passes nothing (a proxy, a firewall) answers keep-alive probes itself.

    async def _probe_when_quiet(self) -> None:
        while True:
            try:
                limit = self._chance.uniform(*QUIET)
                while self.state is not State.STREAMING or self._quiet() < limit:
                    await pause(self._clock, max(1.0, limit - self._quiet()))
                await self._probe()
            except CancelledError:
                return
            except Exception:
                log.failure("the probe of {resource} failed", resource=self.watched.plural)
                await pause(self._clock, QUIET[1])

    def _quiet(self) -> float:
        return self.freshness.event_age(self._clock.seconds()) or 0.0

    async def _probe(self) -> None:
        """Ask on another connection whether anything changed since the last event; abandon the watch if it missed that."""
        watch, version = self._watch, self._version
        try:
            lines = await self._api.changes_since(self.watched, version)
        except Unreachable as problem:
            self._give_up(watch, "no_answer", str(problem))
            return
        except WatchProblem:
            lines = b""  # it lives, and says nothing about our watch
        if self._tells_change(lines):
            await pause(self._clock, PROBE_SETTLE)
            if self._version == version:
                self._give_up(
                    watch, "missed_change", "it has not passed on a change that the API server tells elsewhere"
                )
            return
        self.freshness.last_event = self._clock.seconds()

    def _tells_change(self, lines: bytes) -> bool:
        for line in lines.splitlines():
            try:
                if isinstance(self._projector.event(self.watched.kind, line), Event):
                    return True
            except ProjectionError:
                continue
        return False

    def _give_up(self, watch: WatchStream | None, proof: str, text: str) -> None:
        if watch is not None and watch is self._watch and self.state is State.STREAMING:
            self._frozen = proof
            watch.stream.fail(Silence(text))

    # Drift

    async def _check_now_and_then(self) -> None:
        while True:
            try:
                await pause(self._clock, self._chance.uniform(*CHECK))
                if self.state is State.STREAMING:
                    await self._check()
            except CancelledError:
                return
            except (WatchProblem, ProjectionError) as problem:
                cause = problem.cause if isinstance(problem, WatchProblem) else "broken"
                self.freshness.errors[cause] += 1
                self._metrics.errors.counter(self.watched.plural, cause).inc()
                log.debug("no check of {resource}: {problem}", resource=self.watched.plural, problem=str(problem))
            except Exception:
                log.failure("the check of {resource} failed", resource=self.watched.plural)

    async def _check(self) -> None:
        found = await self._drift.check()
        repaired = found.repaired + found.too_many
        if not repaired:
            self.freshness.last_check = self._clock.seconds()
            return
        self.freshness.drift_repaired += repaired
        self._metrics.drift_repaired.counter(self.watched.plural).inc(repaired)
        log.warn(
            "{resource}: {count} of {total} objects were not what the API server has; put right",
            resource=self.watched.plural,
            count=repaired,
            total=found.compared,
        )
        if found.too_many:
            self.resync("drift")
