# -*- test-case-name: tests.cluster.test_relist -*-
"""
Compare the stored objects with the server's list, page by page: mark and sweep after a new list, and the check for drift.

Both remember which *stored* objects were listed, by the stored names, so that nothing is copied. Stored objects serve all the
time, and none is deleted before :meth:`Relist.sweep`: a list that breaks off deletes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from kdns.cluster.objects import Change, ClusterObject, Delete, Keep, Kind, Upsert, Version
from kdns.cluster.tables import ByName


class Marks:
    """The stored objects that were listed: names by namespace, the same bytes objects as in the store."""

    __slots__ = ("_names", "_table")

    def __init__(self, table: ByName[ClusterObject]) -> None:
        self._table = table
        self._names: dict[bytes, set[bytes]] = {}

    def mark(self, namespace: bytes, name: bytes) -> None:
        """An object was listed."""
        item = self._table.get(namespace, name)
        if item is not None:
            self._names.setdefault(item.namespace, set()).add(item.name)

    def unmark(self, namespace: bytes, name: bytes) -> None:
        """A listed object was deleted."""
        self._names.get(namespace, set()).discard(name)

    def __contains__(self, item: ClusterObject) -> bool:
        return item.name in self._names.get(item.namespace, ())

    def unmarked(self) -> Iterator[ClusterObject | None]:
        """Each stored object that was not listed, and None for each other, so that callers can count steps."""
        for item in self._table.walk():
            yield None if item in self else item


class Relist:
    """
    A new list of one kind, entered while the old data serves.

    Give each item to :meth:`seen`, then call :meth:`sweep` until it returns True. :meth:`abort` keeps everything entered so far and
    deletes nothing.
    """

    __slots__ = ("_apply", "_closed", "_marks", "_rest", "kind")

    def __init__(self, kind: Kind, table: ByName[ClusterObject], apply: Callable[[Change, float], object]) -> None:
        self.kind = kind
        self._marks = Marks(table)
        self._apply = apply
        self._rest: Iterator[ClusterObject | None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it is swept completely or aborted."""
        return self._closed

    def seen(self, change: Change, now: float) -> None:
        """
        A projected item of the list: Upsert enters it, Keep leaves the stored value, Delete (DNS has no use for it) lets it be swept.
        """
        if change.kind is not self.kind or self._closed:
            raise ValueError(f"{change.kind.value} in a list of {self.kind.value}, closed: {self._closed}")
        if not isinstance(change, Delete):
            self._apply(change, now)

    def noticed(self, change: Change) -> None:
        """
        A change of this kind was entered; the index calls this, for items of the list and for events that come past it, so that those
        are not swept away either.
        """
        if isinstance(change, Upsert | Keep):
            self._marks.mark(change.namespace, change.name)
        else:
            self._marks.unmark(change.namespace, change.name)

    def sweep(self, limit: int, now: float) -> bool:
        """
        Look at up to *limit* stored objects and delete those that were not listed; to be called when the list is complete.

        :return: whether all are done.
        """
        if self._closed:
            return True
        if self._rest is None:
            self._rest = self._marks.unmarked()
        looked = 0
        for item in islice(self._rest, limit):
            looked += 1
            # Listed or entered since the walk began: then it stays.
            if item is not None and item not in self._marks:
                self._apply(Delete(self.kind, item.namespace, item.name), now)
        if looked < limit:
            self.abort()
        return self._closed

    def finish(self, now: float) -> None:
        """Sweep everything at once."""
        while not self.sweep(10_000, now):
            pass

    def abort(self) -> None:
        """Give up: nothing more is deleted."""
        self._closed = True
        self._rest = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """An object whose stored version differs from the listed one."""

    namespace: bytes
    name: bytes
    listed: Version | None
    """None: the server does not list it any more."""
    stored: Version | None
    """None: nothing of it is stored, maybe because DNS has no use for it."""


class DriftCheck:
    """
    Compare a list of versions with the store.

    A suspect may be right: it may have changed since, or DNS may have no use for it. Fetch it and apply its projection
    (Delete when it is not found); if that changes anything, the store had drifted.
    """

    __slots__ = ("_marks", "_table")

    def __init__(self, table: ByName[ClusterObject]) -> None:
        self._table = table
        self._marks = Marks(table)

    def page(self, listed: Iterable[tuple[bytes, bytes, Version]]) -> list[Suspect]:
        """Compare a page of (namespace, name, version)."""
        suspects = []
        for namespace, name, version in listed:
            item = self._table.get(namespace, name)
            self._marks.mark(namespace, name)
            if item is None or item.version != version:
                suspects.append(Suspect(namespace, name, version, None if item is None else item.version))
        return suspects

    def missed(self) -> Iterator[Suspect | None]:
        """After the last page: stored objects that were not listed; None for each other, so that callers can count steps."""
        for item in self._marks.unmarked():
            yield None if item is None else Suspect(item.namespace, item.name, None, item.version)
