# -*- test-case-name: tests.plugins.auto.test_folder -*-
"""The zone files of a folder: found at the start and from time to time, read, read again, and dropped when they are gone."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.degraded import Fault
from kdns.core.regexp import Regexp
from kdns.core.slices import in_slices
from kdns.core.stamps import Stamp
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.capabilities import TransferZone, ZoneWatcher
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.auto.config import AutoConfig
from kdns.plugins.file.config import ZoneFileConfig
from kdns.plugins.file.loading import ZoneFile
from kdns.plugins.file.served import ServedZone
from kdns.wire.names import to_text
from kdns.zones.zone import BadZone

log = Logger(namespace="plugin/auto")

MOST_FILES = 100_000
"""Files of a folder, those of its folders included, that are looked at."""


class ZoneFolder(Resource):
    """All zones of a folder."""

    def __init__(self, config: AutoConfig, context: ServerContext) -> None:
        self.zones: dict[bytes, ServedZone] = {}
        """Those that are loaded, by origin."""

        self.members = Stamp()
        """Moves when a zone comes or goes."""

        self.watchers: list[ZoneWatcher] = []
        self._config = config
        self._context = context
        self._pattern = Regexp(config.pattern)
        self._degraded = context.degraded.condition(Fault.ZONE_FILE, f"folder {config.directory}")
        self._files: dict[bytes, ZoneFile] = {}
        self._broken: dict[bytes, ZoneFile] = {}
        """Files that have not been read yet, because something is wrong with them."""

        self._timer: Timer | None = None
        self._work: Deferred[None] | None = None

    # Life

    def start(self) -> Deferred[None] | None:
        """Read all zones; nothing that is wrong with one of them prevents the start."""
        if not self._config.directory:
            return None
        if not os.path.isdir(self._config.directory):
            log.warn("Directory does not exist: {directory}", directory=self._config.directory)
        self._wait()
        return self._scan()

    def stop(self) -> None:
        """Look no more."""
        stop_timer(self._timer)
        if self._work is not None:
            self._work.cancel()
        self._degraded.forget()
        self.members.bump()
        for file in (*self._files.values(), *self._broken.values()):
            file.stop()
        self._files.clear()
        self._broken.clear()
        self.zones.clear()

    def _wait(self) -> None:
        if self._config.reload > 0:
            self._timer = self._context.reactor.callLater(self._config.reload, self._again)

    def _again(self) -> None:
        self._wait()
        if self._work is None:
            self._scan()

    def _scan(self) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._work = work = in_slices(self._context.reactor, self._steps())

        def finished(result: Failure | None) -> None:
            self._work = None
            if isinstance(result, Failure) and result.check(CancelledError) is None:
                log.failure("looking at {directory}", result, directory=self._config.directory)
            done.callback(None)

        work.addBoth(finished)
        return done

    # Work

    def _steps(self) -> Generator[None, None, None]:
        found: dict[bytes, str] = {}
        errors: dict[str, str] = {}
        for path in _files_in(self._config.directory, errors):
            yield
            if path is None:
                continue
            origin = self._config.origin_of(os.path.basename(path), self._pattern)
            if origin is None:
                continue
            if origin in found:
                log.warn(
                    "Multiple zone files match origin {origin}: using {used} instead of {other}",
                    origin=f'"{to_text(origin)}"',
                    used=f'"{found[origin]}"',
                    other=f'"{path}"',
                )
                continue
            found[origin] = path
        now = self._context.wall()
        if not errors:
            self._degraded.end(now, log)
        elif self._degraded.begin("; ".join(errors.values()), now):
            for folder, error in errors.items():
                log.warn("error reading {directory}: {error}", directory=folder, error=error)
        for origin in [origin for origin in self._files if origin not in found]:
            self._drop(origin)
        for origin in [origin for origin, file in self._broken.items() if file.path != found.get(origin)]:
            self._broken.pop(origin).stop()
        for origin, path in found.items():
            file = self._files.get(origin)
            if file is not None and file.path != path:
                self._drop(origin)
                file = None
            if file is None:
                yield from self._insert(origin, path)
            else:
                yield from file.reload_steps()

    def _insert(self, origin: bytes, path: str) -> Generator[None, None, None]:
        file = self._broken.get(origin)
        if file is None:
            file = self._broken[origin] = ZoneFile(ZoneFileConfig(origin, path, 0.0), self._context, "auto")
        now = self._context.wall()
        try:
            yield from file.load_steps()
        except OSError as error:
            if file.degraded.begin(f"cannot be read: {reason_of(error)}", now):
                log.warn("Opening {path} failed: {error}", path=path, error=f"open {path}: {reason_of(error)}")
            return
        except BadZone as error:
            if file.degraded.begin(file.error_text(error), now):
                log.warn("Parse zone `{zone}': {error}", zone=to_text(origin), error=file.error_text(error))
            return
        file.degraded.end(now, log)
        self._files[origin] = self._broken.pop(origin)
        self.zones[origin] = file.served
        self.members.bump()
        log.info("Inserting zone `{zone}' from: {path}", zone=to_text(origin), path=path)
        file.served.changed.append(self._changed)
        self._changed(file.served)

    def _drop(self, origin: bytes) -> None:
        file = self._files.pop(origin)
        del self.zones[origin]
        self.members.bump()
        file.stop()
        file.served.forget()
        log.info("Deleting zone `{zone}'", zone=to_text(origin))

    def _changed(self, zone: TransferZone) -> None:
        for watcher in tuple(self.watchers):
            watcher(zone)


def _files_in(directory: str, errors: dict[str, str]) -> Iterator[str | None]:
    """
    All files below a folder in lexical order; None between them, where nothing was found.

    :param errors: gets the folders that cannot be read, and why.

    Names that begin with ``..`` are left out: in a mounted ConfigMap these are the folders that its names point into.
    """
    folders = [directory]
    count = 0
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                listed = []
                for entry in entries:
                    count += 1
                    listed.append(entry)
                    if not count % 64:
                        yield None
        except OSError as error:
            call = "lstat" if isinstance(error, FileNotFoundError) else "open"
            errors[folder] = f"{call} {folder}: {reason_of(error)}"
            continue
        if count > MOST_FILES:
            log.error(
                "{directory} has more than {most} files: the others are not looked at",
                directory=directory,
                most=MOST_FILES,
            )
            return
        inner = []
        for entry in sorted(listed, key=lambda entry: entry.name):
            if entry.name.startswith(".."):
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif entry.is_file():
                yield entry.path
        folders += reversed(inner)
