# -*- test-case-name: tests.cluster.test_manifest_source -*-
"""
A folder of manifests as a source: keeps the index as the files say, and as the API would show them to this configuration.

Every few seconds a thread looks whether a file changed (or the link to it, as in a mounted ConfigMap), and reads all of them if so; the
reactor does neither, since a disk may be slow. They are entered as a new list of every kind, in slices. While anything in the files is
wrong, what is right in them is entered and nothing is taken away: a file that is being written must not make services vanish.

The API lists only what a configuration watches, so other objects are left out here. A namespace that something is in exists: manifests of
services alone, as ``kubectl get services -o yaml`` prints them, are enough to answer from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from kdns.cluster.change_sink import ChangeSink
from kdns.cluster.changes import Upsert
from kdns.cluster.manifests import Manifests, Problem, Selection, read
from kdns.cluster.objects import EndpointSlice, Kind, Namespace
from kdns.cluster.projection import Options, Projector
from kdns.cluster.source import SyncWaiters
from kdns.cluster.timing import Clock, pause
from kdns.cluster.watched import Needs
from kdns.core.config_files import read_config_file
from kdns.core.degraded import DegradedStates
from kdns.core.slices import in_slices

INTERVAL = 2.0
"""Seconds between two looks at the files."""

BATCH = 20
"""Objects entered in one step: some 200 microseconds."""

SUFFIXES = (".yaml", ".yml", ".json")

log = Logger(namespace="plugin/kubernetes")

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What files said, and the signature they had all the time."""

    manifests: Manifests
    signature: Signature | None
    """None when they changed while they were read."""


Aside = Callable[[Callable[[], Reading | None]], Deferred[Reading | None]]


class ManifestSource:
    """
    A :class:`~kdns.cluster.source.ClusterSource` that follows files.

    :param sink: takes the changes; kinds that are in no file are emptied.
    :param aside: runs a function that blocks and returns a Deferred with its result.
    :param degraded: where unusable manifests are listed.
    :ivar problems: what was wrong with the files when they were read last.
    """

    def __init__(
        self,
        clock: Clock,
        sink: ChangeSink,
        paths: Sequence[str],
        aside: Aside,
        needs: Needs,
        options: Options | None = None,
        selection: Selection | None = None,
        degraded: DegradedStates | None = None,
    ) -> None:
        self.synced = False
        self.problems: tuple[Problem, ...] = ()
        self._clock = clock
        self._sink = sink
        self._paths = tuple(paths)
        self._aside = aside
        self._needs = needs
        self._options = options
        self._selection = selection
        self._degraded = DegradedStates() if degraded is None else degraded
        self._name = f"manifests {', '.join(self._paths)}"
        self._signature: Signature | None = None
        self._waiters = SyncWaiters()
        self._following: Deferred[None] | None = None

    def start(self) -> None:
        """Read the files, and follow them from then on."""
        self._following = Deferred.fromCoroutine(self._follow())

    def stop(self) -> Deferred[None]:
        """Follow them no more. A thread that reads cannot be stopped; what it reads is not entered."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
        self._degraded.forget(self._name)
        self._waiters.cancel()
        self._sink.stop()
        return succeed(None)

    def when_synced(self) -> Deferred[None]:
        """Fires when the files were entered; each caller may cancel its own."""
        return self._waiters.wait(self.synced)

    def why_not_ready(self) -> str:
        """Which files are still being read."""
        return "" if self.synced else f"manifests: reading {', '.join(self._paths)}"

    async def _follow(self) -> None:
        while True:
            try:
                reading = await self._aside(self._read)
                if reading is not None:
                    await self._enter(reading)
                await pause(self._clock, INTERVAL)
            except CancelledError:
                return
            except Exception:
                log.failure("manifests cannot be read")
                await pause(self._clock, INTERVAL)

    def _read(self) -> Reading | None:
        """What the files say; None when they have not changed. Blocks, and touches nothing that the reactor changes meanwhile."""
        before = signature_of(self._paths)
        if before == self._signature:
            return None
        found = read_files(self._paths, self._options, self._selection)
        changes = [change for change in found.changes if self._wanted(change)]
        if not self._needs.namespace_labels:
            changes += _implied(changes)
        manifests = Manifests(tuple(changes), found.problems)
        return Reading(manifests, before if signature_of(self._paths) == before else None)

    def _wanted(self, change: Upsert) -> bool:
        if change.kind is Kind.POD:
            return self._needs.pods
        if change.kind is Kind.SERVICE_IMPORT:
            return self._needs.multicluster
        if isinstance(change.item, EndpointSlice) and not self._needs.endpoints:
            return self._needs.multicluster and change.item.imported is not None
        return True

    async def _enter(self, reading: Reading) -> None:
        problems = reading.manifests.problems
        if problems != self.problems:
            for problem in problems:
                log.warn("manifests: {problem}", problem=problem)
        self.problems = problems
        self._signature = reading.signature
        await in_slices(self._clock, self._steps(reading))
        if problems:
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            self._degraded.begin(self._name, f"{problems[0]}{more}; nothing is taken away", self._sink.wall())
        elif reading.signature is not None:
            self._degraded.end(self._name, self._sink.wall(), log)
        self.synced = True
        self._waiters.fire()

    def _steps(self, reading: Reading) -> Generator[None, None, None]:
        """Enter what was read, some of it in each step."""
        relists = {kind: self._sink.relist(kind) for kind in Kind}
        changes = iter(reading.manifests.changes)
        while batch := list(islice(changes, BATCH)):
            for change in batch:
                relists[change.kind].seen(change, self._sink.wall())
            yield
        for relist in relists.values():
            if reading.manifests.problems or reading.signature is None:
                relist.abort()
            while not relist.sweep(BATCH, self._sink.wall()):
                yield


def _implied(changes: Iterable[Upsert]) -> list[Upsert]:
    """The namespaces that objects are in and that no manifest names."""
    named = {change.name for change in changes if change.kind is Kind.NAMESPACE}
    used = dict.fromkeys(change.namespace for change in changes if change.namespace)
    return [Upsert(Namespace(namespace)) for namespace in used if namespace not in named]


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


def read_files(paths: Sequence[str], options: Options | None = None, selection: Selection | None = None) -> Manifests:
    """Read all files."""
    texts, problems = [], []
    for path in files_of(paths):
        try:
            texts.append((path, read_config_file(path).decode("utf-8")))
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "is not UTF-8"
            problems.append(Problem(path, 0, reason or str(problem)))
    found = read(texts, Projector(options), selection)
    return Manifests(found.changes, (*problems, *found.problems))
