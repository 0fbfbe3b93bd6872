# -*- test-case-name: tests.apiserver.test_watching -*-
"""
One watch: from a position in the history to the lines a client is to read.

A watch holds no queue, only its position (and, until they are read, references to the objects of its initial state), so a
client that does not read costs nothing; when the history has moved past it, the watch ends. When lines are written is
streams.py's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import msgspec

from tests.apiserver.resources import Json, Resource
from tests.apiserver.selectors import EVERYTHING, Selector
from tests.apiserver.status import ApiError
from tests.apiserver.store import Entry, Event, Store, type_prefix

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class LineKind(Enum):
    """What a line of a watch says."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    INITIAL_END = "the bookmark that ends the initial events"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, newline included."""

    kind: LineKind
    data: bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects a list or watch is about, and in what form."""

    resource: Resource
    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: Selector = EVERYTHING
    partial: bool = False

    def __call__(self, entry: Entry) -> bool:
        if self.namespace and entry.key[0] != self.namespace:
            return False
        if not self.labels(entry.labels):
            return False
        return not self.fields or self.fields(entry.fields)

    @property
    def selects(self) -> bool:
        """Whether there are selectors at all."""
        return bool(self.labels or self.fields)


def error_line(problem: ApiError) -> Line:
    """The ERROR event with which a watch is told why it ends."""
    return Line(LineKind.ERROR, b'{"type":"ERROR","object":' + msgspec.json.encode(problem.status()) + b"}\n")


@dataclass(slots=True)
class Watch:
    """The cursor of one watch."""

    store: Store
    filter: Filter
    position: int  # events up to this version are delivered
    initial: Iterator[Entry] | None = None  # state still to be delivered as ADDED
    mark_initial_end: bool = False
    ceiling: int | None = None  # a stale replica: nothing newer is known to it

    @property
    def known(self) -> int:
        """The newest version this watch can know of."""
        return self.store.version if self.ceiling is None else min(self.ceiling, self.store.version)

    def take(self, limit: int) -> list[Line]:
        """
        The next lines, about *limit* at most; none when everything has been told.

        :raises ApiError: 410, the history has moved past the position.
        """
        lines: list[Line] = []
        if self.initial is not None:
            for entry in self.initial:
                lines.append(self._line(LineKind.ADDED, entry))
                if len(lines) >= limit:
                    return lines
            self.initial = None
            if self.mark_initial_end:
                lines.append(self._bookmark(LineKind.INITIAL_END, {INITIAL_EVENTS_END: "true"}))
        while len(lines) < limit and self.position < self.known:
            events = self.store.events_after(self.filter.resource, self.position, limit)
            for event in events:
                if event.version > self.known:
                    break
                self.position = event.version
                line = self._translate(event)
                if line is not None:
                    lines.append(line)
            if len(events) < limit or events[-1].version > self.known:
                self.position = max(self.position, self.known)
        return lines

    def bookmark(self) -> Line | None:
        """A bookmark at the present version, if everything up to it has been delivered."""
        if self.initial is not None or self.position < self.known:
            return None
        return self._bookmark(LineKind.BOOKMARK, None)

    def _translate(self, event: Event) -> Line | None:
        before = event.before is not None and self.filter(event.before)
        after = event.after is not None and self.filter(event.after)
        if event.after is not None and after:
            return self._line(LineKind.MODIFIED if before else LineKind.ADDED, event.after)
        if event.before is None or not before:
            return None
        # Deleted, or changed so that it is selected no more: the client sees its last selected state, as of now.
        return self._line(LineKind.DELETED, event.last or event.before.at_version(event.version))

    def _line(self, kind: LineKind, entry: Entry) -> Line:
        body = entry.partial_body if self.filter.partial else entry.typed_body
        return Line(kind, f'{{"type":"{kind.value}","object":'.encode() + body + b"}\n")

    def _bookmark(self, kind: LineKind, annotations: Json | None) -> Line:
        meta: Json = {"resourceVersion": str(self.position), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        prefix = (
            b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",'
            if self.filter.partial
            else type_prefix(self.filter.resource)
        )
        body = prefix + b'"metadata":' + msgspec.json.encode(meta) + b"}"
        return Line(kind, b'{"type":"BOOKMARK","object":' + body + b"}\n")
