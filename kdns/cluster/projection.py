# -*- test-case-name: tests.cluster.test_projection -*-
"""
From the API's JSON to changes: single objects, lines of a watch, pages of a list.

This selects the fields that DNS needs and validates them once, so that later code never sees an invalid label or port. Any bytes may
come: an invalid part (an address, a port out of range) is left out and counted; an object that is unusable as a whole raises a
:class:`ProjectionError` that names it. Nothing else is ever raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec import json

from kdns.cluster import apijson
from kdns.cluster.objects import (
    Address,
    Change,
    Delete,
    EndpointSlice,
    ImportKind,
    Keep,
    Kind,
    Namespace,
    Pod,
    Port,
    Service,
    ServiceImport,
    ServiceKind,
    Upsert,
    Version,
    pack_version,
)
from kdns.cluster.texts import MAX_OBJECT_NAME, label_of, lower_bytes, must_be_label, must_be_name, packed
from kdns.wire.names import MAX_LABEL, ROOT, BadName, from_text

INTERNED = 4096
"""
Interned values: namespaces, ports, zones, clusters, host names like ``web-0``. A full table is cleared, which costs a second copy of the
values that come after. Values that differ in nearly every object (names, addresses) are not interned: an entry takes more than it saves.
"""

FINISHED = frozenset({"succeeded", "failed", "unknown"})
"""Phases of pods that have no name any more; a watch leaves them out, other sources may bring them."""

# Raised by msgspec for bytes that are not JSON, or not the expected JSON.
_UNDECODABLE = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)

Decoded = TypeVar("Decoded")
S = TypeVar("S")


class ProjectionError(Exception):
    """
    An object, a line or a page cannot be used.

    :ivar kind: what was expected.
    :ivar namespace: where the object is, empty when that is not known.
    :ivar name: the name of the object, empty when that is not known.
    """

    def __init__(self, kind: Kind, namespace: bytes, name: bytes, reason: str) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.reason = reason
        where = b"/".join(filter(None, (namespace, name))).decode("utf-8", "replace") or "without a name"
        text = f"{kind.value} {where}: {reason}"
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in text))

    def keep(self) -> Keep | None:
        """The change that keeps the stored value of the object; None when its name is not known."""
        return Keep(self.kind, self.namespace, self.name) if self.name else None


@dataclass(frozen=True, slots=True)
class Options:
    """Optional fields to keep; each costs memory for every endpoint or pod."""

    endpoint_pod_names: bool = False
    zonal: bool = False
    multicluster: bool = False
    pod_labels: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """An object was added, changed or deleted; a watch resumes from *version*."""

    change: Change | ProjectionError
    version: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    version: str
    ends_initial: bool
    """Whether this is the end of the list with which a streaming watch begins."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The server ended the watch with a Status."""

    code: int
    reason: str
    message: str
    retry_after: int | None = None
    """Seconds, when the server tells."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list; the items are not projected yet."""

    items: list[msgspec.Raw]
    version: str
    """Where a watch goes on behind the list."""
    continue_token: str
    """Empty on the last page."""
    remaining: int | None
    """How many items come after the page, when the server tells."""


