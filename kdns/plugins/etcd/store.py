# -*- test-case-name: tests.plugins.etcd.test_store -*-
"""
Keep the index equal to etcd's keys: read them page by page, then watch.

    READING ──all keys read──> WATCHING ──no answer, refused, frozen──> AWAY
       ^                         │   ^                                   │
       ├──────compacted──────────┘   └──────from the last revision───────┤
       └───────────────────nothing read yet, or frozen───────────────────┘

In every state the keys that were read last are served. A watch says nothing while nothing changes. So every :data:`PROBE` seconds a cheap
query asks whether a key has changed that the watch has not reported. A watch that is behind is frozen, and is replaced.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.cluster.bodies import Overlong, StreamProblem
from kdns.cluster.pacing import Backoff
from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.stamps import Stamp, StampRef
from kdns.core.timing import Timer, pause, stop_timer
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.etcd import gateway
from kdns.plugins.etcd.config import Source
from kdns.plugins.etcd.leases import Leases
from kdns.plugins.etcd.members import Members
from kdns.plugins.etcd.records import BadRecord, Path, RecordIndex, parse
from kdns.plugins.stores.metrics import StoreMetrics
from kdns.plugins.stores.rest import RestStream, StoreProblem, short, where_of
from kdns.plugins.stores.starting import StartWait

PROBE = 15.0
"""Seconds between two questions whether the watch is behind."""

CREATED_PATIENCE = 10.0
"""Seconds until a watch has begun."""

SHORT_WATCH = 1.0
"""Seconds after which the end of a watch is no failure: it is begun again at once."""

WATCH_PATIENCE = 3600.0
"""Seconds without a word of a watch; etcd itself speaks every ten minutes, and probes find out sooner."""

GRACE = 2.0
"""Seconds that a watch has to tell of a change that a probe has seen."""

STALE_AFTER = 30.0
"""Seconds without a word of etcd after which answers are marked as stale."""

LEASE_PAUSE = 0.02
"""Seconds between two questions about leases."""

LEASES_AT_START = 100
"""Leases that a start waits for; the TTL of others is ``min-lease-ttl`` until they were asked for."""

MOST_SHOWN = 3
"""Keys that an error names."""

log = Logger(namespace="plugin/etcd")


class State(Enum):
    """What is being done."""

    READING = "the keys are being read"
    WATCHING = "changes are watched"
    AWAY = "etcd cannot be asked"


class _Compacted(Exception):
    """The revision to go on from is gone."""


class EtcdStore(Resource):
    """The keys of one etcd below one path."""

    def __init__(self, source: Source, context: ServerContext) -> None:
        self.source = source
        self.index = RecordIndex()
        self.state = State.READING
        self.synced = False
        """Whether all keys have been read once."""

        self.why = "etcd has not been read yet"
        """Why the keys have not been read, or why changes do not arrive; for the operator."""

        self.revision = 0
        """Of etcd, up to which all changes are in the index."""

        self.serial = 0
        """Unix seconds of the last change; 0 until all keys were read."""

        self._context = context
        self._members = Members(source, context.reactor)
        self._prefix = source.prefix.encode()
        self._keys: dict[bytes, int] = {}
        """All keys with the revision of their last change, whether their values can be read or not."""

        self._broken: dict[bytes, str] = {}
        """Keys whose values cannot be read, and why."""

        self._leases = Leases()
        self._backoff = Backoff(context.random)
        self._again = False
        """Whether all keys are to be read again though the watch could go on."""

        self._waiting = StartWait(context.reactor)
        self._work: list[Deferred[None]] = []
        self._heard = 0.0
        self._fresh = Stamp()
        """Moves when answers begin or cease to be stale."""

        self._stale_timer: Timer | None = None
        self._stale = False
        name = f"etcd {source.prefix} at {', '.join(map(where_of, source.endpoints))}"
        self._away = context.degraded.condition(Fault.ETCD, name)
        self._unreadable = context.degraded.condition(Fault.ETCD_RECORDS, name)
        self.metrics = StoreMetrics(context.registry, "etcd", source.prefix)

    # What the link asks

    def staleness(self) -> tuple[str, StampRef] | None:
        """What to tell clients, and the stamp that moves when it ends; None while the data are up to date."""
        if not self._stale:
            return None
        age = max(0, int(self._context.clock() - self._heard))
        return f"etcd was not heard of for {age} s", self._fresh.ref()

    def fresh(self) -> StampRef:
        """The stamp that moves when answers begin to be stale."""
        return self._fresh.ref()

    def freshness(self) -> list[str]:
        """Where the data are from, for the operator."""
        lines = [f"{self.index.records} records at revision {self.revision}; {self.state.value}"]
        if self.state is State.AWAY or not self.synced:
            lines.append(self.why)
        lines += [f"{key}: {why}" for key, why in self._shown()]
        return lines

    # Life

    def start(self) -> Deferred[None]:
        """
        Fires when the keys are there, when etcd cannot be asked, or after some seconds.

        An etcd that is away must not keep the rest from starting.
        """
        waiting = self._waiting.begin()
        self._heard = self._context.clock()
        self._run(self._follow())
        self._run(self._follow_leases())
        return waiting

    def _run(self, work: Any) -> None:
        running = Deferred.fromCoroutine(work)
        self._work.append(running)
        running.addErrback(self._panicked)

    def _panicked(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("following {name}", failure, name=self._away.name)

    def stop(self) -> Deferred[Any]:
        """Follow no more."""
        for work in self._work:
            work.cancel()
        self._waiting.stop()
        stop_timer(self._stale_timer)
        self._away.forget()
        self._unreadable.forget()
        self._fresh.bump()
        return self._members.stop()

    # Following

    async def _follow(self) -> None:
        """Read and watch, for ever."""
        while True:
            try:
                if self.revision == 0 or self._again:
                    await self._read()
                await self._watch()
            except _Compacted:
                log.info("{url}: the watch fell behind what etcd keeps; all keys are read again", url=self._members.url)
                self._again = True
            except StoreProblem as problem:
                await self._failed(str(problem))
            self.metrics.restarts.value += 1

    async def _failed(self, text: str) -> None:
        self.state = State.AWAY
        self.why = text
        self.metrics.failed.value += 1
        self._away.begin(text, self._context.wall(), log)
        self._plan_stale()
        if self._members.failed():
            self._waiting.end()
            await pause(self._context.reactor, self._backoff.delay(self._context.reactor.seconds()))

    def _answered(self) -> None:
        """etcd has answered, and the watch is not behind: the data are up to date."""
        self._heard = self._context.clock()
        self._members.answered()
        self.metrics.succeeded(self._context.wall())
        self._away.end(self._context.wall(), log)
        stop_timer(self._stale_timer)
        self._stale_timer = None
        if self._stale:
            self._stale = False
            self._fresh.bump()

    def _plan_stale(self) -> None:
        if self._stale_timer is None and not self._stale:
            left = max(0.0, self._heard + STALE_AFTER - self._context.clock())
            self._stale_timer = self._context.reactor.callLater(left, self._became_stale)

    def _became_stale(self) -> None:
        self._stale_timer = None
        self._stale = True
        self._fresh.bump()

    async def _read(self) -> None:
        """
        Read all keys of one revision. A key of the index stays until it is replaced, or known to be gone.

        :raises StoreProblem: a page cannot be read.
        """
        self.state = State.READING
        gone = dict.fromkeys(self._keys)
        after, revision = b"", 0
        known = self._keys
        while True:
            try:
                page = await self._members.ask(
                    "/v3/kv/range", gateway.range_request(self._prefix, after, revision), gateway.Range
                )
            except StoreProblem as problem:
                if "compacted" in str(problem):
                    raise self._members.problem("etcd was compacted while its keys were read") from None
                raise
            revision = revision or page.header.revision
            if revision < self.revision:
                known = {}  # another etcd, or one that was restored: equal revisions mean nothing
            await in_slices(self._context.reactor, self._take(page.kvs, known, gone))
            if not page.more or not page.kvs:
                break
            after = page.kvs[-1].key
        await in_slices(self._context.reactor, self._drop(gone))
        self.revision = revision
        self._again = False
        self.synced = True
        self.serial = int(self._context.wall())
        self._show()
        self._answered()
        for _ in range(LEASES_AT_START):
            if not self._waiting.waits or not await self._ask_lease():
                break
        self._waiting.end()

    def _take(
        self, pairs: list[gateway.KeyValue], known: dict[bytes, int], gone: dict[bytes, None]
    ) -> Generator[None, None, None]:
        for pair in pairs:
            gone.pop(pair.key, None)
            if known.get(pair.key) != pair.mod_revision:
                self._put(pair)
            yield

    def _drop(self, gone: dict[bytes, None]) -> Generator[None, None, None]:
        for key in gone:
            self._remove(key)
            yield

    async def _watch(self) -> None:
        """
        Apply changes until the watch ends.

        :raises StoreProblem: etcd does not let us, or the watch is frozen.
        :raises _Compacted: changes are lost.
        """
        stream = await self._members.watch(gateway.watch_request(self._prefix, self.revision))
        ended: Deferred[None] = Deferred()

        def end(result: Failure | None) -> None:
            if not ended.called:
                ended.callback(result)  # a Failure becomes one of the Deferred

        began = self._context.clock()
        reading = stream.read(lambda line: self._line(line, stream), CREATED_PATIENCE).addBoth(end)
        probing = Deferred.fromCoroutine(self._probe_on()).addErrback(end)
        why = "the watch ended"
        try:
            await ended
        except StreamProblem as problem:
            why = f"the watch: {problem}"
        finally:
            reading.cancel()
            probing.cancel()
            stream.close()
        if self.state is not State.WATCHING or self._context.clock() - began < SHORT_WATCH:
            raise self._members.problem(why)

    def _line(self, line: bytes | Overlong, stream: RestStream) -> None:
        if isinstance(line, Overlong):
            self._again = True
            raise self._members.problem(f"a change of {line.size} bytes")
        try:
            message = gateway.decode(gateway.Line, line)
        except gateway.BadAnswer as error:
            self._again = True
            raise self._members.problem(str(error)) from None
        result = message.result
        if result is None:
            failed = message.error or gateway.Failed()
            raise self._members.problem(failed.message or failed.error or "the watch failed")
        if result.compact_revision:
            raise _Compacted
        if result.canceled:
            raise self._members.problem(result.cancel_reason or "the watch was canceled")
        if result.created:
            self.state = State.WATCHING
            stream.expect(WATCH_PATIENCE)
            self._answered()
        for event in result.events:
            if event.type == "DELETE":
                self._remove(event.kv.key)
            else:
                self._put(event.kv)
        if result.events:
            self.serial = max(self.serial, int(self._context.wall()))
            self._show()
            if not result.fragment:
                # Only the last part of a message says that all changes of its revision are here.
                self.revision = max(self.revision, result.events[-1].kv.mod_revision)
            self._answered()
        elif not result.created:
            self.revision = max(self.revision, result.header.revision)
            self._answered()

    async def _probe_on(self) -> None:
        while True:
            await pause(self._context.reactor, PROBE)
            if await self._behind():
                await pause(self._context.reactor, GRACE)
                if await self._behind():
                    self._again = True  # to be sure: the number of keys may differ for a reason that is not known
                    raise self._members.problem("the watch is frozen: it has not told of a change")
            self._answered()

    async def _behind(self) -> bool:
        """Whether a change was made that the watch has not told of; if not, the index is as etcd is now."""
        now = await self._members.ask("/v3/kv/range", gateway.count_request(self._prefix), gateway.Range)
        # A lower revision is that of another etcd, or of one that was restored.
        if now.count != len(self._keys) or now.header.revision < self.revision:
            return True
        if now.header.revision == self.revision:
            return False
        seen = await self._members.ask(
            "/v3/kv/range", gateway.probe_request(self._prefix, self.revision), gateway.Range
        )
        # What the watch has told meanwhile does not count.
        if seen.count != len(self._keys) or any(pair.mod_revision > self.revision for pair in seen.kvs):
            return True
        # Only other keys were changed. A watch that begins here need not fear compaction.
        self.revision = max(self.revision, seen.header.revision)
        return False

    # Applying

    def _path(self, key: bytes) -> Path:
        path = tuple(key[len(self._prefix) :].split(b"/"))
        if not all(path):
            raise BadRecord("the key has an empty part")
        return path

    def _put(self, pair: gateway.KeyValue) -> None:
        key = pair.key
        if not key.startswith(self._prefix):
            return
        self._keys[key] = pair.mod_revision
        path: Path | None = None
        try:
            path = self._path(key)
            entry = parse(path, pair.value)
        except BadRecord as error:
            self._broken[key] = short(str(error))
            if path is not None:
                self._release(path)
                self.index.put_broken(path)
            return
        self._broken.pop(key, None)
        if pair.lease:
            entry.lease = self._leases.bind(pair.lease, self._context.clock())
        self._release(path)
        self.index.put(entry)

    def _remove(self, key: bytes) -> None:
        if self._keys.pop(key, None) is None:
            return
        self._broken.pop(key, None)
        try:
            path = self._path(key)
        except BadRecord:
            return
        self._release(path)
        self.index.remove(path)

    def _shown(self) -> list[tuple[str, str]]:
        return [(short(key), self._broken[key]) for key in sorted(self._broken)[:MOST_SHOWN]]

    def _show(self) -> None:
        self.metrics.entries.set(self.index.records)
        self.metrics.unreadable.set(len(self._broken))
        if not self._broken:
            self._unreadable.end(self._context.wall(), log)
            return
        count = len(self._broken)
        shown = "; ".join(f"{key}: {why}" for key, why in self._shown())
        text = f"{count} key{'s are' if count > 1 else ' is'} no record, and left out: {shown}"
        self._unreadable.begin(text, self._context.wall(), log)

    # Leases

    def _release(self, path: Path) -> None:
        """The record of a name goes, and with it a lease that has no other."""
        before = self.index.entry(path)
        if before is not None and before.lease is not None:
            self._leases.release(before.lease)

    async def _follow_leases(self) -> None:
        while True:
            deadline = self._leases.next_deadline()
            now = self._context.clock()
            if deadline is None or deadline > now or self._waiting.waits or self.state is not State.WATCHING:
                await pause(self._context.reactor, 1.0)
                continue
            try:
                await self._ask_lease()
            except StoreProblem as problem:
                log.debug("{problem}", problem=str(problem))
                await pause(self._context.reactor, 1.0)
            await pause(self._context.reactor, LEASE_PAUSE)

    async def _ask_lease(self) -> bool:
        """
        Ask about the lease that is due.

        :return: whether there was one.
        :raises StoreProblem: there is no answer.
        """
        asked = self._context.clock()
        lease = self._leases.take_due(asked)
        if lease is None:
            return False
        try:
            left = await self._members.ask(
                "/v3/lease/timetolive", gateway.lease_request(lease.number), gateway.LeaseLeft
            )
        except BaseException:
            self._leases.failed(lease, self._context.clock())
            raise
        self._leases.told(lease, left.grantedTTL, left.TTL, asked)
        return True
