# -*- test-case-name: tests.workers.test_supervisor -*-
"""
A worker: a whole server but for what its parent does once for all workers, which is watching, reloading, pages and signals.

It does what the parent says over the channel, and ends when the channel does.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.admin.command_list import commands_of
from kdns.core.metrics import FamilyReport
from kdns.core.slices import in_slices
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.plugin.seam import Resource, ServerContext, Unavailable
from kdns.server.assembly import Configuration, Endpoint
from kdns.server.reloads import located
from kdns.server.roles import Role
from kdns.server.service import KdnsService
from kdns.workers import messages
from kdns.workers.channel import ACKNOWLEDGE, Channel
from kdns.workers.process import process_report

if TYPE_CHECKING:
    from kdns.plugins.kubernetes.followed import FollowedCluster

log = Logger(namespace="kdns.workers")

LOOK_AT_CHECKS = 0.1
"""Seconds between two looks at the checks of readiness."""

LOOKS_PER_REPORT = 10
"""A report is sent with each of so many looks: what a worker counted since the last one is lost when it is killed."""


class Abandoned(Exception):
    """Another process could not prepare the configuration."""


class Worker(Role):
    """
    The server of a worker process, and its side of the channel.

    :param ended: called when everything has stopped, or the parent is gone.
    """

    records = False

    def __init__(self, context: ServerContext, ended: Callable[[], None]) -> None:
        context.parent = self
        context.fatal = self._fatal
        self.context = context
        self.channel = Channel(messages.to_worker.decode, self._received, self._lost, context.clock, acknowledged=False)
        self.server = KdnsService(context, self._load, lambda line: None)
        self.server.role = self
        self.commands = commands_of(self.server)
        self._ended = ended
        self._corefile: Corefile | None = None
        self._number = 0
        self._abandoned = 0
        self._preparing = False
        self._next: messages.Prepare | None = None
        """What is prepared when the configuration before it has been served or abandoned."""

        self._ports: dict[Endpoint, int] = {}
        self._decision: Deferred[None] | None = None
        self._followed: dict[str, list[FollowedCluster]] = {}
        self._acknowledged = 0
        self._checks: messages.Checks | None = None
        self._timer: Timer | None = None
        self._looks = 0
        self._reporting: Deferred[Any] | None = None

    def start(self) -> None:
        """The channel is connected."""
        self.channel.send(messages.Hello(os.getpid()))
        self._look()

    def _load(self) -> Corefile:
        assert self._corefile is not None
        return self._corefile

    # The role

    def runs(self, resource: Resource) -> bool:
        """Everything that the parent does not run."""
        return not resource.at_parent

    def port(self, endpoint: Endpoint) -> int:
        """The port that the parent reserved."""
        return self._ports.get(endpoint, endpoint.port)

    async def agreed(self, configuration: Configuration) -> None:
        """Tell the parent, and wait for its decision."""
        if self._abandoned == self._number:
            raise Abandoned
        decision: Deferred[None] = Deferred()
        self._decision = decision
        self.channel.send(messages.Prepared(self._number))
        try:
            await decision
        finally:
            self._decision = None

    # What clusters use; see ServerContext.parent.

    def follow(self, cluster: FollowedCluster) -> None:
        """Have the parent send a copy of a cluster, and its changes."""
        self._followed.setdefault(cluster.name, []).append(cluster)
        self.channel.send(messages.Follow(cluster.name))

    def unfollow(self, cluster: FollowedCluster) -> None:
        """Have it send no more."""
        followers = self._followed.get(cluster.name, [])
        if cluster in followers:
            followers.remove(cluster)
        if not followers and self._followed.pop(cluster.name, None) is not None:
            self.channel.send(messages.Unfollow(cluster.name))

    # What the parent says

    def _received(self, message: messages.ToWorker) -> None:
        match message:
            case messages.Changes(name, changes):
                for cluster in self._followed.get(name, ()):
                    cluster.changed(changes)
            case messages.ClusterState(name):
                for cluster in self._followed.get(name, ()):
                    cluster.told(msgspec.structs.asdict(message))
            case messages.Copied(name):
                for cluster in self._followed.get(name, ()):
                    cluster.copied()
            case messages.Prepare():
                self._prepare(message)
            case messages.Commit(number):
                if self._decision is not None and number == self._number:
                    self._decision.callback(None)
            case messages.Abandon(number):
                self._abandon(number)
            case messages.Ask(number, line):
                self.commands.run(line).addCallback(lambda reply: self.channel.send(messages.Told(number, reply)))
            case messages.Collect(number):
                self._report(number)
            case messages.Leave():
                self._leave()
            case messages.Ping():
                self._acknowledge()
        if self.channel.came - self._acknowledged >= ACKNOWLEDGE:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._acknowledged = self.channel.came
        self.channel.send(messages.Acknowledged(self._acknowledged))

    def _abandon(self, number: int) -> None:
        if self._next is not None and self._next.number == number:
            self._next = None
        elif number == self._number:
            self._abandoned = number
            if self._decision is not None:
                self._decision.errback(Abandoned())

    def _prepare(self, message: messages.Prepare) -> None:
        if self._preparing:
            self._next = message
            return
        self._preparing = True
        corefile: Corefile = pickle.loads(message.corefile)  # noqa: S301  # the parent wrote it
        self._number = message.number
        self._ports = {Endpoint(scheme, address, port): reserved for scheme, address, port, reserved in message.ports}
        if self.server.configuration is None:
            self._corefile = corefile
            self.server.startService()
            served = self.server.when_running()
        else:
            served = self.server.adopt(corefile)
        served.addErrback(self._not_prepared, message.number).addCallback(self._go_on)

    def _not_prepared(self, failure: Failure, number: int) -> None:
        if failure.check(Abandoned):
            return
        error = failure.value
        if isinstance(error, (CorefileError, Unavailable)):
            text = located(error)
        else:
            log.failure("A worker could not prepare a configuration", failure=failure)
            text = f"{type(error).__name__}: {error}"
        self.channel.send(messages.Prepared(number, text))

    def _go_on(self, _: None) -> None:
        self._preparing = False
        following, self._next = self._next, None
        if following is not None:
            self._prepare(following)

    # What the parent is told

    def _fatal(self, text: str) -> None:
        self.channel.send(messages.Fatal(text))

    def _look(self) -> None:
        self._timer = self.context.reactor.callLater(LOOK_AT_CHECKS, self._look)
        configuration = self.server.configuration
        if configuration is not None:
            checks = []
            for check in configuration.checks:
                ready = check.ready()
                checks.append(messages.CheckReport(check.name, check.zones, ready, "" if ready else check.why()))
            degraded = [messages.Wrong(one.kind.value.label, *one[:3]) for one in self.context.degraded]
            state = messages.Checks(checks, degraded)
            if state != self._checks:
                self._checks = state
                self.channel.send(state)
        self._looks += 1
        if self._looks >= LOOKS_PER_REPORT and self._reporting is None:
            self._report(0)

    def _report(self, number: int) -> Deferred[None]:
        self._looks = 0
        reporting = in_slices(self.context.reactor, self._counted())
        if not number:
            self._reporting = reporting

        def counted(families: list[FamilyReport]) -> None:
            if not number:
                self._reporting = None
            self.channel.send(messages.Report(number, families))

        return reporting.addCallbacks(counted, lambda _: None)

    def _counted(self) -> Generator[None, None, list[FamilyReport]]:
        yield from self.context.tallies.folding()
        families = []
        for family in self.context.registry.families():
            if family.cells:
                families.append(family.report())
            yield
        return families + process_report()

    # The end

    def _leave(self) -> None:
        self.server.stopService().addBoth(self._stopped)

    def _stopped(self, outcome: Failure | None) -> None:
        if isinstance(outcome, Failure):
            log.failure("A worker did not stop cleanly", failure=outcome)
        self._stop_reporting()
        self._report(0).addCallback(lambda _: self.channel.transport.loseConnection())

    def _stop_reporting(self) -> None:
        stop_timer(self._timer)
        self._timer = None
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None

    def _lost(self) -> None:
        self._stop_reporting()
        self._ended()
