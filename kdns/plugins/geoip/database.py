# -*- test-case-name: tests.plugins.geoip.test_database -*-
"""
A MaxMind database: read at the start, checked for changes from time to time, and read again when it changed.

The database is mapped into memory, and a file that is cut short while it is mapped would end the process (SIGBUS). So a private copy of it
is mapped; it is made in slices. A copy that cannot be used leaves the one before in use.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import maxminddb
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.config_files import config_file_status, open_config_file
from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.stamps import Stamp
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.geoip.labels import Address, Labels, Schema, schema_of

LOOK_INTERVAL = 5.0
"""Seconds between looks at the file; a look is one ``stat``."""

STEP = 1 << 20
"""Bytes that are copied at a time, in some 300 microseconds."""

MOST_KNOWN = 16_384
"""Addresses whose labels are remembered."""

log = Logger(namespace="plugin/geoip")

_BAD = (OSError, ValueError, maxminddb.InvalidDatabaseError)


def _text(error: BaseException | None) -> str:
    if isinstance(error, OSError):
        return f"failed to open database file: open {error.filename}: {reason_of(error)}"
    if isinstance(error, maxminddb.InvalidDatabaseError):
        return "failed to open database file: error opening database: invalid MaxMind DB file"
    return str(error)


def schema_of_file(path: str) -> Schema:
    """
    What the database in a file knows.

    :raises ValueError: the file cannot be used; the text is for the operator.
    """
    try:
        config_file_status(path)
        with maxminddb.open_database(path) as reader:
            return schema_of(reader.metadata().database_type)
    except _BAD as error:
        raise ValueError(_text(error)) from error


class Database(Resource):
    """
    The database in one file.

    :ivar stamp: bumped when labels may have changed.
    """

    def __init__(self, path: str, schema: Schema, described: bool, context: ServerContext) -> None:
        """
        :param described: whether the server block collects metadata.
        """
        self.path = path
        self.schema = schema
        self.stamp = Stamp()
        self.group = lru_cache(MOST_KNOWN)(self._group)
        """From a client's address to a value that is equal for clients with the same labels."""

        self._described = described
        self._context = context
        self._reader: Any = None
        self._seen: tuple[int, int, int] | None = None
        self._timer: Timer | None = None
        self._reading: Deferred[None] | None = None
        self._degraded = context.degraded.condition(Fault.GEOIP_DATABASE, f"database {path}")
        self._built = 0

    def start(self) -> Deferred[None] | None:
        """
        Read the file. The Deferred fails with :class:`SetupError` when it cannot be used.
        """
        if not self._described:
            log.warn("{path}: without metadata in its server block geoip has no effect", path=self.path)
        self._context.registry.gauge(
            "kdns_geoip_database_build_seconds",
            "When the database in use was built, in Unix time.",
            ["file"],
            greatest=True,
        ).gauge(self.path, read=lambda: float(self._built))
        self._wait()
        reading = self._look()
        return None if reading is None else reading.addErrback(self._not_started)

    def _not_started(self, failure: Failure) -> Failure:
        if failure.check(*_BAD):
            raise SetupError(_text(failure.value), plugin="geoip")
        return failure

    def stop(self) -> None:
        stop_timer(self._timer)
        self._timer = None
        self._degraded.forget()
        if self._reading is not None:
            self._reading.cancel()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _wait(self) -> None:
        self._timer = self._context.reactor.callLater(LOOK_INTERVAL, self._again)

    def _again(self) -> None:
        self._wait()
        if self._reading is None:
            try:
                reading = self._look()
            except OSError as error:
                self._keep(Failure(error))
            else:
                if reading is not None:
                    reading.addErrback(self._keep)

    def _keep(self, failure: Failure) -> None:
        """The file cannot be used: what was read before stays in use."""
        if failure.check(CancelledError):
            return
        if failure.check(*_BAD):
            text = f"not read again: {_text(failure.value)}"
            self._degraded.begin(text, self._context.wall(), log)
        else:
            log.failure("reading {path} failed", failure, path=self.path)

    def _look(self) -> Deferred[None] | None:
        """Read the file if it has changed."""
        status = config_file_status(self.path)
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return None
        self._seen = seen  # a file that cannot be used is not tried again before it changes
        self._reading = in_slices(self._context.reactor, self._read())
        return self._reading.addBoth(self._read_ended)

    def _read_ended(self, outcome: Failure | None) -> Failure | None:
        self._reading = None
        return outcome

    def _read(self) -> Generator[None, None, None]:
        with open_config_file(self.path) as file:
            copy = os.memfd_create("geoip")
            try:
                while piece := file.read(STEP):
                    os.write(copy, piece)
                    yield
                reader = maxminddb.open_database(f"/proc/self/fd/{copy}")
            finally:
                os.close(copy)
        try:
            metadata = reader.metadata()
            if schema_of(metadata.database_type) is not self.schema:
                raise ValueError(f"{metadata.database_type} has other labels: reload the configuration")
        except BaseException:
            reader.close()
            raise
        before, self._reader = self._reader, reader
        self._built = metadata.build_epoch
        if before is not None:
            before.close()
            log.info("{path} was read again", path=self.path)
        self._degraded.end(self._context.wall(), log)
        self.group.cache_clear()
        self.stamp.bump()

    def labels(self, address: Address) -> Labels:
        """The values of the schema's labels for an address."""
        record = None
        if self._reader is not None:
            try:
                record = self._reader.get(address)
            except _BAD as error:
                # An IPv6 address in a database of IPv4, which is a ValueError, is unknown like any other.
                if isinstance(error, maxminddb.InvalidDatabaseError):
                    self._degraded.begin(f"damaged: {error}", self._context.wall(), log)
        return self.schema.values(record)

    def _group(self, client: str) -> tuple[int, Labels]:
        # The version keeps answers apart that were given before and after a change, of server blocks without this database, too.
        return self.stamp.version, self.labels(ip_address(client))
