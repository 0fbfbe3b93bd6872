# -*- test-case-name: tests.cluster.test_projection -*-
"""
The shape of the API's JSON, as far as kdns reads it: other fields are skipped while decoding and never become objects.

A field of the wrong type fails the whole object (:class:`msgspec.ValidationError`); null is the same as absent everywhere, as the API
server itself prints both. What the values mean is projection.py's business.
"""

from __future__ import annotations

from msgspec import Raw, Struct, field


class Name(Struct, gc=False):
    """``metadata`` of any object."""

    name: str | None = None
    namespace: str | None = None
    resourceVersion: str | None = None


class Named(Struct):
    metadata: Name | None = None


class ServicePort(Struct, gc=False):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class ServiceSpec(Struct):
    type: str | None = None
    clusterIP: str | None = None
    clusterIPs: list[str | None] | None = None
    externalName: str | None = None
    externalIPs: list[str | None] | None = None
    ports: list[ServicePort | None] | None = None


class Ingress(Struct, gc=False):
    """An entry point of a load balancer."""

    ip: str | None = None
    hostname: str | None = None


class LoadBalancer(Struct):
    ingress: list[Ingress | None] | None = None


class ServiceStatus(Struct):
    loadBalancer: LoadBalancer | None = None


class Service(Named):
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class SliceLabels(Struct, gc=False):
    """The labels of an EndpointSlice that name its service."""

    service: str | None = field(default=None, name="kubernetes.io/service-name")
    imported: str | None = field(default=None, name="multicluster.kubernetes.io/service-name")
    cluster: str | None = field(default=None, name="multicluster.kubernetes.io/source-cluster")


class SliceAnnotations(Struct, gc=False):
    """The annotation of an EndpointSlice that is read."""

    triggered: str | None = field(default=None, name="endpoints.kubernetes.io/last-change-trigger-time")


class SliceMetadata(Name):
    labels: SliceLabels | None = None
    annotations: SliceAnnotations | None = None


class Conditions(Struct, gc=False):
    """``conditions`` of an endpoint; ``serving`` and ``terminating`` are ignored."""

    ready: bool | None = None


class TargetRef(Struct, gc=False):
    """The pod behind an endpoint."""

    name: str | None = None


class Endpoint(Struct):
    addresses: list[str | None] | None = None
    conditions: Conditions | None = None
    hostname: str | None = None
    targetRef: TargetRef | None = None
    zone: str | None = None


class EndpointSlice(Struct):
    metadata: SliceMetadata | None = None
    addressType: str | None = None
    endpoints: list[Endpoint | None] | None = None
    ports: list[ServicePort | None] | None = None


class PodMetadata(Name):
    """``metadata`` of a Pod."""

    deletionTimestamp: str | None = None


class LabelledPodMetadata(PodMetadata):
    """``metadata`` of a Pod whose labels are kept."""

    labels: dict[str, str | None] | None = None


class PodIP(Struct, gc=False):
    ip: str | None = None


class PodStatus(Struct):
    phase: str | None = None
    podIP: str | None = None
    podIPs: list[PodIP | None] | None = None


class Pod(Struct):
    metadata: PodMetadata | None = None
    status: PodStatus | None = None


class LabelledPod(Struct):
    metadata: LabelledPodMetadata | None = None
    status: PodStatus | None = None


class ImportSpec(Struct):
    type: str | None = None
    ips: list[str | None] | None = None
    ports: list[ServicePort | None] | None = None


class ServiceImport(Named):
    spec: ImportSpec | None = None


class ListMetadata(Struct, gc=False):
    resourceVersion: str | None = None
    continue_: str | None = field(default=None, name="continue")
    remainingItemCount: int | None = None


class List(Struct):
    """A page of a list; items stay undecoded, so that a bad one does not spoil the others."""

    metadata: ListMetadata | None = None
    items: list[Raw] | None = None


class Event(Struct):
    type: str
    object: Raw


class BookmarkAnnotations(Struct, gc=False):
    """The annotation of a bookmark that is read."""

    ends_initial: str | None = field(default=None, name="k8s.io/initial-events-end")


class BookmarkMetadata(Name):
    annotations: BookmarkAnnotations | None = None


class Bookmark(Struct):
    metadata: BookmarkMetadata | None = None


class StatusDetails(Struct, gc=False):
    retryAfterSeconds: int | None = None


class Status(Struct):
    """A Status: the API's report of a failure."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None
