# -*- test-case-name: tests.plugins.file.test_loading -*-
"""
A zone file: read at the start, looked at from time to time, and read again when its serial is another one.

Reading a large file takes seconds; it is done in slices, while the version that is there goes on serving.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.config_files import config_file_status, open_config_file
from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import SetupError
from kdns.corefile.values import format_duration, quote
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.file.config import ZoneFileConfig
from kdns.plugins.file.served import ServedZone
from kdns.wire.constants import SOA
from kdns.wire.names import to_text
from kdns.zones.history import Comparison
from kdns.zones.master import MasterError, MasterReader
from kdns.zones.zone import BadZone, Zone, ZoneBuilder, serial_of


class NoSoa(BadZone):
    """A file has no SOA of its zone."""


class ZoneFile(Resource):
    """The zone of one file, and the one of a plugin."""

    def __init__(self, config: ZoneFileConfig, context: ServerContext, plugin: str = "file") -> None:
        self.served = ServedZone(config.origin, plugin, context.registry)
        self.path = config.path
        self._config = config
        self._context = context
        self._plugin = plugin
        self._log = Logger(namespace=f"plugin/{plugin}")
        self.degraded = context.degraded.condition(Fault.ZONE_FILE, f"zone {self.served.name} of {config.path}")
        self._seen: tuple[int, int, int] | None = None
        """Time, size and inode of the file that was looked into last."""

        self._timer: Timer | None = None
        self._work: Deferred[None] | None = None

    # Life

    def start(self) -> Deferred[None] | None:
        """
        Read the file.

        A file that is not there is waited for when it is looked at again; anything else that is wrong with it fails the configuration.
        """
        self._wait()
        return self.load().addErrback(self._start_failed)

    def _start_failed(self, failure: Failure) -> None:
        error = failure.value
        config = self._config
        if isinstance(error, FileNotFoundError):
            text = f"open {config.path}: {reason_of(error)}"
            if not config.reload:
                raise SetupError(text, plugin=self._plugin, located=False)
            self.served.why = f"the zone file cannot be read: {text}"
            self.degraded.begin(f"cannot be read: {reason_of(error)}", self._context.wall())
            self._log.warn(
                "Failed to open {error}: trying again in {pause}",
                error=quote(text),
                pause=format_duration(config.reload),
            )
        elif isinstance(error, NoSoa) and error.args[1:]:
            # CoreDNS starts with such a file and answers nonsense from it; refusing to start would take the other zones along.
            self.served.why = str(error.args[0])
            self.degraded.begin(str(error.args[0]), self._context.wall())
            self._log.warn("{error}; the zone is answered with SERVFAIL", error=error.args[0])
        elif isinstance(error, (OSError, BadZone)):
            raise SetupError(self.error_text(error), plugin=self._plugin, located=False)
        else:
            failure.raiseException()

    def error_text(self, error: Exception) -> str:
        """What is wrong with the file."""
        path, zone = self._config.path, to_text(self._config.origin)
        if isinstance(error, NoSoa):
            return str(error.args[0])
        if isinstance(error, OSError):
            verb = "read" if isinstance(error, IsADirectoryError) else "open"
            return f"failed to parse file {quote(path)} for origin {zone} with error {verb} {path}: {reason_of(error)}"
        if isinstance(error, MasterError):
            return f"failed to parse file {quote(path)} for origin {zone} with error {error}"
        return f"file {quote(path)} is no zone for origin {zone}: {error}"

    def stop(self) -> None:
        """Look no more; answers from the zone are not given any more."""
        stop_timer(self._timer)
        if self._work is not None:
            self._work.cancel()
        self.degraded.forget()
        self.served.stamp.bump()
        old, self.served.zone = self.served.zone, None
        self._free(old)

    def _wait(self) -> None:
        if self._config.reload > 0:
            self._timer = self._context.reactor.callLater(self._config.reload, self._look_again)

    def _look_again(self) -> None:
        self._wait()
        if self._work is None:
            self.reload().addErrback(self._reload_failed)

    def _reload_failed(self, failure: Failure) -> None:
        zone, path, error = quote(self.served.name), quote(self._config.path), failure.value
        self.served.failed.value += 1
        if isinstance(error, (OSError, BadZone)):
            text = f"cannot be read: {reason_of(error)}" if isinstance(error, OSError) else self.error_text(error)
            if not self.degraded.begin(text, self._context.wall()):
                return  # it was logged before
        if isinstance(error, OSError):
            self._log.error(
                "Failed to open zone {zone} in {path}: {error}", zone=zone, path=path, error=reason_of(error)
            )
        elif isinstance(error, BadZone):
            self._log.error("Parsing zone {zone}: {error}", zone=zone, error=self.error_text(error))
        else:
            self._log.failure("reloading zone {zone}", failure, zone=zone)

    # Work

    def load(self) -> Deferred[None]:
        """Read the whole file; the Deferred fails with what is wrong with it."""
        return self._run(self.load_steps())

    def reload(self) -> Deferred[None]:
        """Read the file again if it is another version."""
        return self._run(self._reload_steps())

    def _run(self, steps: Generator[None, None, None]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._work = work = in_slices(self._context.reactor, steps)

        def finished(result: Failure | None) -> None:
            self._work = None
            if isinstance(result, Failure) and result.check(CancelledError) is None:
                done.errback(result)
            else:
                done.callback(None)

        work.addBoth(finished)
        return done

    def _status(self) -> tuple[int, int, int]:
        status = config_file_status(self._config.path)
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _reload_steps(self) -> Generator[None, None, None]:
        yield from self._read_if_changed()
        self.degraded.end(self._context.wall(), self._log)

    def _read_if_changed(self) -> Generator[None, None, None]:
        seen = self._status()
        served = self.served
        if seen == self._seen:
            return
        if served.zone is not None and not self._config.by_mtime:
            serial = yield from self._serial_of_file()
            if serial == served.zone.serial:
                self._seen = seen
                return
        yield from self.load_steps()
        if served.zone is not None:
            self._log.info(
                "Successfully reloaded zone {zone} in {path} with {serial} SOA serial",
                zone=quote(served.name),
                path=quote(self._config.path),
                serial=served.zone.serial,
            )

    def reload_steps(self) -> Generator[None, None, None]:
        """Read the file again if it is another version; what is wrong with it is logged, and the old version stays."""
        try:
            yield from self._reload_steps()
        except (OSError, BadZone):
            self._reload_failed(Failure())

    def load_steps(self) -> Generator[None, None, None]:
        """
        Read the whole file.

        :raises OSError: it cannot be read.
        :raises BadZone: it is no zone.
        """
        seen = self._status()
        zone = yield from self._read()
        old = self.served.zone
        delta = None
        if old is not None:
            comparison = Comparison(old, zone)
            yield from comparison.steps()
            delta = comparison.delta
        self._seen = seen
        self._free(self.served.put(zone, (delta,)))

    def _read(self) -> Generator[None, None, Zone]:
        config = self._config
        builder = ZoneBuilder(config.origin)
        yield from MasterReader(open_config_file, config.path, config.origin, builder.add).read()
        if not builder.has_soa:
            text = f"file {quote(config.path)} has no SOA record for origin {to_text(config.origin)}"
            if builder.foreign_soa is None:
                raise NoSoa(text)
            raise NoSoa(f"{text}, only one of {to_text(builder.foreign_soa)}", builder.foreign_soa)
        yield from builder.finish()
        if builder.foreign:
            self._log.warn(
                "{count} records in {path} are not in zone {zone}, and are left out",
                count=builder.foreign,
                path=config.path,
                zone=self.served.name,
            )
        if builder.extra_soas:
            self._log.warn("{path} has more than one SOA record; the last one counts", path=config.path)
        return builder.zone

    def _serial_of_file(self) -> Generator[None, None, int | None]:
        """The serial of the file, which is read as far as its SOA."""
        found: list[int] = []

        def add(owner: bytes, rtype: int, ttl: int, rdata: bytes, spelled: bytes | None) -> None:
            if rtype == SOA and owner == self._config.origin:
                found.append(serial_of(rdata))

        steps: Iterator[None] = MasterReader(open_config_file, self._config.path, self._config.origin, add).read()
        for _ in steps:
            if found:
                break
            yield
        return found[0] if found else None

    def _free(self, zone: Zone | None) -> None:
        """Let go of a version a part at a time: freeing a million names takes tens of milliseconds."""
        if zone is not None:
            self._context.deferred_free.take(zone.index)
