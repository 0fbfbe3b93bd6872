# -*- test-case-name: tests.apiserver.test_store -*-
"""
The one store of the fake API server: objects, a global resource version, and a bounded history of events.

An object is kept as bytes, metadata apart from the rest, so that lists and watch events are joins of bytes. Snapshots of
earlier versions are the present rolled back along the history, as far as the history reaches. What objects look like
(defaults, checks) is decided by objects.py, and who is told by those who subscribe.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from tests.apiserver.resources import RESOURCES, Json, Resource
from tests.apiserver.status import already_exists, expired, not_found

Key: TypeAlias = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name: the order of a list."""

DEFAULT_WINDOW = 10_000  # events kept of each resource; as much as a large cluster's watch cache
_NO_LABELS: Mapping[str, str] = {}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one object."""

    resource: Resource
    key: Key
    version: int
    meta: bytes  # the metadata, encoded
    rest: bytes  # what follows it in the object: empty, or starts with a comma; no kind, no apiVersion
    labels: Mapping[str, str]
    phase: str = ""  # status.phase, the only selectable field beside name and namespace
    node: str = ""  # spec.nodeName

    @property
    def body(self) -> bytes:
        """The object without kind and apiVersion, as items of a list of built-in types are written."""
        return b'{"metadata":' + self.meta + self.rest + b"}"

    @property
    def typed_body(self) -> bytes:
        """The object with kind and apiVersion."""
        return type_prefix(self.resource) + b'"metadata":' + self.meta + self.rest + b"}"

    @property
    def partial_body(self) -> bytes:
        """The object as PartialObjectMetadata."""
        return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":' + self.meta + b"}"

    @property
    def fields(self) -> Mapping[str, str]:
        """What a fieldSelector can see."""
        return {
            "metadata.namespace": self.key[0],
            "metadata.name": self.key[1],
            "status.phase": self.phase,
            "spec.nodeName": self.node,
        }

    def decode(self) -> Json:
        """The object as a fresh JSON object, with kind and apiVersion."""
        obj: Json = msgspec.json.decode(self.typed_body)
        return obj

    def at_version(self, version: int) -> Entry:
        """The same object with another resource version, as DELETED events carry it."""
        meta = msgspec.json.decode(self.meta)
        meta["resourceVersion"] = str(version)
        return Entry(self.resource, self.key, version, _encode(meta), self.rest, self.labels, self.phase, self.node)


@dataclass(frozen=True, slots=True)
class Event:
    """One change: *before* is None for a creation, *after* is None for a deletion."""

    version: int
    before: Entry | None
    after: Entry | None
    last: Entry | None = None  # of a deletion: the last state, at the version of the deletion


def type_prefix(resource: Resource) -> bytes:
    """The opening of an object: brace, kind, apiVersion and a comma."""
    return f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'.encode()


def make_entry(resource: Resource, obj: Json, version: int) -> Entry:
    """Freeze an object whose metadata is complete but for the resource version."""
    meta = {**obj["metadata"], "resourceVersion": str(version)}
    rest = _encode({k: v for k, v in obj.items() if k not in ("kind", "apiVersion", "metadata")})
    status, spec = obj.get("status"), obj.get("spec")
    return Entry(
        resource,
        (meta.get("namespace", ""), meta["name"]),
        version,
        _encode(meta),
        b"" if rest == b"{}" else b"," + rest[1:-1],
        meta.get("labels") or _NO_LABELS,
        status.get("phase", "") if isinstance(status, dict) else "",
        spec.get("nodeName", "") if isinstance(spec, dict) else "",
    )


@dataclass(slots=True)
class _Shelf:
    """The objects and the history of one resource."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    order: list[Key] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)  # of events, for bisection
    floor: int = 0  # events up to this version are forgotten


