# -*- test-case-name: tests.cluster.test_manifests -*-
"""
Manifests as a source of cluster data: objects in files as ``kubectl get -o yaml`` (or ``-o json``) prints them.

A file may have several documents, lists, and any mixture of kinds; other kinds of objects are ignored. What the API server does for a watch
is done here: selectors, and pods that have ended are left out. Nothing is derived: a headless service without slices has no
endpoints, even if pods that it selects are in the file. Aliases are refused, since a few lines of them can expand to gigabytes, and
kubectl prints none.

Every few seconds a thread looks whether a file changed (or the link to it, as in a mounted ConfigMap) and reads all of them if so; a disk
may be too slow for the reactor. They are entered as a new list of every kind, in slices. While anything in the files is
wrong, the valid objects are entered and nothing is deleted: a file that is being written must not make services vanish.

The API lists only what a configuration watches, so other objects are left out here. A namespace that an object is in exists: manifests of
services alone, as ``kubectl get services -o yaml`` prints them, are enough to answer from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import yaml
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from kdns.cluster.objects import EndpointSlice, Kind, Namespace, Upsert
from kdns.cluster.projection import Options, ProjectionError, Projector
from kdns.cluster.resources import Needs
from kdns.cluster.selectors import EVERYTHING, Selector
from kdns.cluster.source import ChangeSink, SyncWaiters
from kdns.core.config_files import read_config_file
from kdns.core.degraded import DegradedStates, Fault
from kdns.core.slices import in_slices
from kdns.core.timing import Clock, pause

_GROUPS: dict[str, tuple[Kind, str]] = {
    "Namespace": (Kind.NAMESPACE, ""),
    "Service": (Kind.SERVICE, ""),
    "Pod": (Kind.POD, ""),
    "EndpointSlice": (Kind.ENDPOINT_SLICE, "discovery.k8s.io"),
    "ServiceImport": (Kind.SERVICE_IMPORT, "multicluster.x-k8s.io"),
}
"""Kinds and the API groups they must be of; other groups have a Service, too."""

# YAML 1.2 section 9.1: these begin a line of the text nowhere but between documents, not even in a block scalar.
_MARKER = re.compile(r"^(?:---|\.\.\.)(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Problem:
    """An unusable part of a file."""

    file: str
    line: int
    """Counted from 1; of the document when the place in it is not known. 0: the file itself cannot be read."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Selection:
    """The API server's selection, for files."""

    labels: Selector = EVERYTHING
    """For services, slices and pods."""
    namespace_labels: Selector = EVERYTHING
    """For namespaces."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """The content of files: each object once (the last one counts), and the problems."""

    changes: tuple[Upsert, ...]
    problems: tuple[Problem, ...]


class _Unusable(Exception):
    """A document cannot be used; *line* counts from 0 within it."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


# The C loader is some ten times faster; PyYAML may have been built without it.
_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):
    """Loads what JSON can express: timestamps stay texts."""

    yaml_implicit_resolvers: Mapping[str, Any] = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(
    texts: Iterable[tuple[str, str]], projector: Projector | None = None, selection: Selection | None = None
) -> Manifests:
    """
    Read the texts of files, given with their names.

    :param projector: says which fields are kept; it is used here only, so a thread may do this with one of its own.
    """
    projector = projector or Projector()
    selection = selection or Selection()
    changes: dict[tuple[Kind, bytes, bytes], Upsert] = {}
    problems = []
    for file, text in texts:
        for line, document in _documents(text):
            try:
                loaded = _load(document)
            except _Unusable as problem:
                problems.append(Problem(file, line + problem.line, str(problem)))
                continue
            for kind, item in _objects(loaded):
                try:
                    change = projector.project(kind, msgspec.json.encode(item))
                except ProjectionError as problem:
                    problems.append(Problem(file, line, str(problem)))
                    continue
                except (TypeError, ValueError, RecursionError) as problem:
                    problems.append(Problem(file, line, f"{kind.value}: {problem}"))
                    continue
                if isinstance(change, Upsert) and _selected(kind, item, selection):
                    changes[kind, change.namespace, change.name] = change
    return Manifests(tuple(changes.values()), tuple(problems))


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a file, each with its first line, so that a broken one does not spoil the others."""
    line, start = 1, 0
    for marker in [*_MARKER.finditer(text), None]:
        end = marker.start() if marker else len(text)
        document = text[start:end]
        # Only comments and directives (they do not change what JSON can say): no document.
        if any(row.strip() and row.lstrip()[0] not in "#%" for row in document.splitlines()):
            yield line, document
        if marker:
            line += text.count("\n", start, marker.end())
            start = marker.end()


def _load(document: str) -> object:
    try:
        if document.lstrip().startswith("{"):
            try:
                return msgspec.json.decode(document)
            except (msgspec.MsgspecError, ValueError):
                pass  # a mapping in the flow style of YAML; if not, the words of that parser are the better ones
        for token in yaml.scan(document, Loader=_Loader):
            if isinstance(token, yaml.AliasToken):
                raise _Unusable(f"alias *{token.value}: aliases are not read", token.start_mark.line)
        return yaml.load(document, Loader=_Loader)  # noqa: S506  # derived from the safe loader
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        reason = " ".join(filter(None, (problem.context, problem.problem)))
        raise _Unusable(reason, mark.line if mark else 0) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        raise _Unusable(" ".join(str(problem).split())[:200] or type(problem).__name__) from None


def _objects(loaded: object) -> Iterator[tuple[Kind, dict[str, object]]]:
    """The objects of a document in their order, including those in lists."""
    waiting = [(loaded, "", "")]
    while waiting:
        document, kind, version = waiting.pop()
        if not isinstance(document, dict):
            continue
        kind, version = str(document.get("kind", kind)), str(document.get("apiVersion", version))
        items = document.get("items")
        if kind.endswith("List") and isinstance(items, list):
            # Items of "kind: ServiceList" need not repeat what they are.
            of = kind.removesuffix("List")
            waiting += [(item, of, version if of else "") for item in reversed(items)]
            continue
        known, group = _GROUPS.get(kind, (None, ""))
        if known is not None and version.rpartition("/")[0] == group:
            yield known, document


def _selected(kind: Kind, item: dict[str, object], selection: Selection) -> bool:
    if kind is Kind.SERVICE_IMPORT:
        return True
    selector = selection.namespace_labels if kind is Kind.NAMESPACE else selection.labels
    if not selector.requirements:
        return True
    metadata = item.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    known = {key: str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
    return selector.matches(known)


INTERVAL = 2.0
"""Seconds between two looks at the files."""

BATCH = 20
"""Objects entered in one step: some 200 microseconds."""

SUFFIXES = (".yaml", ".yml", ".json")

log = Logger(namespace="plugin/kubernetes")

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of files, and their signature before and after reading."""

    manifests: Manifests
    signature: Signature | None
    """None when they changed while they were read."""


