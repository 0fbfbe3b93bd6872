# -*- test-case-name: tests.cluster.test_projection -*-
"""
The shape of the API's JSON, as far as kdns reads it: what is not named here is skipped while decoding and never becomes an object.

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
    """Any object."""

    metadata: Name | None = None


class ServicePort(Struct, gc=False):
    """A port of a Service or a ServiceImport."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class ServiceSpec(Struct):
    """``spec`` of a Service."""

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
    """``status.loadBalancer`` of a Service."""

    ingress: list[Ingress | None] | None = None


class ServiceStatus(Struct):
    """``status`` of a Service."""

    loadBalancer: LoadBalancer | None = None


class Service(Named):
    """A Service."""

    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class SliceLabels(Struct, gc=False):
    """The labels of an EndpointSlice that say whose it is."""

    service: str | None = field(default=None, name="kubernetes.io/service-name")
    imported: str | None = field(default=None, name="multicluster.kubernetes.io/service-name")
    cluster: str | None = field(default=None, name="multicluster.kubernetes.io/source-cluster")


class SliceAnnotations(Struct, gc=False):
    """The one annotation of an EndpointSlice that is read."""

    triggered: str | None = field(default=None, name="endpoints.kubernetes.io/last-change-trigger-time")


class SliceMetadata(Name):
    """``metadata`` of an EndpointSlice."""

    labels: SliceLabels | None = None
    annotations: SliceAnnotations | None = None


class Conditions(Struct, gc=False):
    """Whether an endpoint is ready; ``serving`` and ``terminating`` are not looked at."""

    ready: bool | None = None


class TargetRef(Struct, gc=False):
    """The pod behind an endpoint."""

    name: str | None = None


class Endpoint(Struct):
    """An endpoint of a slice."""

    addresses: list[str | None] | None = None
    conditions: Conditions | None = None
    hostname: str | None = None
    targetRef: TargetRef | None = None
    zone: str | None = None


class EndpointSlice(Struct):
    """An EndpointSlice."""

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
    """An address of a Pod."""

    ip: str | None = None


class PodStatus(Struct):
    """``status`` of a Pod."""

    phase: str | None = None
    podIP: str | None = None
    podIPs: list[PodIP | None] | None = None


class Pod(Struct):
    """A Pod."""

    metadata: PodMetadata | None = None
    status: PodStatus | None = None


class LabelledPod(Struct):
    """A Pod whose labels are kept."""

    metadata: LabelledPodMetadata | None = None
    status: PodStatus | None = None


class ImportSpec(Struct):
    """``spec`` of a ServiceImport."""

    type: str | None = None
    ips: list[str | None] | None = None
    ports: list[ServicePort | None] | None = None


class ServiceImport(Named):
    """A ServiceImport."""

    spec: ImportSpec | None = None


class ListMetadata(Struct, gc=False):
    """``metadata`` of a page of a list."""

    resourceVersion: str | None = None
    continue_: str | None = field(default=None, name="continue")
    remainingItemCount: int | None = None


class List(Struct):
    """A page of a list; each item is left as it is, so that a bad one spoils no other."""

    metadata: ListMetadata | None = None
    items: list[Raw] | None = None


class Event(Struct):
    """A line of a watch."""

    type: str
    object: Raw


class BookmarkAnnotations(Struct, gc=False):
    """What a bookmark says besides its version."""

    ends_initial: str | None = field(default=None, name="k8s.io/initial-events-end")


class BookmarkMetadata(Name):
    """``metadata`` of a bookmark."""

    annotations: BookmarkAnnotations | None = None


class Bookmark(Struct):
    """The object of a BOOKMARK event."""

    metadata: BookmarkMetadata | None = None


class StatusDetails(Struct, gc=False):
    """``details`` of a Status."""

    retryAfterSeconds: int | None = None


class Status(Struct):
    """A Status, which is how the API says that something failed."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None
