# -*- test-case-name: tests.integration.test_workers -*-
"""
A daemon with workers: the parent's part of it, and what a worker process runs.

This stands at the edge because a worker has a reactor of its own: it is forked before the parent's has run, and never uses that one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from socket import AF_UNIX, socket
from typing import Any

import twisted.internet
from twisted.internet.main import installReactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger, globalLogPublisher

from kdns.admin.commands import Commands
from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.plugin import registry
from kdns.plugin.seam import ServerContext
from kdns.server.logs import OperatorLog, line_format
from kdns.server.output import LineWriter, unblocked
from kdns.server.service import KdnsService
from kdns.tap.clock import use_monotonic_clock
from kdns.tap.garbage import GarbagePlan
from kdns.workers.channel import Channel
from kdns.workers.commands import WorkerCommands
from kdns.workers.fork_server import ForkServer
from kdns.workers.supervisor import Supervisor
from kdns.workers.worker import Worker

log = Logger(namespace="kdns.workers")

NEEDED_LATER = ("kdns.plugins.kubernetes.followed", "prometheus_client")
"""Modules that workers import, and that the parent has not imported before the fork server is forked."""


class Workers:
    """
    The workers of a daemon.

    :param observer: the daemon's own observer of logs; None when the log goes elsewhere.
    """

    def __init__(self, server: KdnsService, number: int, observer: OperatorLog | None) -> None:
        context = server.context
        self._context = context
        self._observer = observer
        self._fork_server = ForkServer(context.reactor, self._run, self._ended)
        self._number = number
        self.supervisor = Supervisor(server, number, self._connect, self._fork_server.kill)
        server.role = self.supervisor

    def commands(self) -> Commands:
        """For the admin socket."""
        return WorkerCommands(self.supervisor).commands()

    def start(self, corefile: Corefile | None) -> None:
        """Fork the fork server, with the plugins of *corefile* imported; before the reactor runs and anything is opened."""
        for block in corefile.blocks if corefile is not None else ():
            for name, directive in block.directives.items():
                try:
                    registry.find(name, directive.place)
                except CorefileError:
                    pass  # the start will tell
        for module in NEEDED_LATER:
            import_module(module)
        self._fork_server.start()

    def stop(self) -> None:
        """End the fork server."""
        self._fork_server.stop()

    def _connect(self, number: int, channel: Channel) -> None:
        reactor = self._context.reactor
        with self._fork_server.fork(number) as connection:  # the reactor works on a copy of the descriptor
            reactor.adoptStreamConnection(connection.fileno(), AF_UNIX, _Factory(channel))

    def _ended(self, number: int, status: int) -> None:
        if number:
            self.supervisor.ended(number, status)
        else:
            self._context.fatal("the process that worker processes are forked from has ended")

    def _run(self, number: int, connection: socket) -> None:
        """What a worker process does."""
        parent = self._context
        reactor = new_reactor(type(parent.reactor))
        use_monotonic_clock(reactor)
        context = ServerContext(
            reactor,
            environ=parent.environ,
            dns_port=parent.dns_port,
            log_format=parent.log_format,
            processes=self._number,
            programs=parent.programs,
            output=parent.output,
        )
        writer = None
        if self._observer is not None:
            form = line_format(context.log_format, context.wall)
            context.output = writer = LineWriter(unblocked(1), context.registry, line_format=form)
            observer = OperatorLog(writer, reactor, line_format=form)
            publisher: Any = globalLogPublisher
            publisher.removeObserver(self._observer)
            publisher.addObserver(observer)
            writer.batch(reactor)
        worker = Worker(context, reactor.stop)
        if self._observer is not None:
            worker.server.taken_over = lambda configuration: setattr(observer, "debug", configuration.debug)
        with connection:  # the reactor works on a copy of the descriptor
            connection.setblocking(False)
            reactor.adoptStreamConnection(connection.fileno(), AF_UNIX, _Factory(worker.channel))
        garbage = GarbagePlan(reactor)
        reactor.callWhenRunning(ignore_signals)
        reactor.callWhenRunning(worker.start)
        reactor.callWhenRunning(garbage.start)
        reactor.run()
        if writer is not None:
            observer.close()
            writer.close()


def new_reactor(kind: Callable[[], Any]) -> Any:
    """
    A reactor for a forked process, in the place of the inherited one.

    The inherited one is kept for ever. Its epoll descriptor belongs to the parent's reactor, too: nobody may use it here, or close it.
    """
    _inherited.append(sys.modules.pop("twisted.internet.reactor"))
    del twisted.internet.reactor
    reactor = kind()
    installReactor(reactor)
    return reactor


_inherited: list[Any] = []


def ignore_signals() -> None:
    """The reactor installs handlers when it begins to run; signals are the parent's business."""
    import signal

    from kdns.workers.fork_server import IGNORED

    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


class _Factory(Factory):
    """Connects a channel with the one connection that there is."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: object) -> Protocol:
        """The channel."""
        return self._channel
