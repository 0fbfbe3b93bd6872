# -*- test-case-name: tests.workers.test_supervisor -*-
"""
The parent's role: it starts workers, sends them configurations and changes, restarts one that dies, and adds up what they count.

A configuration is served in two steps. Every worker prepares it: builds it, starts its resources, opens its sockets. When all have, all are
told to serve it; when one has not, all forget it. A worker that dies later gets the configuration that is served.

The parent holds every index and sends changes at once. A worker that does not acknowledge them in time is killed, and its successor begins
with a new copy. So no worker answers from data that are older than that.
"""

from __future__ import annotations

import pickle
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import count
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, TimeoutError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.cluster.feed import Feed
from kdns.core.degraded import Condition, Fault
from kdns.core.metrics import Registry
from kdns.core.slices import in_slices
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.capabilities import FeedsWorkers
from kdns.plugin.listening import CannotListen
from kdns.plugin.seam import Resource, Unavailable
from kdns.server.assembly import Check, Configuration, Endpoint
from kdns.server.roles import Role
from kdns.server.service import FINISH, KdnsService
from kdns.server.sockets import reserve_endpoint
from kdns.workers import messages
from kdns.workers.channel import Channel
from kdns.workers.process import process_report

log = Logger(namespace="kdns.workers")

TICK = 0.1
"""Seconds between two looks at the workers and at the state of clusters."""

PING = 1.0
"""Seconds between two requests to acknowledge, and between two tellings of how fresh the data is."""

MOST_BEHIND = 10.0
"""Seconds without an acknowledgement after which a worker is killed."""

WINDOW = 4 << 20
"""Bytes of a first copy that may be under way to a worker."""

MOST_UNDER_WAY = 64 << 20
"""Bytes under way to a worker, changes included, above which it is killed."""

PREPARE = 60.0
"""Seconds that a worker may take to prepare a configuration."""

LEAVE = FINISH + 2.0
"""Seconds that workers may take to end in good order."""

RESTART, STABLE = 0.5, 5.0
"""Seconds until a worker is restarted that lived less than so many seconds; another is restarted at once."""

COLLECT = 0.5
"""Seconds that a page of metrics waits for a worker; then the last that it told is shown."""

FAULTS = {fault.value.label: fault for fault in Fault}

NO_PREPARE = messages.Prepare(0, b"", [])


class WorkerGone(Unavailable):
    """A worker ended before it did what was asked."""


