# -*- test-case-name: tests.apiserver.test_rest -*-
"""Which kinds of objects the fake API server has, and what a request path means; what is done with it is rest.py's business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

Json: TypeAlias = dict[str, Any]
"""A JSON object as it stands in an API request: the only place where the shape is the client's choice."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource type as discovery describes it."""

    group: str
    version: str
    plural: str
    kind: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    has_status: bool = True
    returns_deleted: bool = False  # a deletion is answered with the object, not with a Status
    custom: bool = False  # served from a CustomResourceDefinition: list items carry kind and apiVersion

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of objects of this type."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The name that error messages use: ``services``, ``endpointslices.discovery.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """The singular resource name."""
        return self.kind.lower()


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", ("ns",), namespaced=False)
SERVICES = Resource("", "v1", "services", "Service", ("svc",), returns_deleted=True)
PODS = Resource("", "v1", "pods", "Pod", ("po",), returns_deleted=True)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", has_status=False)
SERVICE_IMPORTS = Resource(
    "multicluster.x-k8s.io", "v1alpha1", "serviceimports", "ServiceImport", ("svcim",), custom=True
)
RBAC = "rbac.authorization.k8s.io"
SHELVED = (
    Resource("", "v1", "configmaps", "ConfigMap", ("cm",), has_status=False),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", ("sa",), has_status=False, returns_deleted=True),
    Resource("apps", "v1", "deployments", "Deployment", ("deploy",)),
    Resource("apps", "v1", "daemonsets", "DaemonSet", ("ds",)),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ("hpa",)),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", ("pdb",)),
    Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False, has_status=False),
    Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False, has_status=False),
    Resource(RBAC, "v1", "roles", "Role", has_status=False),
    Resource(RBAC, "v1", "rolebindings", "RoleBinding", has_status=False),
)
"""What a cluster's DNS is deployed with: stored and served like the others, and nothing happens to it; no Deployment makes pods."""

RESOURCES = (NAMESPACES, SERVICES, PODS, ENDPOINT_SLICES, SERVICE_IMPORTS, *SHELVED)


@dataclass(frozen=True, slots=True)
class Place:
    """What a request path names: a collection, an object, or one of its subresources."""

    resource: Resource
    namespace: str  # empty: all namespaces, or a cluster-scoped resource
    name: str  # empty: the collection
    subresource: str = ""


def by_kind(kind: str) -> Resource | None:
    """Find a resource by kind, plural, singular or short name, in any case."""
    wanted = kind.lower()
    for resource in RESOURCES:
        if wanted in (resource.singular, resource.plural, *resource.short_names):
            return resource
    return None


def of_object(obj: Json) -> Resource | None:
    """The resource an object belongs to, by its kind and apiVersion (a missing apiVersion fits any)."""
    for resource in RESOURCES:
        if obj.get("kind") == resource.kind and obj.get("apiVersion", resource.api_version) == resource.api_version:
            return resource
    return None


def locate(path: str) -> Place | None:
    """Read a resource path such as ``/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME``; None when it is none."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    # /namespaces/NS and /namespaces/NS/status speak of the namespace itself.
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3 or not all(rest):
        return None
    for resource in RESOURCES:
        if (resource.group, resource.version, resource.plural) == (group, version, rest[0]):
            break
    else:
        return None
    if namespace and not resource.namespaced:
        return None
    name, subresource = (rest[1:] + ["", ""])[:2]
    if name and resource.namespaced and not namespace:
        return None
    return Place(resource, namespace, name, subresource)
