# -*- test-case-name: tests.server.test_service -*-
"""
The service that owns everything: it starts a configuration, swaps in another, and stops.

A reload reads the Corefile and assembles the configuration while the old one serves. New resources start, new sockets open; then, in one
turn of the reactor, the new blocks answer. Resources and sockets that the new configuration does not use stop afterwards, when the queries
that came before have been answered. Whatever fails before the swap changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred, FirstError, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.degraded import Condition, Fault
from kdns.core.slices import in_slices
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.loader import Corefile
from kdns.plugin.http import HttpListener
from kdns.plugin.seam import Keeper, Output, Resource, ServerContext, Unavailable
from kdns.server import gauges
from kdns.server.assembly import Configuration, Endpoint, assemble
from kdns.server.deadlines import InFlight
from kdns.server.limits import Saturation, memory_limit, table_bytes
from kdns.server.listener import Listener
from kdns.server.reloads import Reloads
from kdns.server.roles import Role
from kdns.server.self_checks import SelfChecks
from kdns.server.sockets import LISTENERS, OpenEndpoint, check_endpoint
from kdns.server.streams import ConnectionLimit
from kdns.server.table import TableBudget
from kdns.server.top_talkers import TopTalkers

log = Logger(namespace="kdns.server")

LOOK_AGAIN = 0.05
"""Seconds between two checks whether queries of the old configuration are still in flight."""

LISTEN = 1.0
"""Seconds at the end in which connections with a query in flight may send more."""

FINISH = 6.0
"""Seconds that the end waits for in-flight queries. A query takes less than five, and its client has half a second more to close."""

FOLD_INTERVAL = 1.0
"""Seconds between two foldings of what the answer tables counted."""


class KdnsService(Service):
    """
    A kdns server as a part of a Twisted application.

    :param load: reads the Corefile; called at the start and for each reload, and may raise :class:`CorefileError`.
    :param announce: takes the lines that a start shows: a zone and address each.
    :ivar taken_over: called with each configuration when it begins to serve.
    """

    def __init__(self, context: ServerContext, load: Callable[[], Corefile], announce: Output | None = None) -> None:
        self.context = context
        self._load = load
        self._announce = announce
        self._left_out: list[Condition] = []
        self.taken_over: Callable[[Configuration], None] = lambda configuration: None
        self.role = Role()
        self.permanent: list[Resource] = []
        """Resources of the program around this service: they run with every configuration, and start before those of the Corefile."""

        self.table_budget = TableBudget(table_bytes() // context.processes, context.deferred_free)
        self.connections = ConnectionLimit()
        self.top_talkers = TopTalkers(context.clock)
        self.saturation = Saturation(context.clock)
        self._self_checks = SelfChecks(context, self.top_talkers, memory_limit())
        self.configuration: Configuration | None = None
        self.endpoints: dict[Endpoint, OpenEndpoint] = {}
        self._drops_before = 0
        self._running: list[Resource] = []
        self._busy: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._resting: list[Deferred[None]] = []
        self._leaving: list[Deferred[None]] = []
        self._outcome: Failure | None = None
        self._ending = False
        self._wanted = False
        self._timer: Timer | None = None
        self._folding: Deferred[None] | None = None
        self._tried = ""
        """Fingerprint of the configuration that the current reload tries; empty until it is read."""

        self._fault: Place | None = None
        """The place in the Corefile of what failed, for errors that do not know it."""

        self.reloads = Reloads(context)
        context.check_reload = self.check_reload
        context.sample = self.top_talkers.sample
        context.refused = self.top_talkers.refuse
        gauges.declare(self)
        registry = context.registry
        registry.gauge("kdns_answer_table_entries", "Finished replies held to be given again.").gauge(
            read=lambda: float(sum(len(table) for opened in self.endpoints.values() for table in opened.tables))
        )
        registry.gauge("kdns_answer_table_bytes", "Bytes that those replies take.").gauge(
            read=lambda: float(self.table_budget.young + self.table_budget.old)
        )

    # Life

    def check(self) -> None:
        """
        Find out whether this can start: build the configuration, open its ports for a moment, and start nothing.

        :raises CorefileError: the configuration is wrong.
        :raises Unavailable: a port cannot be opened.
        """
        configuration = assemble(self._load(), self.context)
        for resource in configuration.resources:
            if isinstance(resource, HttpListener):
                resource.check()
        for endpoint in configuration.endpoints:
            check_endpoint(self.context, endpoint.scheme, endpoint.address, endpoint.port)

    def startService(self) -> None:
        """Begin; :meth:`when_running` fires when queries are answered."""
        super().startService()
        self._outcome = None
        self._ending = self._wanted = False
        self._busy = Deferred.fromCoroutine(self._start())
        self._busy.addBoth(self._started)

    def when_running(self) -> Deferred[None]:
        """Fires when queries are answered, or fails with the reason; each caller gets its own Deferred."""
        if self.configuration is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        if self._outcome is not None:
            waiting.errback(self._outcome)
        else:
            self._waiting.append(waiting)
        return waiting

    async def _start(self) -> None:
        configuration = self._assemble(self._load())
        for warning in configuration.warnings:
            (self._announce or _log_line)(warning)
        await self._prepare_and_swap(configuration, configuration.resources)
        self._fold()
        self.context.deferred_free.start(self.context.reactor)
        for line in configuration.announcements:
            if self._announce is not None:
                self._announce(line)
        if self.role.records:
            watched = any("reload" in block.directives for block in configuration.corefile.blocks)
            self.reloads.started(configuration.corefile.fingerprint, watched=watched)

    def _assemble(self, corefile: Corefile, running: Keeper | None = None) -> Configuration:
        """Build a configuration, with the resources that this process runs."""
        configuration = assemble(corefile, self.context, running)
        resources = [*self.permanent, *configuration.resources]
        configuration.resources = [resource for resource in resources if self.role.runs(resource)]
        return configuration

    async def _prepare_and_swap(
        self, configuration: Configuration, fresh: list[Resource]
    ) -> tuple[list[Resource], list[OpenEndpoint]]:
        """
        Start what is new in *configuration*, and serve it once all processes are prepared to. What fails changes nothing.

        :return: as :meth:`_swap`.
        """
        await self._start_resources(fresh, configuration)
        opened: dict[Endpoint, OpenEndpoint] = {}
        try:
            self._open(configuration, opened)
            await self.role.agreed(configuration)
            return self._swap(configuration, opened)
        except BaseException:
            for one in opened.values():
                one.close(self.table_budget)
            await self._stop_resources(fresh)
            raise

    def _started(self, outcome: Failure | None) -> None:
        self._rest()
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(outcome) if isinstance(outcome, Failure) else one.callback(None)

    def _rest(self) -> None:
        """The start or reload has ended."""
        self._busy = None
        resting, self._resting = self._resting, []
        for one in resting:
            one.callback(None)
        if self._wanted and not self._ending:
            self._wanted = False
            self.context.reactor.callLater(0, self.reload)

    async def _stop(self) -> None:
        if self._busy is not None:
            rested: Deferred[None] = Deferred()
            self._resting.append(rested)
            self._busy.cancel()
            await rested
        leaving = [resource.leave() for resource in self._running]
        await gatherResults([left for left in leaving if left is not None], consumeErrors=True)
        await self.role.leave()
        await self._finish(self.endpoints.values())
        stop_timer(self._timer)
        self._timer = None
        if self._folding is not None:
            self._folding.cancel()
        self.context.deferred_free.stop()
        self._drops_before = self.receive_drops()
        closing = [opened.close(self.table_budget) for opened in self.endpoints.values()]
        self.endpoints.clear()
        await gatherResults(closing, consumeErrors=True)
        for one in list(self._leaving):
            one.cancel()
        await gatherResults(list(self._leaving), consumeErrors=True)
        await self._stop_resources(self._running)
        self._running = []
        self.configuration = None
        self.context.tallies.fold()

    def receive_drops(self) -> int:
        """Queries over UDP that the kernel dropped because the process did not read them in time, closed sockets included."""
        return self._drops_before + sum(opened.drops() for opened in self.endpoints.values())

    def stopService(self) -> Deferred[None]:
        """Stop after the delay that resources ask for (``lameduck``). Nothing is left behind when the Deferred fires."""
        super().stopService()
        self._ending = True
        return Deferred.fromCoroutine(self._stop())

    # Change

    def read_corefile(self) -> Corefile:
        """
        The Corefile as it is on disk.

        :raises CorefileError: it is none.
        """
        return self._load()

    def check_reload(self) -> None:
        """Read the Corefile again and use it if it changed."""
        if self._busy is not None or self.configuration is None:
            return
        try:
            corefile = self._load()
        except CorefileError as error:
            self.reloads.unreadable(error)
            return
        if corefile.fingerprint == self.configuration.corefile.fingerprint:
            self.reloads.unchanged()
        elif corefile.fingerprint != self.reloads.refused:
            self.reload(corefile)

    def adopt(self, corefile: Corefile) -> Deferred[None]:
        """
        Take over *corefile* and fail with the reason if it cannot be served; a worker does what its parent logs and counts.

        :raises AlreadyCalledError: the start or another reload has not ended.
        """
        if self._busy is not None:
            raise AlreadyCalledError
        self._busy = Deferred.fromCoroutine(self._reload(corefile))
        done: Deferred[None] = Deferred()

        def ended(outcome: Failure | None) -> None:
            self._rest()
            done.callback(None) if outcome is None else done.errback(outcome)

        self._busy.addBoth(ended)
        return done

    def reload(self, corefile: Corefile | None = None) -> Deferred[bool]:
        """
        Take over *corefile*, or read the file. During the start or another reload, it follows when that has ended.

        :return: fires with whether it was taken over; a configuration that fails is logged and counted, and changes nothing.
        """
        if self._busy is not None:
            self._wanted = not self._ending
        if self._busy is not None or self.configuration is None or self._ending:
            return succeed(False)
        log.info("Reloading")
        self._tried, self._fault = "", None
        self._busy = Deferred.fromCoroutine(self._reload(corefile))
        done: Deferred[bool] = Deferred()
        self._busy.addCallbacks(self._reloaded, self._not_reloaded, callbackArgs=(done,), errbackArgs=(done, corefile))
        return done

    async def _reload(self, corefile: Corefile | None) -> None:
        assert self.configuration is not None
        if corefile is None:
            corefile = self._load()
        self._tried = corefile.fingerprint
        configuration = self._assemble(corefile, self.configuration.kept)
        fresh = [resource for resource in configuration.resources if resource not in self._running]
        old, closed = await self._prepare_and_swap(configuration, fresh)
        leaving = Deferred.fromCoroutine(self._stop_when_answered(old, closed))
        if not leaving.called:
            self._leaving.append(leaving)
            leaving.addBoth(lambda _: self._leaving.remove(leaving))

    async def _stop_when_answered(self, old: list[Resource], closed: list[OpenEndpoint]) -> None:
        """Stop resources and close sockets once the queries in flight with them are answered; this takes seconds at most."""
        marks = _marks([*self.endpoints.values(), *closed])
        try:
            await self._finish(closed)
            while _unanswered(marks):
                await deferLater(self.context.reactor, LOOK_AGAIN)
        except CancelledError:
            pass  # the service ends; it has called leave()
        await gatherResults([opened.close(self.table_budget) for opened in closed], consumeErrors=True)
        await self._stop_resources(old)

    async def _finish(self, endpoints: Iterable[OpenEndpoint]) -> None:
        """Take no new queries at these endpoints, and wait for those in flight; each has its own deadline."""
        finishing = list(endpoints)
        begun = self.context.reactor.seconds()
        for opened in finishing:
            opened.leave()
        if any(opened.receiving or not opened.factory.empty for opened in finishing):
            # Meanwhile the reactor reads what clients have written already, and datagrams that were on their way to a socket that left.
            await deferLater(self.context.reactor, LOOK_AGAIN)
        marks = _marks(finishing)
        while True:
            passed = self.context.reactor.seconds() - begun
            for opened in finishing:
                opened.factory.finish_all(reading=passed < LISTEN)
            if passed > FINISH or not (_unanswered(marks) or any(not opened.factory.empty for opened in finishing)):
                return
            await deferLater(self.context.reactor, LOOK_AGAIN)

    def _reloaded(self, _: None, done: Deferred[bool]) -> None:
        self._rest()
        assert self.configuration is not None
        self.reloads.taken_over(self.configuration.corefile.fingerprint)
        done.callback(True)

    def _not_reloaded(self, failure: Failure, done: Deferred[bool], corefile: Corefile | None) -> None:
        self._rest()
        error: BaseException = failure.value or AssertionError("a failure without an exception")
        if self._ending:
            done.callback(False)
            return
        assert self.configuration is not None
        self._tell_checks(self.configuration)
        if not isinstance(error, (CorefileError, Unavailable)):
            log.failure("Reload failed unexpectedly", failure=failure)
        self.reloads.failed(error, self._fault, self._tried, looked=corefile is not None)
        done.callback(False)

    async def _start_resources(self, resources: Iterable[Resource], configuration: Configuration) -> None:
        """
        Start all, and wait for those that take time. When one fails, those that were started stop again.

        Readiness pages know the new plugins from the beginning, so they show what the start still waits for.
        """
        started: list[Resource] = []
        waiting = []
        try:
            for resource in resources:
                place = configuration.places.get(id(resource))
                try:
                    begun = resource.start()
                except Exception:
                    self._fault = place
                    raise
                started.append(resource)
                if begun is not None:
                    waiting.append(begun.addErrback(self._blame, place))
            self._tell_checks(configuration)
            await gatherResults(waiting, consumeErrors=True)
        except BaseException as error:
            await self._stop_resources(started)
            if isinstance(error, FirstError):
                error.subFailure.raiseException()
            raise

    def _blame(self, failure: Failure, place: Place | None) -> Failure:
        self._fault = self._fault or place
        return failure

    def _tell_checks(self, configuration: Configuration) -> None:
        checks = self.role.checks(configuration)
        for resource in configuration.resources:
            resource.set_checks(checks)

    async def _stop_resources(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            try:
                stopped = resource.stop()
                if stopped is not None:
                    await stopped
            except Exception:
                log.failure("{resource} did not stop cleanly", resource=resource)

    def _open(self, configuration: Configuration, opened: dict[Endpoint, OpenEndpoint]) -> None:
        """
        Open the sockets that are new in *configuration*, into *opened*.

        :raises CannotListen: one cannot be opened.
        """
        for endpoint, zones in configuration.endpoints.items():
            if endpoint not in self.endpoints and self.role.listens:
                listener = Listener(self.context, endpoint.label, zones)
                try:
                    opened[endpoint] = LISTENERS[endpoint.scheme](
                        self.context.reactor,
                        listener,
                        endpoint.address,
                        self.role.port(endpoint),
                        self.table_budget,
                        self.connections,
                    )
                except Unavailable as error:
                    error.place = configuration.claims[endpoint]
                    raise

    def _swap(
        self, configuration: Configuration, opened: dict[Endpoint, OpenEndpoint]
    ) -> tuple[list[Resource], list[OpenEndpoint]]:
        """
        Serve *configuration* from now on.

        :return: the resources and endpoints that it no longer uses.
        """
        self.table_budget.clear()
        closed = []
        for endpoint in list(self.endpoints):
            zones_now = configuration.endpoints.get(endpoint)
            if zones_now is None:
                left = self.endpoints.pop(endpoint)
                self._drops_before += left.drops()
                closed.append(left)
            else:
                self.endpoints[endpoint].listener.serve(zones_now)
        self.endpoints.update(opened)
        old = [resource for resource in self._running if resource not in configuration.resources]
        fresh = [resource for resource in configuration.resources if resource not in self._running]
        self._running = list(configuration.resources)
        self.configuration = configuration
        self.top_talkers.set_search_paths(gauges.search_paths(configuration))
        self.taken_over(configuration)
        self._show_left_out(configuration)
        for resource in fresh:
            resource.serving()
        return old, closed

    def _show_left_out(self, configuration: Configuration) -> None:
        """Have the directives that the configuration does without in the list of what is wrong."""
        for condition in self._left_out:
            condition.forget()
        self._left_out = []
        places: dict[str, list[str]] = {}
        for one in configuration.corefile.left_out:
            places.setdefault(one.name, []).append(str(one.place))
        for name, found in places.items():
            condition = self.context.degraded.condition(Fault.MISSING_PLUGIN, f"directive {name}")
            condition.begin(f"left out at {', '.join(found)}", self.context.wall(), log if self.role.records else None)
            self._left_out.append(condition)

    def _fold(self) -> None:
        """Each second, add the hits of the tables to the counters, and advance everything that depends on the clock."""
        self._timer = None
        self.saturation.sample()
        self.top_talkers.advance()
        self._self_checks.look()
        self._folding = in_slices(self.context.reactor, self.context.tallies.folding()).addBoth(self._folded)

    def _folded(self, outcome: Failure | None) -> None:
        if isinstance(outcome, Failure):
            if outcome.check(CancelledError):
                return
            log.failure("Counters could not be summed up", failure=outcome)
        self._timer = self.context.reactor.callLater(FOLD_INTERVAL, self._fold)


def _marks(endpoints: Iterable[OpenEndpoint]) -> list[tuple[InFlight[Any], int]]:
    """The in-flight queries of each endpoint, and its newest ticket."""
    return [(opened.listener.waiting, opened.listener.waiting.newest) for opened in endpoints]


def _unanswered(marks: list[tuple[InFlight[Any], int]]) -> bool:
    """Whether a query of then is still in flight."""
    return any(waiting.oldest <= newest for waiting, newest in marks)


def _log_line(line: str) -> None:
    log.warn("{line}", line=line)