class Slot:
    """
    The place of one worker, filled by one process after another.

    :ivar number: from 1.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.channel: Channel | None = None
        self.pid = 0
        self.processes = 0
        """Processes that were started here and have not ended; two while one replaces another."""

        self.began = 0.0
        self.serves = 0
        """The number of the configuration that it serves; 0 for none."""

        self.restarts = 0
        self.preparing: Deferred[None] | None = None
        self.expected = 0
        """The number of the configuration that it prepares for all."""

        self.feeds: dict[str, Feed] = {}
        self.states: dict[str, messages.ClusterState] = {}
        """What it was told of clusters last."""

        self.checks: list[messages.CheckReport] | None = None
        self.degraded: list[messages.Wrong] = []
        self.report: messages.Report | None = None
        self.asked: dict[int, Deferred[Any]] = {}

    def send(self, message: Any) -> None:
        """Send a message, if there is a process."""
        if self.channel is not None:
            self.channel.send(message)

    def ask(self, number: int, message: Any) -> Deferred[Any]:
        """Send a question; fires with the message that replies to it."""

        def forget(_: Deferred[Any]) -> None:
            self.asked.pop(number, None)

        asked: Deferred[Any] = Deferred(forget)
        self.asked[number] = asked
        self.send(message)
        return asked

    def prepare(self, message: messages.Prepare) -> Deferred[None]:
        """Have it prepare a configuration; fires when it has, and fails with why it cannot."""
        self.preparing = Deferred(lambda _: setattr(self, "preparing", None))
        self.expected = message.number
        self.send(message)
        return self.preparing


class Supervisor(Role):
    """
    The workers of one server.

    :param connect: starts the worker of a number and connects the channel with it, at once or later.
    :param kill: ends the worker of a number at once.
    """

    listens = False

    def __init__(
        self,
        server: KdnsService,
        workers: int,
        connect: Callable[[int, Channel], None],
        kill: Callable[[int], None],
    ) -> None:
        self.server = server
        self.context = server.context
        self.slots = [Slot(number) for number in range(1, workers + 1)]
        self._connect = connect
        self._kill = kill
        self._current = NO_PREPARE
        self._pending: Configuration | None = None
        self._numbers = count(1)
        self._ports: dict[Endpoint, int] = {}
        self._used: set[Endpoint] = set()
        """Endpoints that some worker may still have open."""

        self._retired = Registry()
        """What ended workers counted."""

        self._degraded: dict[tuple[str, str], Condition] = {}
        self._timer: Timer | None = None
        self._pinged = self._told = 0.0
        self._ending = False
        self._gone: Deferred[None] | None = None
        context = self.context
        context.combined = self.combined
        registry = context.registry
        registry.gauge("kdns_workers", "Worker processes that answer queries.").gauge(
            read=lambda: float(len(self.serving))
        )
        self._restarts = registry.counter(
            "kdns_worker_restarts_total", "Worker processes that ended and were replaced."
        ).counter()
        behind = registry.gauge(
            "kdns_worker_behind_seconds", "Age of the oldest change that a worker has not acknowledged.", ["number"]
        )
        for slot in self.slots:
            behind.gauge(str(slot.number), read=partial(behind_of, slot))

    @property
    def serving(self) -> list[Slot]:
        """The workers that answer queries."""
        return [slot for slot in self.slots if slot.serves and slot.channel is not None]

    # The role

    def runs(self, resource: Resource) -> bool:
        """What one process does for all."""
        return resource.at_parent

    def checks(self, configuration: Configuration) -> Sequence[Check]:
        """
        The checks of *configuration* as all workers see them.

        A worker that is being restarted does not make the server unready as long as another answers.
        """
        return [
            Check(check.name, partial(self._is_ready, index), partial(self._why, index), check.zones)
            for index, check in enumerate(configuration.checks)
        ] or [Check("workers", lambda: bool(self.serving), lambda: "no worker process answers", "")]

    def _is_ready(self, index: int) -> bool:
        serving = self.serving
        return bool(serving) and all(
            slot.checks is not None and len(slot.checks) > index and slot.checks[index].ready for slot in serving
        )

    def _why(self, index: int) -> str:
        for slot in self.serving:
            if slot.checks is not None and len(slot.checks) > index and not slot.checks[index].ready:
                return f"worker {slot.number}: {slot.checks[index].why}"
        return "no worker process has told"

    async def agreed(self, configuration: Configuration) -> None:
        """Have all workers prepare *configuration*, and then serve it."""
        held: list[socket.socket] = []
        first = self._current is NO_PREPARE
        asked: list[Slot] = []
        number = next(self._numbers)
        try:
            ports = self._reserve(configuration, held)
            self._pending = configuration
            prepare = messages.Prepare(
                number, pickle.dumps(configuration.corefile), [(*endpoint, port) for endpoint, port in ports.items()]
            )
            if first:
                self._ending = False
                self._tick()
                for slot in self.slots:
                    self._start(slot)
            asked = list(self.slots) if first else self.serving
            waiting = [slot.prepare(prepare).addTimeout(PREPARE, self.context.reactor) for slot in asked]
            await gatherResults(waiting, consumeErrors=True)
        except BaseException as error:
            for slot in asked:
                slot.send(messages.Abandon(number))
            if first:
                self._drop_all()
            if isinstance(error, FirstError):
                self._raise(error.subFailure)
            raise
        finally:
            for one in held:
                one.close()
            self._pending = None
        self._current, self._ports = prepare, ports
        self._used |= set(ports)
        for slot in asked:
            self._commit(slot)

    def _raise(self, failure: Failure) -> None:
        if failure.check(TimeoutError):
            raise Unavailable(f"a worker process did not prepare the configuration within {PREPARE:.0f} s")
        failure.raiseException()

    def _reserve(self, configuration: Configuration, held: list[socket.socket]) -> dict[Endpoint, int]:
        ports = {}
        for endpoint in configuration.endpoints:
            port = self._ports.get(endpoint)
            if port is None:
                port = endpoint.port
                if self.context.kernel_sockets:
                    again = endpoint in self._used
                    try:
                        reserved, port = reserve_endpoint(self.context, *endpoint, again=again)
                    except CannotListen as error:
                        error.place = configuration.claims[endpoint]
                        raise
                    held += reserved
            ports[endpoint] = port
        return ports

    def _commit(self, slot: Slot) -> None:
        slot.send(messages.Commit(self._current.number))
        slot.serves = self._current.number

    async def leave(self) -> None:
        """End the workers in good order, and kill those that do not end."""
        self._ending = True
        stop_timer(self._timer)
        self._timer = None
        if any(slot.channel is not None for slot in self.slots):
            gone = self._gone = Deferred()
            for slot in self.slots:
                slot.send(messages.Leave())
            gone.addTimeout(LEAVE, self.context.reactor)
            try:
                await gone
            except (TimeoutError, CancelledError):
                log.warn("Worker processes did not end in good order, and are killed")
            self._gone = None
        self._drop_all()

    def _drop_all(self) -> None:
        self._ending = True
        stop_timer(self._timer)
        self._timer = None
        self._current = NO_PREPARE
        self._ports = {}
        for slot in self.slots:
            if slot.channel is not None:
                self._end(slot)

    # Life of a worker

    def _start(self, slot: Slot) -> None:
        context = self.context
        slot.began = context.clock()
        received, lost = partial(self._received, slot), partial(self._lost, slot)
        slot.channel = Channel(messages.to_parent.decode, received, lost, context.clock, acknowledged=True)
        slot.processes += 1
        self._connect(slot.number, slot.channel)

    def _lost(self, slot: Slot) -> None:
        """The channel of a worker has closed: its process has ended, or is as good as that."""
        served, slot.serves, slot.channel = slot.serves, 0, None
        for feed in slot.feeds.values():
            feed.stop()
        slot.feeds.clear()
        slot.states.clear()
        slot.checks, slot.degraded = None, []
        self._show_degraded()
        asked, slot.asked = slot.asked, {}
        for waiting in asked.values():
            waiting.errback(WorkerGone(f"worker {slot.number} has ended"))
        preparing, slot.preparing = slot.preparing, None
        if slot.report is not None:
            for family in slot.report.families:
                if family.kind != "gauge":
                    self._retired.include(family)
            slot.report = None
        if self._ending:
            self._look_for_end()
        elif served or preparing is None or self._current is not NO_PREPARE:
            log.error("Worker {number} (pid {pid}) has ended; it is restarted", number=slot.number, pid=slot.pid)
            self._kill(slot.number)
            self._restarts.inc()
            slot.restarts += 1
            lived = self.context.clock() - slot.began
            self.context.reactor.callLater(0 if lived >= STABLE else RESTART, self._restart, slot)
        if preparing is not None:
            preparing.errback(WorkerGone(f"worker {slot.number} ended while it prepared the configuration"))

    def _look_for_end(self) -> None:
        if self._gone is not None and not any(slot.channel or slot.processes for slot in self.slots):
            gone, self._gone = self._gone, None
            gone.callback(None)

    def _restart(self, slot: Slot) -> None:
        if self._ending or slot.channel is not None:
            return
        self._start(slot)
        slot.send(self._current)

    def ended(self, number: int, status: int) -> None:
        """The process of a worker has ended with a status as ``waitpid`` gives it."""
        slot = self.slots[number - 1]
        slot.processes -= 1
        self._look_for_end()
        if not self._ending and status:
            killed = status & 0x7F
            how = f"was killed by {signal.Signals(killed).name}" if killed else f"ended with status {status >> 8}"
            log.error("The process of worker {number} {how}", number=number, how=how)

    # What a worker says

    def _received(self, slot: Slot, message: messages.ToParent) -> None:
        match message:
            case messages.Acknowledged(received):
                assert slot.channel is not None
                slot.channel.acknowledge(received)
            case messages.Hello(pid):
                slot.pid = pid
            case messages.Prepared():
                self._prepared(slot, message)
            case messages.Follow(cluster):
                self._follow(slot, cluster)
            case messages.Unfollow(cluster):
                feed = slot.feeds.pop(cluster, None)
                slot.states.pop(cluster, None)
                if feed is not None:
                    feed.stop()
            case messages.Report(number):
                slot.report = message
                self._replied(slot, number, message)
            case messages.Told(number, reply):
                self._replied(slot, number, reply)
            case messages.Checks(checks, degraded):
                slot.checks, slot.degraded = checks, degraded
                self._show_degraded()
            case messages.Fatal(text):
                self.context.fatal(text)

    def _show_degraded(self) -> None:
        """Show once in the parent's list what is degraded in any worker; the worker has logged it."""
        wrong = {(one.label, one.name): one for slot in self.slots for one in slot.degraded}
        for key in [key for key in self._degraded if key not in wrong]:
            self._degraded.pop(key).forget()
        for key, one in wrong.items():
            condition = self._degraded.get(key)
            if condition is None:
                condition = self._degraded[key] = self.context.degraded.condition(FAULTS[one.label], one.name)
            condition.begin(one.text, one.since)

    def _replied(self, slot: Slot, number: int, reply: Any) -> None:
        asked = slot.asked.pop(number, None)
        if asked is not None:
            asked.callback(reply)

    def _prepared(self, slot: Slot, message: messages.Prepared) -> None:
        preparing = slot.preparing
        if preparing is not None:
            if message.number == slot.expected:
                slot.preparing = None
                preparing.errback(Unavailable(message.error)) if message.error else preparing.callback(None)
        elif slot.serves:
            pass  # it was told meanwhile to forget that configuration
        elif message.error or message.number != self._current.number:
            if message.error:
                log.error("Worker {number} cannot serve: {error}", number=slot.number, error=message.error)
            self._end(slot)
        elif not self._ending:
            self._commit(slot)

    def _end(self, slot: Slot) -> None:
        """End a process that is of no use; it is restarted."""
        self._kill(slot.number)
        if slot.channel is not None:
            slot.channel.transport.abortConnection()

    # Clusters

    def _cluster(self, name: str) -> FeedsWorkers | None:
        for configuration in (self._pending, self.server.configuration):
            for resource in configuration.resources if configuration is not None else ():
                if isinstance(resource, FeedsWorkers) and resource.followed_as == name:
                    return resource
        return None

    def _follow(self, slot: Slot, name: str) -> None:
        cluster = self._cluster(name)
        if cluster is None or name in slot.feeds:
            return
        channel = slot.channel
        assert channel is not None
        feed = slot.feeds[name] = Feed(
            cluster.sink,
            self.context.reactor,
            lambda changes: channel.send(messages.Changes(name, changes)),
            partial(self._copied, slot, name),
            lambda: channel.under_way < WINDOW,
        )
        feed.start()

    def _copied(self, slot: Slot, name: str) -> None:
        self._tell(slot, name, fresh=True)
        slot.send(messages.Copied(name))

    def _tell(self, slot: Slot, name: str, *, fresh: bool) -> None:
        """Tell a worker how well a cluster is known: if that is news, or in any case when *fresh*."""
        cluster = self._cluster(name)
        if cluster is None:
            return
        state = messages.ClusterState(name, **cluster.cluster_state())
        before = slot.states.get(name)
        if fresh or before is None or _essence(before) != _essence(state):
            slot.states[name] = state
            slot.send(state)

    def _tick(self) -> None:
        self._timer = self.context.reactor.callLater(TICK, self._tick)
        now = self.context.clock()
        ping = now - self._pinged >= PING
        if ping:
            self._pinged = now
        for slot in self.slots:
            if slot.channel is None:
                continue
            for name in slot.feeds:
                self._tell(slot, name, fresh=ping)
            if slot.channel.behind > MOST_BEHIND or slot.channel.under_way > MOST_UNDER_WAY:
                log.error(
                    "Worker {number} (pid {pid}) is {behind:.0f} s behind, and is restarted",
                    number=slot.number,
                    pid=slot.pid,
                    behind=slot.channel.behind,
                )
                self._end(slot)
            elif ping or slot.channel.under_way:
                slot.send(messages.Ping())

    # Questions

    def ask(self, slot: Slot, line: bytes) -> Deferred[bytes]:
        """Have a worker carry out a line of the admin socket."""
        number = next(self._numbers)
        return slot.ask(number, messages.Ask(number, line))

    def combined(self, apart: bool) -> Deferred[Registry]:
        """What all processes counted: summed up, or *apart* with a label ``worker``."""
        return Deferred.fromCoroutine(self._combined(apart))

    async def _combined(self, apart: bool) -> Registry:
        waiting = []
        for slot in self.serving:
            number = next(self._numbers)
            waiting.append(slot.ask(number, messages.Collect(number)).addTimeout(COLLECT, self.context.reactor))
        await DeferredList(waiting, consumeErrors=True)
        return await in_slices(self.context.reactor, self._added(apart))

    def _added(self, apart: bool) -> Generator[None, None, Registry]:
        labels = ("worker",) if apart else ()
        registry = Registry()
        yield from self.context.tallies.folding()

        def values(name: str) -> tuple[str, ...]:
            return (name,) if apart else ()

        own = [family.report() for family in self.context.registry.families()]
        for report in (*own, *process_report()):
            registry.include(report, labels, values("parent"))
        yield
        for family in self._retired.families():
            registry.include(family.report(), labels, values("ended"))
            yield
        for slot in self.slots:
            for report in slot.report.families if slot.report is not None else ():
                registry.include(report, labels, values(str(slot.number)))
                yield
        return registry


def behind_of(slot: Slot) -> float:
    """Seconds that a worker is behind; 0 when there is none."""
    return slot.channel.behind if slot.channel is not None else 0.0


def _essence(state: messages.ClusterState) -> tuple[object, ...]:
    return state.synced, state.from_snapshot, state.why, state.pods_are_current
