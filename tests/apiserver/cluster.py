# -*- test-case-name: tests.apiserver.test_cluster -*-
"""
What can be done to the objects of the fake cluster, by a request or directly from Python.

Joins the defaults of objects.py with the store, and adds the rules that span objects: namespaces must exist, and take their
content with them when they go. Transport and paths are left to rest.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from tests.apiserver.objects import Defaults, check_identity, timestamp
from tests.apiserver.resources import (
    NAMESPACES,
    RESOURCES,
    SERVICE_IMPORTS,
    SERVICES,
    Json,
    Resource,
    by_kind,
    of_object,
)
from tests.apiserver.status import bad_request, no_such_path, not_found
from tests.apiserver.store import Entry, Store

KUBERNETES_SERVICE: Json = {
    "kind": "Service",
    "apiVersion": "v1",
    "metadata": {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"},
    },
    "spec": {
        "clusterIP": "10.96.0.1",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
    },
}
_CRD_KIND = "CustomResourceDefinition"


@dataclass(slots=True)
class Cluster:
    """The objects and the rules between them."""

    store: Store
    rng: random.Random
    hidden: set[Resource] = field(default_factory=set)  # resources whose definition is not installed
    defaults: Defaults = field(init=False)

    def __post_init__(self) -> None:
        self.defaults = Defaults(self.rng)

    def boot(self, now: float) -> None:
        """Make what any cluster has: three namespaces and the Service of the API itself."""
        for name in ("default", "kube-system", "kube-public"):
            self.apply({"kind": "Namespace", "metadata": {"name": name}}, now)
        self.apply(KUBERNETES_SERVICE, now)

    def create(
        self, resource: Resource, obj: Json, namespace: str, now: float, manager: str, keep_status: bool = False
    ) -> Entry:
        """
        Store a new object.

        :param keep_status: whether a status in the object counts, as it does not in a plain create request.
        :raises ApiError: it breaks a rule, or the name is taken.
        """
        if resource.namespaced and self.store.find(NAMESPACES, ("", namespace)) is None:
            raise not_found(NAMESPACES, namespace)
        if resource.has_status and not keep_status:
            obj = {name: value for name, value in obj.items() if name != "status"}
        done = self.defaults.complete_new(resource, obj, namespace, now, manager)
        return self.store.create(resource, done)

    def update(self, resource: Resource, obj: Json, before: Entry, now: float, manager: str, part: str = "") -> Entry:
        """
        Put a changed object in place of *before*.

        :param part: ``status``: only the status counts; empty: all but the status; ``all``: everything.
        :raises ApiError: it breaks a rule, or is made from an older version.
        """
        old = before.decode()
        if part == "status":
            check_identity(resource, obj, obj.get("metadata") or {}, before.key[0])
            named = {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", "")}
            obj = {**old, "status": obj.get("status"), "metadata": {**old["metadata"], **named}}
        elif not part and resource.has_status:
            obj = {name: value for name, value in obj.items() if name != "status"}
            if "status" in old:
                obj["status"] = old["status"]
        done = self.defaults.complete_changed(resource, obj, old, now, manager)
        return self.store.replace(resource, done)

    def apply(self, obj: Json, now: float, manager: str = "kdns-testing") -> Entry:
        """
        Create the object, or put it in place of the one of its name; status and all.

        :raises ApiError: it breaks a rule, or its kind is not served.
        """
        resource = of_object(obj)
        if resource is None:
            raise no_such_path()
        meta = obj.get("metadata") or {}
        namespace = meta.get("namespace", "default") if resource.namespaced else ""
        before = self.store.find(resource, (namespace, meta.get("name", "")))
        if before is None:
            return self.create(resource, obj, namespace, now, manager, keep_status=True)
        obj = {**obj, "metadata": {k: v for k, v in meta.items() if k not in ("resourceVersion", "uid")}}
        return self.update(resource, obj, before, now, manager, part="all")

    def delete(self, resource: Resource, key: tuple[str, str], now: float) -> Entry:
        """
        Remove an object; a namespace first becomes Terminating, then loses its content, then goes.

        :raises ApiError: 404, there is none.
        """
        if resource is NAMESPACES:
            self._empty(key[1], now)
        entry = self.store.delete(resource, key)
        if resource is SERVICES:
            spec = entry.decode()["spec"]
            self.defaults.taken.difference_update(spec.get("clusterIPs") or ())
        return entry

    def _empty(self, namespace: str, now: float) -> None:
        obj = self.store.get(NAMESPACES, ("", namespace)).decode()
        obj["metadata"]["deletionTimestamp"] = timestamp(now)
        obj["status"] = {"phase": "Terminating"}
        self.store.replace(NAMESPACES, obj)
        for resource in RESOURCES:
            if resource.namespaced:
                for entry in self.store.snapshot(resource, namespace=namespace):
                    self.delete(resource, entry.key, now)

    def delete_kind(self, kind: str, namespace: str, name: str, now: float) -> Entry:
        """
        Remove an object named by kind (``Service``, ``services``, ``svc``).

        :raises ApiError: 404, there is none.
        """
        resource = by_kind(kind)
        if resource is None:
            raise bad_request(f"no kind {kind!r} here")
        return self.delete(resource, (namespace if resource.namespaced else "", name), now)

    def load(self, text: str, now: float) -> list[Entry]:
        """
        Apply all documents of a YAML text, lists included. A definition of a kind known here installs it.

        :raises ApiError: a document breaks a rule, or its kind is not served.
        """
        return [self.apply(obj, now) for obj in self._documents(text)]

    def _documents(self, text: str) -> Iterator[Json]:
        for document in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not document:
                continue
            if document.get("kind") == _CRD_KIND:
                if document.get("metadata", {}).get("name") == SERVICE_IMPORTS.qualified:
                    self.hidden.discard(SERVICE_IMPORTS)
            elif str(document.get("kind", "")).endswith("List") and "items" in document:
                yield from document["items"]
            else:
                yield document
