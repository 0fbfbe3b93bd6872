# -*- test-case-name: tests.cluster.test_manifests -*-
"""
Objects from files, as ``kubectl get -o yaml`` (or ``-o json``) prints them: several documents in a file, lists, any mixture of kinds.

Pure: texts in, changes and problems out. What the API server does for a watch is done here: selectors, and pods that have ended are no
pods. Nothing is made up: a headless service without slices has no endpoints, even if pods that it selects stand beside it, and a
namespace exists when its own object does. Other kinds of objects are passed over. Aliases are refused, since a few lines of them can stand
for gigabytes, and kubectl prints none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from kdns.cluster.changes import Upsert
from kdns.cluster.objects import Kind
from kdns.cluster.projection import ProjectionError, Projector
from kdns.cluster.selectors import EVERYTHING, Selector

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
    """Something in a file that cannot be used."""

    file: str
    line: int
    """Counted from 1; of the document when the place in it is not known. 0: the file itself cannot be read."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the API server would leave out."""

    labels: Selector = EVERYTHING
    """For services, slices and pods."""
    namespace_labels: Selector = EVERYTHING
    """For namespaces."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """What files say: each object once (the last one counts), and what is wrong with them."""

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
    """Loads what JSON can say: points in time stay texts."""

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
    """The documents of a file, each with the line it begins in, so that one that is broken spoils no other."""
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
    """The objects of a document, those in lists too, in their order."""
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
