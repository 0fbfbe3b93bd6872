# -*- test-case-name: tests.cluster.test_manifest_watcher -*-
"""
Keeps an index as a folder of manifests says: a shell around manifests.py.

Paths are looked at every few seconds. When a file changed (or the link behind it, as in a mounted ConfigMap), all are read again and
entered as a new list of every kind, some hundred objects in a reactor turn. While anything in the files is wrong, what is right in them is
entered and nothing is taken away: a file that is being written must not make services vanish.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import time

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifests import Manifests, Problem, Selection, read
from kdns.cluster.objects import Kind
from kdns.cluster.projection import Options, Projector
from kdns.cluster.timing import Clock, Timer
from kdns.core.config_files import read_config_file
from kdns.core.slices import in_slices

INTERVAL = 2.0
"""Seconds between two looks."""

BATCH = 20
"""Objects entered in one step: some 200 microseconds."""

SUFFIXES = (".yaml", ".yml", ".json")

log = Logger()

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What files said, and the signature they had all the time."""

    manifests: Manifests
    signature: Signature | None
    """None when they changed while they were read."""


def files_of(paths: Sequence[str]) -> list[str]:
    """The files that paths stand for: those that are named, and the manifests in folders (hidden ones left out), in order."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            files += [os.path.join(path, name) for name in names if name.endswith(SUFFIXES) and name[0] != "."]
        else:
            files.append(path)
    return files


def signature_of(paths: Sequence[str]) -> Signature:
    """Changes when a file does, comes or goes."""
    rows = []
    for path in files_of(paths):
        try:
            stat = os.stat(path)
        except OSError:
            rows.append((path, 0, 0, 0))
        else:
            rows.append((path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(rows)


def read_files(paths: Sequence[str], options: Options | None = None, selection: Selection | None = None) -> Reading:
    """Read all files; blocks as long as that takes."""
    before = signature_of(paths)
    texts, problems = [], []
    for path in files_of(paths):
        try:
            texts.append((path, read_config_file(path).decode("utf-8")))
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "is not UTF-8"
            problems.append(Problem(path, 0, reason or str(problem)))
    found = read(texts, Projector(options), selection)
    manifests = Manifests(found.changes, (*problems, *found.problems))
    return Reading(manifests, before if signature_of(paths) == before else None)


class Follower(service.Service):
    """
    Follows manifests from start to stop.

    :param index: what is kept up to date; kinds that are in no file are emptied.
    :param aside: runs a function that blocks and returns a Deferred with its result (``deferToThread``).
    :param wall: Unix seconds, for the serials.
    """

    name = "manifests"

    def __init__(
        self,
        paths: Sequence[str],
        index: ClusterIndex,
        clock: Clock,
        aside: Callable[[Callable[[], Reading]], Deferred[Reading]],
        options: Options | None = None,
        selection: Selection | None = None,
        interval: float = INTERVAL,
        wall: Callable[[], float] = time,
    ) -> None:
        self.synced = False
        self.problems: tuple[Problem, ...] = ()
        self._paths = tuple(paths)
        self._index = index
        self._clock = clock
        self._aside = aside
        self._options = options
        self._selection = selection
        self._interval = interval
        self._wall = wall
        self._signature: Signature | None = None
        self._reading: Deferred[None] | None = None
        self._call: Timer | None = None

    def startService(self) -> None:
        """Read the files for the first time, and look at them from then on."""
        super().startService()
        self._look()

    def stopService(self) -> Deferred[None] | None:
        """Look no more. A reading under way in a thread cannot be stopped, but nobody waits for it, and nothing of it is entered."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._reading is not None:
            self._reading.cancel()
        return None

    def _later(self, delay: float, step: Callable[[], None]) -> None:
        self._call = self._clock.callLater(delay, step)

    def _look(self) -> None:
        if self._signature is not None and signature_of(self._paths) == self._signature:
            self._later(self._interval, self._look)
            return
        reading = self._aside(lambda: read_files(self._paths, self._options, self._selection))
        self._reading = reading.addCallback(self._enter).addCallbacks(self._entered, self._failed)

    def _failed(self, failure: object) -> None:
        self._reading = None
        if self.running:
            log.error("manifests cannot be read: {failure}", failure=failure)
            self._later(self._interval, self._look)

    def _enter(self, reading: Reading) -> Deferred[None]:
        if reading.manifests.problems != self.problems:
            for problem in reading.manifests.problems:
                log.warn("manifests: {problem}", problem=problem)
        self.problems = reading.manifests.problems
        self._signature = reading.signature
        return in_slices(self._clock, self._steps(reading))

    def _entered(self, result: None) -> None:
        self._reading = None
        self.synced = True
        self._later(self._interval, self._look)

    def _steps(self, reading: Reading) -> Generator[None, None, None]:
        """Enter what was read, some of it in each step."""
        relists = {kind: self._index.relist(kind) for kind in Kind}
        changes = iter(reading.manifests.changes)
        while batch := list(islice(changes, BATCH)):
            for change in batch:
                relists[change.kind].seen(change, self._wall())
            yield
        for relist in relists.values():
            if self.problems or reading.signature is None:
                relist.abort()
            while not relist.sweep(BATCH, self._wall()):
                yield
