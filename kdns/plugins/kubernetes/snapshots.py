# -*- test-case-name: tests.plugins.kubernetes.test_snapshots -*-
"""
``snapshot FILE``: the cluster's objects on disk, so that kdns can answer after a restart without an API server.

The file is read at the start, and written some time after a change, a few milliseconds in each turn of the reactor; a thread waits for
the disk. An unusable file is logged with its reason, and one that cannot be written is logged once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kdns.cluster.projection import Options
from kdns.cluster.snapshot import Header, Reader, SnapshotError, Writer, kept, load, verify
from kdns.cluster.source import ChangeSink
from kdns.core.config_files import open_config_file
from kdns.core.degraded import Fault
from kdns.core.slices import in_slices
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.seam import ServerContext

log = Logger(namespace="plugin/kubernetes")

INTERVAL = 30.0
"""Seconds between two looks whether something changed that the file does not hold yet."""

SLICE = 0.001
"""Seconds of a turn in which objects are written, and one step more, which takes another millisecond."""

InThread = Callable[[Callable[[], Any]], Deferred[Any]]


class SnapshotFile:
    """
    The snapshot of one index.

    :param whole: whether the index is complete; after a restart a part must not pass for the whole.
    :ivar written: when the file was written, in Unix seconds; None when none was read.
    """

    def __init__(
        self,
        context: ServerContext,
        path: str,
        sink: ChangeSink,
        options: Options,
        in_thread: InThread,
        whole: Callable[[], bool] = lambda: True,
    ) -> None:
        self.written: float | None = None
        self._context = context
        self._path = path
        self._sink = sink
        self._index = sink.index
        self._options = options
        self._in_thread = in_thread
        self._whole = whole
        self._timer: Timer | None = None
        self._held = -1  # how many changes the index had seen when the file was written
        self._degraded = context.degraded.condition(Fault.SNAPSHOT, f"snapshot {path}")
        self._writing: Deferred[None] | None = None

    def read(self) -> None:
        """
        Enter the objects of the file into the index; none if the file is damaged.

        This happens before kdns answers, so it may take time: about 0.2 s for 10,000 services with their slices.
        """
        if not os.path.exists(self._path):
            log.info("no snapshot at {path} yet", path=self._path)
            return
        try:
            header = verify(self._path, self._options)
            with open_config_file(self._path) as file:
                count = self._enter(file)
        except (SnapshotError, OSError) as error:
            log.error("snapshot {path} is not used: {error}", path=self._path, error=error)
            self._begin_degraded(f"not used: {error}")
            return
        self.written = header.written
        self._held = self._index.changes
        age = max(0, int(self._context.wall() - header.written))
        log.info("{count} objects from snapshot {path}, {age} s old", count=count, path=self._path, age=age)

    def _enter(self, file: BinaryIO) -> int:
        count = 0
        for entered in load(Reader(file, self._options), self._sink.apply):
            count = entered
        return count

    def start(self) -> None:
        """Write periodically from now on."""
        self._timer = self._context.reactor.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        """Stop writing. Later changes come from the API after the next start."""
        stop_timer(self._timer)
        self._timer = None
        self._degraded.forget()
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()

    def _look(self) -> None:
        self._timer = self._context.reactor.callLater(INTERVAL, self._look)
        changes = self._index.changes
        if changes == self._held or self._writing is not None or not self._whole():
            return
        self._held = changes
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addCallbacks(self._written, lambda failure: self._failed(failure.value))

    async def _write(self) -> None:
        writer = Writer(self._path, self._index, Header(self._context.wall(), kept=kept(self._options)))
        await in_slices(self._context.reactor, writer.encode(), SLICE)
        await self._in_thread(writer.commit)

    def _written(self, result: None) -> None:
        self._writing = None
        self._degraded.end(self._context.wall(), log)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, CancelledError):
            return
        self._writing = None
        self._held = -1
        # Without the name of the temporary file, which is another each time.
        text = (error.strerror if isinstance(error, OSError) else "") or str(error)
        if self._begin_degraded(f"cannot be written: {text}"):
            log.error("snapshot {path} cannot be written: {error}", path=self._path, error=text)

    def _begin_degraded(self, text: str) -> bool:
        return self._degraded.begin(text, self._context.wall())
