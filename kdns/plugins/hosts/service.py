# -*- test-case-name: tests.plugins.hosts.test_service -*-
"""
The hosts file: read at the start, looked at from time to time, read again beside the table that serves when it changed.

Reading is cut into slices of two milliseconds. The new table takes the place of the old one in one moment, and the stamps of the names
that changed move with it, so that no answer made from the old table is given again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import CooperativeTask, Cooperator, TaskStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.config_files import open_config_file
from kdns.core.metrics import Gauge, Registry
from kdns.core.stamps import Stamp, StampBook, StampRef
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.hosts.config import HostsConfig
from kdns.plugins.hosts.table import WILDCARD, HostTable

log = Logger(namespace="plugin/hosts")

SLICE = 0.002
"""Seconds of one turn of the reactor that reading takes at most, a step over."""

PAUSE = 1e-8
"""Seconds between two slices: in the reactor's next turn, whatever else waits for it."""

MOST_CHANGES = 2000
"""Names whose stamps are moved one by one; with more of them everything is taken as changed."""


class HostsFile(Resource):
    """The table of one file, and the one of the lines in the Corefile beside it."""

    def __init__(self, config: HostsConfig, context: ServerContext) -> None:
        zones = frozenset(config.zones)
        self._config = config
        self._context = context
        self._zones = zones
        self._inline = HostTable(zones, config.reverse)
        for _ in self._inline.read(line.encode() for line in config.inline):
            pass
        self.tables = (self._inline, HostTable(zones, config.reverse))
        self._book = StampBook()
        self._all = Stamp()
        self._seen: tuple[int, int] | None = None
        self._timer: Any = None
        self._task: CooperativeTask[Any] | None = None
        self._cooperator = Cooperator(
            terminationPredicateFactory=self._slice,
            scheduler=lambda step: context.reactor.callLater(PAUSE, step),
        )

    def _slice(self) -> Callable[[], bool]:
        end = self._context.clock() + SLICE
        return lambda: self._context.clock() >= end

    def noted(self, qname: bytes) -> tuple[StampRef, ...]:
        """What an answer about *qname* depends on, whether the name is there or not."""
        return (self._book.note(qname), self._all.ref())

    def start(self) -> Deferred[None] | None:
        """Read the file; the Deferred fires when that is done. A file that is not there may come later."""
        self._wait()
        return self._look()

    def stop(self) -> None:
        """Read no more; what was answered until now is no longer true for sure."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.stop()
        self._all.bump()

    def _wait(self) -> None:
        if self._config.reload > 0:
            self._timer = self._context.reactor.callLater(self._config.reload, self._again)

    def _again(self) -> None:
        self._wait()
        if self._task is None:
            self._look()

    def _look(self) -> Deferred[None] | None:
        """Read the file if it is another one than before."""
        try:
            status = os.stat(self._config.path)
        except OSError:
            return None
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return None
        self._seen = seen
        steps = self._read(seen)
        self._task = self._cooperator.cooperate(steps)
        done: Deferred[None] = Deferred()

        def finished(result: Any) -> None:
            self._task = None
            steps.close()
            if isinstance(result, Failure) and result.check(TaskStopped) is None:
                if result.check(OSError) is None:
                    log.failure("reading {path} failed", result, path=self._config.path)
                else:
                    log.warn("{path} cannot be read: {error}", path=self._config.path, error=str(result.value))
            done.callback(None)

        self._task.whenDone().addBoth(finished)
        return done

    def _read(self, seen: tuple[int, int]) -> Generator[None, None, None]:
        """Read the file, find out what changed, and exchange the tables."""
        table = HostTable(self._zones, self._config.reverse)
        with open_config_file(self._config.path) as file:
            yield from table.read(file)
        _, old = self.tables
        changed: list[bytes] = []
        everything = False
        with closing(old.changes(table)) as changes:
            for count, name in enumerate(changes):
                if name is not None:
                    changed.append(name)
                    if name.startswith(WILDCARD) or len(changed) > MOST_CHANGES:
                        everything = True
                        break
                if name is None or not count % 100:
                    yield
        self.tables = (self._inline, table)
        if everything:
            self._all.bump()
        else:
            for name in changed:
                self._book.bump(name)
        self._measure(seen, table)
        yield from old.forget()

    def _measure(self, seen: tuple[int, int], table: HostTable) -> None:
        registry = self._context.registry
        entries = registry.gauge(
            "coredns_hosts_entries", "Entries of the hosts file and the lines beside it.", ("hostsfile",)
        )
        entries.gauge(self._config.path).set(self._inline.entries + table.entries)
        reload_timestamp(registry).set(seen[0] / 1e9)


def reload_timestamp(registry: Registry) -> Gauge:
    """The gauge that tells when the file read last was changed, in seconds since 1970."""
    return registry.gauge(
        "coredns_hosts_reload_timestamp_seconds", "Time of change of the hosts file that was read last."
    ).gauge()
