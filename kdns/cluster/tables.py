# -*- test-case-name: tests.cluster.test_tables -*-
"""
The tables of the index: objects by namespace and name, and objects by a key that several may share.

Both save memory: names are looked up in two steps, so no pair of namespace and name is stored for an object, and a key with a single
object maps to it without a tuple. Results never depend on the order of arrival.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What the tables hold: objects with a namespace and a name, but not tuples."""

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
    """The sort key of objects."""
    return (item.namespace, item.name)


class ByName(Generic[T]):
    __slots__ = ("_count", "_namespaces")

    def __init__(self) -> None:
        self._namespaces: dict[bytes, dict[bytes, T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, namespace: bytes, name: bytes) -> T | None:
        by_name = self._namespaces.get(namespace)
        return None if by_name is None else by_name.get(name)

    def names(self, namespace: bytes) -> list[bytes]:
        """The names of all objects of a namespace, in any order."""
        return list(self._namespaces.get(namespace, ()))

    def homes(self, name: bytes) -> list[bytes]:
        """The namespaces that have an object of that name, sorted."""
        return sorted(namespace for namespace, by_name in self._namespaces.items() if name in by_name)

    def put(self, item: T) -> T | None:
        """Enter an object; returns the one that it replaces."""
        by_name = self._namespaces.get(item.namespace)
        if by_name is None:
            by_name = self._namespaces[item.namespace] = {}
        old = by_name.get(item.name)
        if old is not None:
            # The key must be the new object's name, or the old name would stay in memory.
            del by_name[item.name]
        else:
            self._count += 1
        by_name[item.name] = item
        return old

    def pop(self, namespace: bytes, name: bytes) -> T | None:
        """Remove the object of that name, if there is one."""
        by_name = self._namespaces.get(namespace)
        if by_name is None:
            return None
        old = by_name.pop(name, None)
        if old is not None:
            self._count -= 1
            if not by_name:
                del self._namespaces[namespace]
        return old

    def __iter__(self) -> Iterator[T]:
        """All objects, unordered; the table must not change meanwhile."""
        for by_name in self._namespaces.values():
            yield from by_name.values()

    def walk(self) -> Iterator[T]:
        """
        All objects, in any order, while the table may change between two of them.

        One that is there from beginning to end comes once; one that came meanwhile may come or not.
        """
        for namespace in list(self._namespaces):
            for name in list(self._namespaces.get(namespace, ())):
                item = self.get(namespace, name)
                if item is not None:
                    yield item


class Shared(Generic[T]):
    """Objects by a key that several may share, in the order of namespace and name."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, T | tuple[T, ...]] = {}

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._by_key)

    def get(self, key: bytes) -> tuple[T, ...]:
        found = self._by_key.get(key)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def add(self, key: bytes, item: T) -> None:
        """Add an object under a key; it must not be there yet."""
        found = self._by_key.get(key)
        if found is None:
            self._by_key[key] = item
            return
        items = list(found) if isinstance(found, tuple) else [found]
        items.insert(bisect_left(items, place(item), key=place), item)
        self._by_key[key] = tuple(items)

    def remove(self, key: bytes, item: T) -> None:
        """Remove the object with that namespace and name, if it is there."""
        found = self._by_key.get(key)
        if found is None:
            return
        wanted = place(item)
        if not isinstance(found, tuple):
            if place(found) == wanted:
                del self._by_key[key]
            return
        rest = tuple(other for other in found if place(other) != wanted)
        self._by_key[key] = rest if len(rest) > 1 else rest[0]

    def replace(self, key: bytes, item: T) -> None:
        """Replace the object of the same namespace and name."""
        found = self._by_key.get(key)
        if isinstance(found, tuple):
            wanted = place(item)
            self._by_key[key] = tuple(item if place(other) == wanted else other for other in found)
        else:
            self._by_key[key] = item
