# -*- test-case-name: tests.apiserver.test_rest -*-
"""
Requests to answers: paths, list options, paging, versions, content types; no connection in here.

What cannot be answered at once is handed back as an order: a watch to be streamed, or a version to be waited for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

import msgspec
import yaml

from tests.apiserver.cluster import Cluster
from tests.apiserver.discovery import document
from tests.apiserver.patches import APPLY_PATCH, apply_patch
from tests.apiserver.resources import NAMESPACES, PODS, Json, Place, locate
from tests.apiserver.selectors import SelectorError, field_selector, label_selector
from tests.apiserver.status import (
    ApiError,
    bad_request,
    conflict,
    expired,
    invalid_options,
    no_such_path,
    not_found,
)
from tests.apiserver.store import Entry
from tests.apiserver.watching import Filter, Watch

JSON = "application/json"
EXPIRED_CONTINUE = "The provided continue parameter is too old to display a consistent list result."
_HEALTH = ("/healthz", "/livez", "/readyz")
_FIELDS = frozenset({"metadata.name", "metadata.namespace"})


class WatchListSupport(Enum):
    """What the server makes of ``sendInitialEvents``."""

    SERVED = "as 1.32 and later do"
    REFUSED_422 = "as 1.27 to 1.31 with the feature gate off"
    REFUSED_400 = "as some proxies and aggregated servers do"
    REFUSED_500 = "as any server does whose etcd is too old for progress requests"
    IGNORED = "as servers before 1.27 do: an ordinary watch"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request as far as its meaning is concerned."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""

    @property
    def watching(self) -> bool:
        """Whether a watch is asked for."""
        return self.query.get("watch", "") in ("true", "1", "True")


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    code: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """A watch to be streamed."""

    watch: Watch
    bookmarks: bool
    timeout: int | None  # whole seconds asked for


@dataclass(frozen=True, slots=True)
class WaitOrder:
    """The store must reach a version before the request can be answered."""

    version: int
    current: int


Outcome: TypeAlias = Reply | WatchOrder | WaitOrder


def verb_of(request: ApiRequest, place: Place | None) -> str:
    """The verb by which access rules and faults speak of a request."""
    if request.method in ("GET", "HEAD"):
        if place is None or place.name:
            return "get"
        return "watch" if request.watching else "list"
    if request.method == "DELETE":
        return "delete" if place is None or place.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, request.method.lower())


def refusal(problem: ApiError) -> Reply:
    """A refused request as it is answered."""
    headers = (("Retry-After", str(problem.retry_after)),) if problem.retry_after else ()
    return Reply(problem.code, msgspec.json.encode(problem.status()), headers=headers)


def _accepts(accept: str, collection: bool) -> bool:
    """
    Whether the metadata alone is wanted.

    :raises ApiError: 406, nothing is accepted that can be given.
    """
    for choice in accept.split(",") if accept else ["*/*"]:
        media, *options = (piece.strip() for piece in choice.split(";"))
        chosen = dict(option.partition("=")[::2] for option in options)
        if media not in (JSON, "application/*", "*/*"):
            continue
        if "as" not in chosen:
            return False
        wanted = ("PartialObjectMetadataList", "PartialObjectMetadata") if collection else ("PartialObjectMetadata",)
        if chosen["as"] in wanted and chosen.get("v") == "v1" and chosen.get("g") == "meta.k8s.io":
            return True
    raise ApiError(406, f"only the following media types are accepted: {JSON}")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise bad_request(f'{name}: Invalid value: "{text}": not a whole number')
    return int(text)


def _encode_key(version: int, key: tuple[str, str]) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": version, "start": "\0".join(key)}
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decode_continue(text: str) -> tuple[int, tuple[str, str]]:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        namespace, _, name = token["start"].partition("\0")
        return int(token["rv"]), (namespace, name)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise bad_request("continue key is not valid") from None


@dataclass(slots=True)
class Rest:
    """Answers requests from a cluster."""

    cluster: Cluster
    watch_list: WatchListSupport = WatchListSupport.SERVED
    gone_as_http: bool = False  # answer a watch from a forgotten version with HTTP 410, not with an ERROR event

    def place(self, request: ApiRequest) -> Place | None:
        """The resource a request is about, None for discovery and the like."""
        place = locate(request.path)
        return None if place is None or place.resource in self.cluster.hidden else place

    def answer(self, request: ApiRequest, now: float, stale: int | None = None) -> Outcome:
        """
        Answer a request, or say what must happen first.

        :param stale: answer as a replica that knows nothing newer than this version.
        :raises ApiError: refused.
        """
        place = self.place(request)
        if place is None:
            return self._document(request)
        verb = verb_of(request, place)
        if place.subresource not in ("", "status") or (place.subresource and not place.resource.has_status):
            raise no_such_path()
        if verb in ("get", "list", "watch"):
            _accepts(request.headers.get("accept", ""), not place.name)
        if verb == "get":
            return self._get(request, place, stale)
        if verb == "list":
            return self._list(request, place, stale)
        if verb == "watch":
            return self._watch(request, place, stale)
        if request.query.get("dryRun"):
            raise bad_request("dryRun is not supported here")
        return self._write(verb, request, place, now)

    def _document(self, request: ApiRequest) -> Reply:
        if request.path.rstrip("/") in _HEALTH:
            return Reply(200, b"ok", "text/plain; charset=utf-8")
        found = document(request.path, self.cluster.hidden, request.headers.get("host", ""))
        if found is None:
            raise no_such_path()
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "the server does not allow this method on the requested resource")
        return Reply(200, msgspec.json.encode(found))

    # Reading

    def _get(self, request: ApiRequest, place: Place, stale: int | None) -> Reply:
        key = (place.namespace, place.name)
        store = self.cluster.store
        if stale is None:
            entry = store.get(place.resource, key)
        else:
            past = store.snapshot(place.resource, stale, namespace=place.namespace)
            found = [entry for entry in past if entry.key == key]
            if not found:
                raise not_found(place.resource, place.name)
            entry = found[0]
        partial = _accepts(request.headers.get("accept", ""), collection=False)
        return Reply(200, entry.partial_body if partial else entry.typed_body)

    def _filter(self, request: ApiRequest, place: Place) -> Filter:
        known = _FIELDS
        if place.resource is PODS:
            known = known | {"status.phase", "spec.nodeName"}
        elif place.resource is NAMESPACES:
            known = known | {"status.phase"}
        try:
            labels = label_selector(request.query.get("labelSelector", ""))
            fields = field_selector(request.query.get("fieldSelector", ""), known)
        except SelectorError as problem:
            raise bad_request(str(problem)) from None
        partial = _accepts(request.headers.get("accept", ""), collection=True)
        return Filter(place.resource, place.namespace, labels, fields, partial)

    def _list(self, request: ApiRequest, place: Place, stale: int | None) -> Reply | WaitOrder:
        query, store = request.query, self.cluster.store
        chosen = self._filter(request, place)
        match, limit = query.get("resourceVersionMatch", ""), _number(query, "limit") or 0
        token, version = query.get("continue", ""), _number(query, "resourceVersion")
        current = store.version if stale is None else min(stale, store.version)
        if "sendInitialEvents" in query:
            raise invalid_options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
        if match and token:
            raise invalid_options("resourceVersionMatch: Forbidden: forbidden when continue is provided")
        if match and version is None:
            raise invalid_options("resourceVersionMatch: Forbidden: forbidden unless resourceVersion is provided")
        if match not in ("", "Exact", "NotOlderThan") or (match == "Exact" and version == 0):
            raise invalid_options(f'resourceVersionMatch: Forbidden: "{match}" does not fit')
        if token:
            if version:
                raise bad_request("specifying resource version is not allowed when using continue")
            return self._page(chosen, *_decode_continue(token), limit, resumed=True)
        if version and version > current:
            return WaitOrder(version, current)
        # A limit with a version and no match means Exact, and version 0 is answered from the cache, unpaged.
        if version and (match == "Exact" or (limit and not match)):
            current = version
        if version == 0:
            limit = 0
        return self._page(chosen, current, ("", ""), limit)

    def _page(self, chosen: Filter, version: int, after: tuple[str, str], limit: int, resumed: bool = False) -> Reply:
        store = self.cluster.store
        # -1: the client has taken up the offer to go on, inconsistently, after its token had expired.
        at = store.version if version == -1 else version
        try:
            entries = store.snapshot(chosen.resource, at, after, chosen.namespace)
        except ApiError:
            if not resumed:
                raise
            present = _encode_key(-1, after)
            raise expired(EXPIRED_CONTINUE, {"continue": present, "resourceVersion": str(store.version)}) from None
        if chosen.selects:
            entries = [entry for entry in entries if chosen(entry)]
        meta: Json = {"resourceVersion": str(at)}
        if limit and len(entries) > limit:
            meta["continue"] = _encode_key(at, entries[limit - 1].key)
            if not chosen.selects:
                meta["remainingItemCount"] = len(entries) - limit
            entries = entries[:limit]
        return Reply(200, _encode_list(chosen, meta, entries))

    def _watch(self, request: ApiRequest, place: Place, stale: int | None) -> Outcome:
        query, store = request.query, self.cluster.store
        version = _number(query, "resourceVersion") or 0
        chosen = self._filter(request, place)
        bookmarks = query.get("allowWatchBookmarks", "") in ("true", "1")
        timeout = _number(query, "timeoutSeconds")
        streaming = self._initial_events(query)
        known = store.version if stale is None else min(stale, store.version)
        if streaming and version > known:
            return WaitOrder(version, known)
        watch = Watch(store, chosen, version or known, ceiling=stale)
        # Without a version the state comes first, as ADDED, unless the client says it does not want it.
        if streaming or (not version and query.get("sendInitialEvents") != "false"):
            watch.position = known
            watch.initial = iter([e for e in store.snapshot(place.resource, known) if chosen(e)])
            watch.mark_initial_end = streaming and bookmarks
        elif self.gone_as_http:
            store.events_after(place.resource, watch.position, 1)
        return WatchOrder(watch, bookmarks, timeout)

    def _initial_events(self, query: Mapping[str, str]) -> bool:
        """
        Whether the initial state is to be streamed.

        :raises ApiError: 400 or 422, options that do not go together, or a server that does not know them.
        """
        wanted, match = query.get("sendInitialEvents", ""), query.get("resourceVersionMatch", "")
        if not wanted:
            if match:
                raise invalid_options("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch")
            return False
        if self.watch_list is WatchListSupport.IGNORED:
            return False
        if self.watch_list is WatchListSupport.REFUSED_400:
            raise bad_request("sendInitialEvents is not supported")
        if self.watch_list is WatchListSupport.REFUSED_422:
            raise invalid_options(
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList"
                " feature gate is enabled"
            )
        if self.watch_list is WatchListSupport.REFUSED_500:
            raise ApiError(
                500,
                "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled",
            )
        if match != "NotOlderThan":
            raise invalid_options(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch"
                " to NotOlderThan"
            )
        return wanted in ("true", "1")

    # Writing

    def _write(self, verb: str, request: ApiRequest, place: Place, now: float) -> Reply:
        cluster, resource = self.cluster, place.resource
        manager = request.query.get("fieldManager") or (
            request.headers.get("user-agent", "").partition("/")[0] or "unknown"
        )
        if verb == "deletecollection":
            chosen = self._filter(request, place)
            doomed = [entry for entry in cluster.store.snapshot(resource) if chosen(entry)]
            for entry in doomed:
                cluster.delete(resource, entry.key, now)
            return Reply(200, _encode_list(chosen, {"resourceVersion": str(cluster.store.version)}, doomed))
        if verb == "create" and not place.name:
            if resource.namespaced and not place.namespace:
                raise ApiError(405, "the server does not allow this method on the requested resource")
            obj = _read_object(request)
            return Reply(201, cluster.create(resource, obj, place.namespace, now, manager).typed_body)
        key = (place.namespace, place.name)
        if verb == "delete":
            return self._delete(request, place, now)
        applying = verb == "patch" and request.headers.get("content-type", "").startswith(APPLY_PATCH)
        if applying and cluster.store.find(resource, key) is None:
            obj = _read_object(request)
            return Reply(201, cluster.create(resource, obj, place.namespace, now, manager).typed_body)
        if verb not in ("update", "patch"):
            raise ApiError(405, "the server does not allow this method on the requested resource")
        before = cluster.store.get(resource, key)
        if verb == "update":
            obj = _read_object(request)
        else:
            obj = apply_patch(request.headers.get("content-type", ""), before.decode(), _read_body(request))
        return Reply(200, cluster.update(resource, obj, before, now, manager, place.subresource).typed_body)

    def _delete(self, request: ApiRequest, place: Place, now: float) -> Reply:
        resource, key = place.resource, (place.namespace, place.name)
        before = self.cluster.store.get(resource, key).decode()["metadata"]
        conditions = (_read_object(request).get("preconditions") or {}) if request.body else {}
        for name, value in conditions.items():
            if value and before.get(name) != value:
                raise conflict(resource, place.name)
        last = self.cluster.delete(resource, key, now)
        if resource.returns_deleted:
            return Reply(200, last.typed_body)
        details: Json = {"name": place.name, "kind": resource.plural, "uid": before["uid"]}
        if resource.group:
            details["group"] = resource.group
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Reply(200, msgspec.json.encode(status))


def _encode_list(chosen: Filter, meta: Json, entries: list[Entry]) -> bytes:
    if chosen.partial:
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = [entry.partial_body for entry in entries]
    else:
        kind, api_version = f"{chosen.resource.kind}List", chosen.resource.api_version
        # Items of built-in types carry no kind and apiVersion of their own; those of custom resources do.
        custom = chosen.resource.custom
        items = [entry.typed_body for entry in entries] if custom else [entry.body for entry in entries]
    head = f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":'.encode()
    return b"".join((head, msgspec.json.encode(meta), b',"items":[', b",".join(items), b"]}\n"))


def _read_body(request: ApiRequest) -> Any:
    try:
        if "yaml" in request.headers.get("content-type", ""):
            return yaml.safe_load(request.body)
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError) as problem:
        if "protobuf" in request.headers.get("content-type", ""):
            raise ApiError(415, f"only {JSON} is read here") from None
        raise bad_request(f"the object provided cannot be read: {problem}") from None


def _read_object(request: ApiRequest) -> Json:
    obj = _read_body(request)
    if not isinstance(obj, dict):
        raise bad_request("the object provided is not an object")
    return obj
