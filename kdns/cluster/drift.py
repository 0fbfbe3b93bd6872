# -*- test-case-name: tests.cluster.test_faults -*-
"""
The periodic check that the store equals the server's objects: a list of names and versions only, compared page by page.

A working watch misses nothing, so this finds something only after a fault of the server, the network or kdns. Objects that differ are
compared again after some seconds, since events may be in flight; if they still differ, they are fetched, entered and counted. They are
fetched by a *list* with a field selector, because kdns is granted list and watch only. When many differ, everything is listed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import msgspec

from kdns.cluster import projection
from kdns.cluster.api import ApiClient
from kdns.cluster.bodies import SLICE
from kdns.cluster.objects import Change, Delete, Keep, Version, pack_version
from kdns.cluster.projection import ProjectionError, Projector
from kdns.cluster.relist import DriftCheck, Suspect
from kdns.cluster.resources import LARGEST_PAGE, Watched, list_options
from kdns.cluster.source import ChangeSink
from kdns.core.slices import in_slices
from kdns.core.timing import Clock, pause

SETTLE = 10.0
"""Seconds that events on their way get to arrive."""

MOST_FETCHED = 20
"""Differing objects that are fetched one by one."""

MOST_REMEMBERED = 10_000
"""Listed objects that DNS has no use for, remembered so that they are not fetched at each check."""

Place = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class DriftReport:
    compared: int
    """How many objects the server has."""
    repaired: int = 0
    """How many were put right one by one."""
    too_many: int = 0
    """How many differ, when they are too many for that: a new list is needed."""


@dataclass(slots=True)
class DriftChecker:
    """Check one resource. Cancelling a check only keeps the repairs made so far."""

    watched: Watched
    api: ApiClient
    projector: Projector
    sink: ChangeSink
    clock: Clock
    complain: Callable[[ProjectionError], None] = lambda problem: None
    _useless: dict[Place, Version] = field(default_factory=dict, init=False)

    async def check(self) -> DriftReport:
        """
        Compare everything.

        :raises kdns.cluster.api.WatchProblem: the server does not answer.
        :raises ProjectionError: the answer is not a list.
        """
        suspects, compared = await self._compare()
        if suspects:
            await pause(self.clock, SETTLE)
            suspects = [suspect for suspect in suspects if self._stored(suspect) == suspect.stored]
        if len(suspects) > MOST_FETCHED:
            self._remember(suspects)
            return DriftReport(compared, too_many=len(suspects))
        repaired = 0
        for suspect in suspects:
            repaired += await self._repair(suspect)
        return DriftReport(compared, repaired)

    async def _compare(self) -> tuple[list[Suspect], int]:
        """All differences, and the number of objects listed."""
        kind = self.watched.kind
        check = self.sink.index.drift(kind)
        suspects: list[Suspect] = []
        token, compared = "", 0
        while True:
            data = await self.api.page(self.watched, list_options(LARGEST_PAGE, token), partial=True)
            page = self.projector.page(kind, data)
            compared += len(page.items)
            await in_slices(self.clock, self._compare_page(check, page.items, suspects), SLICE)
            token = page.continue_token
            if not token:
                break
        listed_at = pack_version(page.version)
        await in_slices(self.clock, self._missed(check, listed_at, suspects), SLICE)
        return suspects, compared

    def _compare_page(
        self, check: DriftCheck, items: Sequence[msgspec.Raw], suspects: list[Suspect]
    ) -> Generator[None, None, None]:
        for start in range(0, len(items), 100):
            rows = projection.versions(items[start : start + 100])
            suspects += [suspect for suspect in check.page(rows) if self._is_suspect(suspect)]
            yield

    def _missed(self, check: DriftCheck, listed_at: Version, suspects: list[Suspect]) -> Generator[None, None, None]:
        """Stored objects that are not in the server's list."""
        for count, suspect in enumerate(check.missed(), 1):
            if suspect is not None and not _newer(suspect.stored, listed_at):
                suspects.append(suspect)
            if not count % 50:
                yield

    def _is_suspect(self, suspect: Suspect) -> bool:
        if suspect.stored is None:
            return self._useless.get((suspect.namespace, suspect.name)) != suspect.listed
        # The stored version is newer than the list: a change arrived while the list was made.
        return not _newer(suspect.stored, suspect.listed)

    def _stored(self, suspect: Suspect) -> Version | None:
        """The version stored now; the listed one when both agree."""
        wanted = suspect.listed if suspect.listed is not None else ""
        found = self.sink.index.drift(self.watched.kind).page([(suspect.namespace, suspect.name, wanted)])
        return found[0].stored if found else suspect.listed

    async def _repair(self, suspect: Suspect) -> int:
        """Fetch an object and enter it; 1 if that was a repair."""
        fields = f"metadata.name={suspect.name.decode()}"
        if suspect.namespace:
            fields += f",metadata.namespace={suspect.namespace.decode()}"
        kind = self.watched.kind
        page = self.projector.page(kind, await self.api.page(self.watched, list_options(2), fields=fields))
        change: Change = Delete(kind, suspect.namespace, suspect.name)
        version: Version | None = None
        for item in page.items:
            version = next((row[2] for row in projection.versions([item])), None)
            try:
                change = self.projector.project(kind, item)
            except ProjectionError as problem:
                self.complain(problem)
                return 0
        if self._stored(suspect) != suspect.stored or (version is not None and version == suspect.stored):
            # An event came while it was fetched, or nothing is wrong with it.
            return 0
        if isinstance(change, Keep):
            return 0
        if isinstance(change, Delete) and suspect.stored is None:
            self._remember([suspect])
            return 0
        self.sink.apply(change)
        return 1

    def _remember(self, suspects: list[Suspect]) -> None:
        for suspect in suspects:
            if suspect.stored is None and suspect.listed is not None:
                if len(self._useless) >= MOST_REMEMBERED:
                    self._useless.clear()
                self._useless[suspect.namespace, suspect.name] = suspect.listed


def _newer(one: Version | None, other: Version | None) -> bool:
    """Whether both are numbers and the first is greater; other versions cannot be ordered."""
    return isinstance(one, int) and isinstance(other, int) and one > other