class Projector:
    """
    Makes changes of JSON.

    :ivar skipped: how many addresses, ports and names were left out of objects because they are none.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.skipped = 0
        self._one: dict[object, object] = {}
        pod: type[apijson.Pod | apijson.LabelledPod] = apijson.LabelledPod if self.options.pod_labels else apijson.Pod
        self._projections: dict[Kind, Callable[[bytes | msgspec.Raw], Change]] = {
            Kind.NAMESPACE: _decoding(apijson.Named, self._namespace),
            Kind.SERVICE: _decoding(apijson.Service, self._service),
            Kind.ENDPOINT_SLICE: _decoding(apijson.EndpointSlice, self._endpoint_slice),
            Kind.POD: _decoding(pod, self._pod),
            Kind.SERVICE_IMPORT: _decoding(apijson.ServiceImport, self._service_import),
        }

    def project(self, kind: Kind, data: bytes | msgspec.Raw) -> Change:
        """
        The change from one object: Upsert, Delete if DNS has no use for it now, Keep for a pod that is being deleted.

        :raises ProjectionError: the object is unusable; its stored value should stay.
        """
        try:
            return self._projections[kind](data)
        except _UNDECODABLE as problem:
            raise ProjectionError(kind, *_place_in(data), _brief(problem)) from None

    def deletion(self, kind: Kind, data: bytes | msgspec.Raw) -> Delete:
        """
        The change when an object with these last values is gone.

        :raises ProjectionError: it has no name.
        """
        namespace, name = _place_in(data)
        if not name:
            raise ProjectionError(kind, namespace, name, "deleted, but it has no name")
        triggered = service = None
        if kind is Kind.ENDPOINT_SLICE:
            try:
                metadata = _slice_metadata.decode(data).metadata
                triggered = _trigger_time(metadata)
                service = self._label(metadata.labels.service) if metadata and metadata.labels else None
            except _UNDECODABLE:
                pass
        return Delete(kind, namespace, name, triggered, service)

    def event(self, kind: Kind, line: bytes) -> Event | Bookmark | Failure:
        """
        Read a line of a watch for objects of a kind.

        :raises ProjectionError: it is no line of a watch. When only the object in it is bad, the Event holds the error.
        """
        try:
            event = _event.decode(line)
            word = event.type
            if word == "BOOKMARK":
                return _bookmark_of(_bookmark.decode(event.object))
            if word == "ERROR":
                return failure(bytes(event.object))
            if word not in ("ADDED", "MODIFIED", "DELETED"):
                raise ValueError(f"event of unknown type {word[:40]!r}")
        except _UNDECODABLE as problem:
            raise ProjectionError(kind, b"", b"", _brief(problem)) from None
        change: Change | ProjectionError
        try:
            change = (self.deletion if word == "DELETED" else self.project)(kind, event.object)
        except ProjectionError as problem:
            change = problem
        # Decoding the object again for its version takes 3 us; the stored value has the same.
        stored = change.item.version if isinstance(change, Upsert) else 0
        return Event(change, str(stored) if stored else _version_in(event.object))

    def page(self, kind: Kind, data: bytes) -> Page:
        """
        Read a page of a list.

        :raises ProjectionError: it is no list.
        """
        try:
            page = _list.decode(data)
        except _UNDECODABLE as problem:
            raise ProjectionError(kind, b"", b"", _brief(problem)) from None
        metadata = page.metadata or apijson.ListMetadata()
        if page.items is None and page.metadata is None:
            raise ProjectionError(kind, b"", b"", "neither metadata nor items: no list")
        return Page(
            page.items or [], metadata.resourceVersion or "", metadata.continue_ or "", metadata.remainingItemCount
        )

    def changes(self, kind: Kind, items: Iterable[bytes | msgspec.Raw]) -> Iterator[Change | ProjectionError]:
        """Project items one by one; yields the error for a bad one."""
        for item in items:
            try:
                yield self.project(kind, item)
            except ProjectionError as problem:
                yield problem

    # One function for each kind; they raise ValueError for what makes an object unusable.

    def _namespace(self, it: apijson.Named) -> Change:
        metadata = it.metadata or apijson.Name()
        return Upsert(Namespace(self._intern(must_be_label(metadata.name)), _version(metadata)))

    def _service(self, it: apijson.Service) -> Change:
        metadata, spec = it.metadata or apijson.Name(), it.spec or apijson.ServiceSpec()
        addresses: tuple[Address, ...] = ()
        external_name = None
        texts = [text for text in spec.clusterIPs or [] if text] or [spec.clusterIP or ""]
        if (spec.type or "").lower() == "externalname":
            kind = ServiceKind.EXTERNAL_NAME
            external_name = self._target(spec.externalName)
        elif texts[0].lower() == "none":
            kind = ServiceKind.HEADLESS
        else:
            kind = ServiceKind.CLUSTER_IP
            addresses = self._addresses(filter(None, texts))
        balancer = it.status.loadBalancer if it.status else None
        ingress = (balancer.ingress if balancer else None) or []
        external: list[str | None] = [*(spec.externalIPs or []), *(entry.ip for entry in ingress if entry and entry.ip)]
        targets = (self._target(entry.hostname) for entry in ingress if entry and entry.hostname)
        return Upsert(
            Service(
                self._intern(must_be_label(metadata.namespace)),
                must_be_label(metadata.name),
                kind,
                addresses,
                external_name,
                self._ports(spec.ports, numberless=False),
                self._addresses(external),
                tuple(dict.fromkeys(target for target in targets if target)),
                _version(metadata),
            )
        )

    def _endpoint_slice(self, it: apijson.EndpointSlice) -> Change:
        metadata = it.metadata or apijson.SliceMetadata()
        labels = metadata.labels or apijson.SliceLabels()
        namespace, name = self._intern(must_be_label(metadata.namespace)), must_be_name(metadata.name)
        triggered = _trigger_time(metadata)
        service = self._label(labels.service)
        imported = self._label(labels.imported) if self.options.multicluster else None
        if (service is None and imported is None) or (it.addressType or "").lower() == "fqdn":
            return Delete(Kind.ENDPOINT_SLICE, namespace, name, triggered)
        cluster = self._label(labels.cluster) if imported is not None else None
        # One that is listed twice counts twice: the weights of SRV records are shares of all that is listed.
        rows = tuple(self._rows(it.endpoints or []))
        return Upsert(
            EndpointSlice(
                namespace,
                name,
                service,
                tuple(row[0] for row in rows),
                _column(row[1] for row in rows),
                _column(row[2] for row in rows),
                _column(row[3] for row in rows),
                self._ports(it.ports, numberless=True),
                imported,
                self._intern(cluster),
                _version(metadata),
            ),
            triggered,
        )

    def _rows(
        self, endpoints: list[apijson.Endpoint | None]
    ) -> Iterator[tuple[Address, bytes | None, bytes | None, bytes | None]]:
        """Address, host name, pod and zone of each ready address."""
        for endpoint in endpoints:
            if endpoint is None or (endpoint.conditions and endpoint.conditions.ready is False):
                continue
            hostname = pod = zone = None
            if endpoint.hostname:
                hostname = self._intern(self._label(endpoint.hostname))
            if self.options.endpoint_pod_names and endpoint.targetRef and endpoint.targetRef.name:
                # A longer one is no fault, it just cannot be a name.
                pod = label_of(endpoint.targetRef.name)
            if self.options.zonal and endpoint.zone:
                zone = self._intern(lower_bytes(endpoint.zone))
            for text in endpoint.addresses or []:
                address = packed(text or "")
                if address is None:
                    self.skipped += 1
                else:
                    yield address, hostname, pod, zone

    def _pod(self, it: apijson.Pod | apijson.LabelledPod) -> Change:
        metadata, status = it.metadata or apijson.PodMetadata(), it.status or apijson.PodStatus()
        namespace, name = self._intern(must_be_label(metadata.namespace)), must_be_name(metadata.name)
        if (status.phase or "").lower() in FINISHED:
            return Delete(Kind.POD, namespace, name)
        if metadata.deletionTimestamp:
            return Keep(Kind.POD, namespace, name)
        texts = [status.podIP, *(entry.ip for entry in status.podIPs or [] if entry)]
        addresses = self._addresses(filter(None, texts))
        if not addresses:
            return Delete(Kind.POD, namespace, name)
        labels: tuple[tuple[str, str], ...] = ()
        if isinstance(metadata, apijson.LabelledPodMetadata) and metadata.labels:
            # The pods of one deployment have the same.
            labels = self._intern(tuple(sorted((key, value or "") for key, value in metadata.labels.items())))
        return Upsert(Pod(namespace, name, addresses[0], addresses[1:], labels, _version(metadata)))

    def _service_import(self, it: apijson.ServiceImport) -> Change:
        metadata, spec = it.metadata or apijson.Name(), it.spec or apijson.ImportSpec()
        headless = (spec.type or "").lower() == "headless"
        return Upsert(
            ServiceImport(
                self._intern(must_be_label(metadata.namespace)),
                must_be_label(metadata.name),
                ImportKind.HEADLESS if headless else ImportKind.CLUSTER_SET_IP,
                () if headless else self._addresses(spec.ips or []),
                self._ports(spec.ports, numberless=False),
                _version(metadata),
            )
        )

    # Parts of objects.

    def _intern(self, value: S) -> S:
        """The single copy of an equal value."""
        one = self._one.get(value)
        if one is None:
            if len(self._one) >= INTERNED:
                self._one.clear()
            self._one[value] = value
            return value
        return one  # type: ignore[return-value]  # equal values of these kinds have the same type

    def _label(self, text: str | None) -> bytes | None:
        if not text:
            return None
        label = label_of(text)
        self.skipped += label is None
        return label

    def _addresses(self, texts: Iterable[str | None]) -> tuple[Address, ...]:
        """Valid addresses, each once, in their order."""
        addresses: dict[Address, None] = {}
        for text in texts:
            address = packed(text or "")
            if address is None:
                self.skipped += 1
            else:
                addresses[address] = None
        return tuple(addresses)

    def _ports(self, ports: list[apijson.ServicePort | None] | None, *, numberless: bool) -> tuple[Port, ...]:
        """
        Ports, in their order; each different one once.

        :param numberless: whether one without a number has a meaning.
        """
        found: dict[Port, None] = {}
        for port in ports or []:
            number = (port and port.port) or 0
            name = lower_bytes((port and port.name) or "")
            protocol = lower_bytes((port and port.protocol) or "tcp")
            in_range = (0 if numberless else 1) <= number <= 0xFFFF
            if port is None or not in_range or len(name) > MAX_LABEL or len(protocol) > MAX_LABEL:
                self.skipped += 1
            else:
                found[Port(name, number, protocol)] = None
        return self._intern(tuple(found))

    def _target(self, text: str | None) -> bytes | None:
        """The domain name that an object points at, in wire form; None for an address or an invalid name."""
        if not text or packed(text.rstrip(".")) is not None:
            return None
        try:
            name = from_text(text)
        except (BadName, ValueError):
            self.skipped += 1
            return None
        return None if name == ROOT else name


def failure(data: bytes) -> Failure:
    """
    Read a Status, the body of an answer that is none or the object of an ERROR event. What is no Status is a Failure with code 0.
    """
    try:
        status = _status.decode(data)
    except _UNDECODABLE as problem:
        return Failure(0, "", _brief(problem))
    after = status.details.retryAfterSeconds if status.details else None
    return Failure(status.code or 0, status.reason or "", status.message or "", after)


def versions(items: Iterable[bytes | msgspec.Raw]) -> Iterator[tuple[bytes, bytes, Version]]:
    """Namespace, name and version of each item of a page, for drift checks; items without a name are left out."""
    for item in items:
        namespace, name = _place_in(item)
        if name:
            yield namespace, name, pack_version(_version_in(item))


_named = json.Decoder(apijson.Named)
_slice_metadata = json.Decoder(apijson.EndpointSlice)
_event = json.Decoder(apijson.Event)
_list = json.Decoder(apijson.List)
_bookmark = json.Decoder(apijson.Bookmark)
_status = json.Decoder(apijson.Status)


def _decoding(shape: type[Decoded], project: Callable[[Decoded], Change]) -> Callable[[bytes | msgspec.Raw], Change]:
    decode = json.Decoder(shape).decode
    return lambda data: project(decode(data))


def _column(values: Iterable[bytes | None]) -> tuple[bytes | None, ...]:
    """A column of a slice; empty when it has no value."""
    column = tuple(values)
    return column if any(column) else ()


def _bookmark_of(it: apijson.Bookmark) -> Bookmark:
    metadata = it.metadata or apijson.BookmarkMetadata()
    ends = metadata.annotations is not None and metadata.annotations.ends_initial == "true"
    return Bookmark(metadata.resourceVersion or "", ends)


def _place_in(data: bytes | msgspec.Raw) -> tuple[bytes, bytes]:
    """Namespace and name of an object that may be invalid otherwise; empty when missing."""
    try:
        metadata = _named.decode(data).metadata or apijson.Name()
        namespace, name = lower_bytes(metadata.namespace or ""), lower_bytes(metadata.name or "")
    except _UNDECODABLE:
        return b"", b""
    if len(namespace) > MAX_LABEL or len(name) > MAX_OBJECT_NAME:
        return b"", b""
    return namespace, name


def _version_in(data: bytes | msgspec.Raw) -> str:
    try:
        metadata = _named.decode(data).metadata
    except _UNDECODABLE:
        return ""
    return (metadata and metadata.resourceVersion) or ""


def _version(metadata: apijson.Name) -> Version:
    return pack_version(metadata.resourceVersion or "")


def _trigger_time(metadata: apijson.SliceMetadata | None) -> float | None:
    """Unix seconds of the change that caused this one, if the object has it in RFC 3339."""
    text = metadata.annotations.triggered if metadata and metadata.annotations else None
    try:
        time = datetime.fromisoformat(text) if text else None
        return time.timestamp() if time and time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _brief(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__)[:200]