InThread = Callable[[Callable[[], Reading | None]], Deferred[Reading | None]]


class ManifestSource:
    """
    A :class:`~kdns.cluster.source.ClusterSource` that follows files.

    :param sink: takes the changes; kinds that are in no file are emptied.
    :param in_thread: runs a blocking function and returns a Deferred with its result.
    :param degraded: where unusable manifests are listed.
    :ivar problems: what was wrong with the files when they were read last.
    """

    def __init__(
        self,
        clock: Clock,
        sink: ChangeSink,
        paths: Sequence[str],
        in_thread: InThread,
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
        self._in_thread = in_thread
        self._needs = needs
        self._options = options
        self._selection = selection
        states = DegradedStates() if degraded is None else degraded
        self._degraded = states.condition(Fault.MANIFESTS, f"manifests {', '.join(self._paths)}")
        self._signature: Signature | None = None
        self._waiters = SyncWaiters()
        self._reading: Deferred[None] | None = None

    def start(self) -> None:
        """Read the files now and whenever they change."""
        self._reading = Deferred.fromCoroutine(self._read_repeatedly())

    def stop(self) -> Deferred[None]:
        """Stop reading. A running thread cannot be stopped; its result is dropped."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
        self._degraded.forget()
        self._waiters.cancel()
        self._sink.stop()
        return succeed(None)

    def when_synced(self) -> Deferred[None]:
        """Fires when the files are entered; each caller may cancel its own Deferred."""
        return self._waiters.wait(self.synced)

    def why_not_ready(self) -> str:
        """Which files are still being read."""
        return "" if self.synced else f"manifests: reading {', '.join(self._paths)}"

    async def _read_repeatedly(self) -> None:
        while True:
            try:
                reading = await self._in_thread(self._read)
                if reading is not None:
                    await self._enter(reading)
                await pause(self._clock, INTERVAL)
            except CancelledError:
                return
            except Exception:
                log.failure("manifests cannot be read")
                await pause(self._clock, INTERVAL)

    def _read(self) -> Reading | None:
        """Read the files; None when unchanged. Blocks, and touches nothing that the reactor changes meanwhile."""
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
            self._degraded.begin(f"{problems[0]}{more}; nothing is taken away", self._sink.wall())
        elif reading.signature is not None:
            self._degraded.end(self._sink.wall(), log)
        self.synced = True
        self._waiters.fire()

    def _steps(self, reading: Reading) -> Generator[None, None, None]:
        """Enter the objects, a batch in each step."""
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
    """Namespaces of objects that no manifest defines."""
    named = {change.name for change in changes if change.kind is Kind.NAMESPACE}
    used = dict.fromkeys(change.namespace for change in changes if change.namespace)
    return [Upsert(Namespace(namespace)) for namespace in used if namespace not in named]


def files_of(paths: Sequence[str]) -> list[str]:
    """The named files, and the manifests in named folders (hidden ones left out), in order."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            names = sorted(os.listdir(path))
            files += [os.path.join(path, name) for name in names if name.endswith(SUFFIXES) and name[0] != "."]
        else:
            files.append(path)
    return files


def signature_of(paths: Sequence[str]) -> Signature:
    """Changes when a file is changed, added or removed."""
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
    texts, problems = [], []
    for path in files_of(paths):
        try:
            texts.append((path, read_config_file(path).decode("utf-8")))
        except (OSError, UnicodeDecodeError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else "is not UTF-8"
            problems.append(Problem(path, 0, reason or str(problem)))
    found = read(texts, Projector(options), selection)
    return Manifests(found.changes, (*problems, *found.problems))