@dataclass(slots=True)
class Store:
    """All objects at one global, growing resource version."""

    window: int = DEFAULT_WINDOW
    version: int = 1
    _stores: dict[Resource, _Shelf] = field(init=False)
    _listeners: dict[object, Callable[[Resource], None]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._stores = {resource: _Shelf() for resource in RESOURCES}

    def subscribe(self, listener: Callable[[Resource], None]) -> Callable[[], None]:
        """Call *listener* after each change to a resource, until the returned function is called."""
        token = object()
        self._listeners[token] = listener

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe

    # Reading

    def get(self, resource: Resource, key: Key) -> Entry:
        """
        The present state of an object.

        :raises ApiError: 404, there is none.
        """
        entry = self._stores[resource].entries.get(key)
        if entry is None:
            raise not_found(resource, key[1])
        return entry

    def find(self, resource: Resource, key: Key) -> Entry | None:
        """The present state of an object, or None."""
        return self._stores[resource].entries.get(key)

    def count(self, resource: Resource) -> int:
        """How many objects there are."""
        return len(self._stores[resource].entries)

    def snapshot(
        self, resource: Resource, version: int | None = None, after: Key = ("", ""), namespace: str = ""
    ) -> list[Entry]:
        """
        The objects as they were at *version* (None: now), in order, those after a key, of one namespace or of all.

        :raises ApiError: 410, the history does not reach back so far.
        """
        shelf = self._stores[resource]
        newest = shelf.versions[-1] if shelf.versions else shelf.floor
        past = {} if version is None or version >= newest else self._rolled_back(shelf, version)
        # Objects made since are in the order too, but None in the past; those deleted since must be put back in.
        keys = shelf.order if past.keys() <= shelf.entries.keys() else sorted({*shelf.order, *past})
        start = bisect_right(keys, max(after, (namespace, "")))
        end = bisect_left(keys, (namespace + "\0", "")) if namespace else len(keys)
        entries = shelf.entries
        if not past:
            return [entries[key] for key in keys[start:end]]
        found = (past[key] if key in past else entries[key] for key in keys[start:end])
        return [entry for entry in found if entry is not None]

    def _rolled_back(self, shelf: _Shelf, version: int) -> dict[Key, Entry | None]:
        if version < shelf.floor:
            raise expired("The resourceVersion for the provided list is too old.")
        past: dict[Key, Entry | None] = {}
        for event in reversed(shelf.events[bisect_right(shelf.versions, version) :]):
            changed = event.before or event.after
            assert changed is not None
            past[changed.key] = event.before
        return past

    def events_after(self, resource: Resource, version: int, limit: int) -> list[Event]:
        """
        At most *limit* events newer than *version*, oldest first.

        :raises ApiError: 410, some of them are forgotten.
        """
        shelf = self._stores[resource]
        if version < shelf.floor:
            raise expired(f"too old resource version: {version} ({shelf.floor})")
        start = bisect_right(shelf.versions, version)
        return shelf.events[start : start + limit]

    # Writing

    def create(self, resource: Resource, obj: Json) -> Entry:
        """
        Add an object with complete metadata.

        :raises ApiError: 409, the name is taken.
        """
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        shelf = self._stores[resource]
        if key in shelf.entries:
            raise already_exists(resource, key[1])
        entry = make_entry(resource, obj, self.version + 1)
        # Bulk loads come in order: appending is cheaper than searching.
        if not shelf.order or key > shelf.order[-1]:
            shelf.order.append(key)
        else:
            insort(shelf.order, key)
        self._commit(resource, Event(entry.version, None, entry))
        return entry

    def replace(self, resource: Resource, obj: Json) -> Entry:
        """Put a new state of an object in place of the old; a state that changes nothing is not a change."""
        meta = obj["metadata"]
        before = self.get(resource, (meta.get("namespace", ""), meta["name"]))
        entry = make_entry(resource, obj, before.version)
        if entry == before:
            return before
        entry = make_entry(resource, obj, self.version + 1)
        self._commit(resource, Event(entry.version, before, entry))
        return entry

    def delete(self, resource: Resource, key: Key) -> Entry:
        """
        Remove an object and return its last state.

        :raises ApiError: 404, there is none.
        """
        before = self.get(resource, key)
        order = self._stores[resource].order
        del order[bisect_left(order, key)]
        last = before.at_version(self.version + 1)
        self._commit(resource, Event(last.version, before, None, last))
        return last

    def _commit(self, resource: Resource, event: Event) -> None:
        shelf = self._stores[resource]
        self.version = event.version
        if event.after is not None:
            shelf.entries[event.after.key] = event.after
        elif event.before is not None:
            del shelf.entries[event.before.key]
        shelf.events.append(event)
        shelf.versions.append(event.version)
        # Cut in large steps: deleting the head of a list costs its length.
        if len(shelf.events) > self.window + max(self.window // 4, 1):
            self._forget(shelf, len(shelf.events) - self.window)
        for listener in list(self._listeners.values()):
            listener(resource)

    def _forget(self, shelf: _Shelf, count: int) -> None:
        shelf.floor = shelf.versions[count - 1]
        del shelf.events[:count]
        del shelf.versions[:count]

    def skip(self, versions: int) -> None:
        """Let the version grow without an event here: other resources of a cluster change too."""
        self.version += versions

    def compact(self) -> None:
        """Forget the history of all resources: every older version is answered with 410 from now on."""
        for shelf in self._stores.values():
            shelf.events.clear()
            shelf.versions.clear()
            shelf.floor = self.version
