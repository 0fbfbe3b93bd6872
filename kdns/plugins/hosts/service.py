# -*- test-case-name: tests.plugins.hosts.test_service -*-
"""
The hosts file: read at the start, checked for changes from time to time, and read again when it changed.

It is read in slices, into a new table that then replaces the one in use. The stamps of the names that changed move in the same moment, so
that no answer from the old table is sent again.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.config_files import open_config_file
from kdns.core.degraded import Fault
from kdns.core.metrics import Gauge, Registry
from kdns.core.slices import in_slices
from kdns.core.stamps import Stamp, StampBook, StampRef
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.hosts.config import HostsConfig
from kdns.plugins.hosts.table import WILDCARD, HostTable

log = Logger(namespace="plugin/hosts")

MOST_CHANGES = 2000
"""Names whose stamps are moved one by one; with more of them everything is taken as changed."""


class HostsFile(Resource):
    """The tables of one file and of the inline lines of the Corefile."""

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
        self._degraded = context.degraded.condition(Fault.HOSTS_FILE, f"hosts file {config.path}")
        self._timer: Timer | None = None
        self._reading: Deferred[None] | None = None

    def noted(self, qname: bytes) -> tuple[StampRef, ...]:
        """The stamps of an answer about *qname*, whether or not the name exists."""
        return (self._book.note(qname), self._all.ref())

    def start(self) -> Deferred[None] | None:
        """Read the file; fires when that is done. A missing file may come later."""
        self._wait()
        return self.look()

    def stop(self) -> None:
        """Stop reading; invalidate earlier answers."""
        stop_timer(self._timer)
        self._timer = None
        self._degraded.forget()
        if self._reading is not None:
            self._reading.cancel()
        self._all.bump()

    @property
    def reading(self) -> bool:
        return self._reading is not None

    def _wait(self) -> None:
        if self._config.reload > 0:
            self._timer = self._context.reactor.callLater(self._config.reload, self._again)

    def _again(self) -> None:
        self._wait()
        if self._reading is None:
            self.look()

    def look(self) -> Deferred[None] | None:
        """Read the file if it has changed."""
        try:
            status = os.stat(self._config.path)
        except OSError as error:
            if (
                self._begin_degraded(str(error.strerror)) and self._seen is not None
            ):  # a missing file was logged at the start
                log.warn(
                    "{path} cannot be read: {error}; its last content is used",
                    path=self._config.path,
                    error=reason_of(error),
                )
            self._seen = None
            return None
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return None
        self._seen = seen
        self._reading = in_slices(self._context.reactor, self._read(seen))
        return self._reading.addBoth(self._read_ended)

    def _read_ended(self, outcome: Failure | None) -> None:
        self._reading = None
        if not isinstance(outcome, Failure):
            self._degraded.end(self._context.wall(), log)
            return
        if outcome.check(CancelledError):
            return
        error = outcome.value
        self._begin_degraded(getattr(error, "strerror", None) or str(error))
        if isinstance(error, OSError):
            log.warn("{path} cannot be read: {error}", path=self._config.path, error=reason_of(error))
        else:
            log.failure("reading {path} failed", outcome, path=self._config.path)

    def _begin_degraded(self, text: str) -> bool:
        return self._degraded.begin(f"cannot be read: {text}", self._context.wall())

    def _read(self, seen: tuple[int, int]) -> Generator[None, None, None]:
        """Read the file, find the differences, and swap the tables."""
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
        old.free(self._context.deferred_free)

    def _measure(self, seen: tuple[int, int], table: HostTable) -> None:
        registry = self._context.registry
        entries = registry.gauge(
            "coredns_hosts_entries", "Entries of the hosts file and the lines beside it.", ("hostsfile",), greatest=True
        )
        entries.gauge(self._config.path).set(self._inline.entries + table.entries)
        reload_timestamp(registry).set(seen[0] / 1e9)


def reload_timestamp(registry: Registry) -> Gauge:
    """The gauge with the modification time of the file, in seconds since 1970."""
    return registry.gauge(
        "coredns_hosts_reload_timestamp_seconds", "Time of change of the hosts file that was read last.", greatest=True
    ).gauge()
