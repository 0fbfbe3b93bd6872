# -*- test-case-name: tests.cluster.test_tables -*-
"""
The two tables that the index is made of: objects by namespace and name, and objects by something that several may share.

Both are as small as dicts allow: names are looked up in two steps, so no pair of namespace and name is kept for an object, and a place
that holds a single object holds it without a tuple around it. What a table gives back never depends on the order of arrival.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What the tables hold: something with a namespace and a name. It must not be a tuple."""

    @property
    def namespace(self) -> bytes:
        """The namespace, empty for none."""
        ...

    @property
    def name(self) -> bytes:
        """The name, unique in the namespace."""
        ...


T = TypeVar("T", bound=Named)


def place(item: Named) -> tuple[bytes, bytes]:
    """What objects are ordered by."""
    return (item.namespace, item.name)


class ByName(Generic[T]):
    """Objects by namespace and name."""

    __slots__ = ("_count", "_rooms")

    def __init__(self) -> None:
        self._rooms: dict[bytes, dict[bytes, T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, namespace: bytes, name: bytes) -> T | None:
        """The object of that name, if there is one."""
        room = self._rooms.get(namespace)
        return None if room is None else room.get(name)

    def names(self, namespace: bytes) -> list[bytes]:
        """The names of all objects of a namespace, in any order."""
        return list(self._rooms.get(namespace, ()))

    def homes(self, name: bytes) -> list[bytes]:
        """The namespaces that have an object of that name, sorted."""
        return sorted(namespace for namespace, room in self._rooms.items() if name in room)

    def put(self, item: T) -> T | None:
        """Enter an object; the one whose place it takes is returned."""
        room = self._rooms.get(item.namespace)
        if room is None:
            room = self._rooms[item.namespace] = {}
        old = room.get(item.name)
        if old is not None:
            # The key that stays must be the name of the new object, else the old name is kept alive beside it.
            del room[item.name]
        else:
            self._count += 1
        room[item.name] = item
        return old

    def pop(self, namespace: bytes, name: bytes) -> T | None:
        """Take out the object of that name, if there is one."""
        room = self._rooms.get(namespace)
        if room is None:
            return None
        old = room.pop(name, None)
        if old is not None:
            self._count -= 1
            if not room:
                del self._rooms[namespace]
        return old

    def __iter__(self) -> Iterator[T]:
        """All objects, in any order; the table must not change meanwhile."""
        for room in self._rooms.values():
            yield from room.values()

    def walk(self) -> Iterator[T]:
        """
        All objects, in any order, while the table may change between two of them.

        One that is there from beginning to end comes once; one that came meanwhile may come or not.
        """
        for namespace in list(self._rooms):
            for name in list(self._rooms.get(namespace, ())):
                item = self.get(namespace, name)
                if item is not None:
                    yield item


class Shared(Generic[T]):
    """Objects by a key that any number of them may have, in the order of namespace and name."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[bytes, T | tuple[T, ...]] = {}

    def __len__(self) -> int:
        """How many keys are in use."""
        return len(self._places)

    def get(self, key: bytes) -> tuple[T, ...]:
        """All objects with that key."""
        found = self._places.get(key)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def add(self, key: bytes, item: T) -> None:
        """Enter an object once more; it must not be there under that key."""
        found = self._places.get(key)
        if found is None:
            self._places[key] = item
            return
        items = list(found) if isinstance(found, tuple) else [found]
        items.insert(bisect_left(items, place(item), key=place), item)
        self._places[key] = tuple(items)

    def remove(self, key: bytes, item: T) -> None:
        """Take an object out, told by its namespace and name; that it is not there is fine."""
        found = self._places.get(key)
        if found is None:
            return
        wanted = place(item)
        if not isinstance(found, tuple):
            if place(found) == wanted:
                del self._places[key]
            return
        rest = tuple(other for other in found if place(other) != wanted)
        self._places[key] = rest if len(rest) > 1 else rest[0]

    def replace(self, key: bytes, item: T) -> None:
        """Put an object in the place of the older one of the same namespace and name."""
        found = self._places.get(key)
        if isinstance(found, tuple):
            wanted = place(item)
            self._places[key] = tuple(item if place(other) == wanted else other for other in found)
        else:
            self._places[key] = item
