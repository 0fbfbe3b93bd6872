# -*- test-case-name: tests.apiserver.test_cluster -*-
"""What the API server adds to an object and checks of it before it is stored; storing it is store.py's business."""

from __future__ import annotations

import random
import re
import time
import uuid
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from tests.apiserver.resources import NAMESPACES, PODS, RBAC, SERVICES, Json, Resource
from tests.apiserver.status import bad_request, conflict, invalid

SERVICE_RANGE = IPv4Network("10.96.0.0/12")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_SERVER_OWNED = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "generation", "deletionTimestamp")


def timestamp(now: float) -> str:
    """A time as the API writes it: RFC 3339 in whole seconds, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def managed_fields(obj: Json, api_version: str, manager: str, stamp: str) -> list[Json]:
    """The book-keeping of field owners, two levels deep: about the weight it has in a real cluster."""
    fields: Json = {}
    for part, value in obj.items():
        if part in ("kind", "apiVersion", "status") or not value:
            continue
        if part == "metadata":
            kept: Json = {
                f"f:{name}": {f"f:{key}": {} for key in value[name]}
                for name in ("labels", "annotations")
                if value.get(name)
            }
            if kept:
                fields["f:metadata"] = kept
        else:
            fields[f"f:{part}"] = {f"f:{key}": {} for key in value} if isinstance(value, dict) else {}
    return [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": api_version,
            "time": stamp,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
    ]


@dataclass(slots=True)
class Defaults:
    """Complete new and changed objects; holds the allocation of cluster IPs and the source of uids."""

    rng: random.Random
    taken: set[str] = field(default_factory=set)  # cluster IPs in use
    _next_ip: int = 0x100  # the low part of the range is left to addresses asked for

    def uid(self) -> str:
        """A fresh uid."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def complete_new(self, resource: Resource, obj: Json, namespace: str, now: float, manager: str) -> Json:
        """
        The object as it is stored on creation.

        :raises ApiError: 400 or 422, it breaks a rule.
        """
        meta = dict(obj.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            letters = (self.rng.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
            meta["name"] = meta["generateName"] + "".join(letters)
        check_identity(resource, obj, meta, namespace)
        for name in _SERVER_OWNED:
            meta.pop(name, None)
        stamp = timestamp(now)
        if resource.namespaced:
            meta["namespace"] = namespace
        meta |= {"uid": self.uid(), "creationTimestamp": stamp}
        if resource.custom:
            meta["generation"] = 1
        done = {**obj, "metadata": meta}
        meta["managedFields"] = managed_fields(done, resource.api_version, manager, stamp)
        self.complete(resource, done)
        return done

    def complete_changed(self, resource: Resource, obj: Json, before: Json, now: float, manager: str) -> Json:
        """
        The object as it is stored in place of *before*; what only the server may set is taken from there.

        :raises ApiError: 400, 409 or 422, it may not take the place.
        """
        meta = dict(obj.get("metadata") or {})
        old = before["metadata"]
        check_identity(resource, obj, meta, old.get("namespace", ""))
        if meta["name"] != old["name"]:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({old['name']})"
            )
        if meta.get("resourceVersion") and meta["resourceVersion"] != old["resourceVersion"]:
            raise conflict(resource, meta["name"])
        if meta.get("uid") and meta["uid"] != old["uid"]:
            raise conflict(resource, meta["name"])
        for name in _SERVER_OWNED:
            meta.pop(name, None)
            if name in old and name != "resourceVersion":
                meta[name] = old[name]
        if resource.namespaced:
            meta["namespace"] = old["namespace"]
        done = {**obj, "metadata": meta}
        self.complete(resource, done, before.get("spec") or {})
        if _content(done) == _content(before):
            return before
        meta["managedFields"] = managed_fields(done, resource.api_version, manager, timestamp(now))
        if resource.custom and done.get("spec") != before.get("spec"):
            meta["generation"] = old.get("generation", 1) + 1
        return done

    def complete(self, resource: Resource, obj: Json, old_spec: Json | None = None) -> None:
        """Fill in, in place, the fields of the kind that clients leave out."""
        if resource is SERVICES:
            obj["spec"] = self._service_spec(obj["metadata"]["name"], obj.get("spec") or {}, old_spec or {})
            obj.setdefault("status", {"loadBalancer": {}})
        elif resource is NAMESPACES:
            meta = obj["metadata"]
            meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}
            obj["spec"] = obj.get("spec") or {"finalizers": ["kubernetes"]}
            obj["status"] = obj.get("status") or {"phase": "Active"}
        elif resource is PODS:
            obj["status"] = obj.get("status") or {"phase": "Pending", "qosClass": "BestEffort"}

    def _service_spec(self, name: str, given: Json, old: Json) -> Json:
        spec = dict(given)
        kind = spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        spec["ports"] = [_port(port) for port in spec.get("ports") or []]
        if not spec["ports"]:
            del spec["ports"]
        if kind == "ExternalName":
            if not spec.get("externalName"):
                raise invalid(SERVICES, name, "spec.externalName: Required value")
            return spec
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if not spec.get("clusterIP"):
            listed = spec.get("clusterIPs") or []
            spec["clusterIP"] = listed[0] if listed else old.get("clusterIP") or self._allocate()
        primary = spec["clusterIP"]
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = old["clusterIPs"] if primary == old.get("clusterIP") else [primary]
        if primary != "None":
            self.taken.update(spec["clusterIPs"])
        families = ["IPv6" if ":" in address else "IPv4" for address in spec["clusterIPs"]]
        spec.setdefault("ipFamilies", families)
        spec.setdefault("ipFamilyPolicy", "SingleStack" if len(families) == 1 else "RequireDualStack")
        return spec

    def _allocate(self) -> str:
        base = int(SERVICE_RANGE.network_address)
        while (address := str(IPv4Address(base + self._next_ip))) in self.taken:
            self._next_ip += 1
        self._next_ip += 1
        return address


def _content(obj: Json) -> Json:
    """What of an object its writers own."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in _SERVER_OWNED}
    return {**{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}, "metadata": meta}


def _port(port: Json) -> Json:
    done = {**port}
    done.setdefault("protocol", "TCP")
    done.setdefault("targetPort", port.get("port"))
    return done


def check_identity(resource: Resource, obj: Json, meta: Json, namespace: str) -> None:
    """
    Compare the kind, name and namespace in an object with where it is put.

    :raises ApiError: 400 or 422, they do not agree.
    """
    if obj.get("kind", resource.kind) != resource.kind or (
        obj.get("apiVersion", resource.api_version) != resource.api_version
    ):
        raise bad_request(
            f"{resource.kind} in version {resource.version} cannot be handled: "
            f"no kind {obj.get('kind')!r} in {obj.get('apiVersion')!r} here"
        )
    if resource.namespaced and meta.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    name = meta.get("name", "")
    if not name:
        raise invalid(resource, "", "metadata.name: Required value: name or generateName is required")
    plain = name.replace(":", "-") if isinstance(name, str) and resource.group == RBAC else name  # system:coredns
    if not isinstance(plain, str) or not _NAME.fullmatch(plain) or len(plain) > 253:
        raise invalid(resource, str(name), f"metadata.name: Invalid value: {name!r}: not a DNS subdomain")
