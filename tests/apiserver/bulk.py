# -*- test-case-name: tests.apiserver.test_bulk -*-
"""Many realistic objects, cheaply: for benchmarks and for tests of size."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.apiserver.cluster import Cluster
from tests.apiserver.objects import managed_fields, timestamp
from tests.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Json, Resource

_ZONES = ("zone-a", "zone-b", "zone-c")
_NODES = 200


@dataclass(frozen=True, slots=True)
class Bulk:
    """How much of everything. Slice number i belongs to service i modulo the number of services."""

    services: int = 10_000
    slices: int = 10_000
    endpoints: int = 5  # of each slice
    namespaces: int = 50
    pods: int = 0


def namespace_of(index: int, bulk: Bulk) -> str:
    """The namespace of service *index*, its slices, and pod *index*."""
    return f"bulk-{index % bulk.namespaces:03d}"


def _meta(cluster: Cluster, name: str, namespace: str, labels: dict[str, str], stamp: str) -> Json:
    meta: Json = {"name": name, "uid": cluster.defaults.uid(), "creationTimestamp": stamp, "labels": labels}
    if namespace:
        meta["namespace"] = namespace
    return meta


def _ip(index: int) -> str:
    return f"10.{128 + (index >> 16) % 64}.{(index >> 8) & 255}.{index & 255}"


def _cluster_ip(index: int) -> str:
    # Above the addresses that cluster.defaults hands out first, inside 10.96.0.0/12.
    return f"10.{100 + (index >> 16)}.{(index >> 8) & 255}.{index & 255}"


def service(cluster: Cluster, index: int, bulk: Bulk, stamp: str) -> Json:
    """Service *index*: every tenth is headless."""
    name = f"service-{index:05d}"
    labels = {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": f"{name}-prod",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "service-1.2.3",
    }
    address = "None" if index % 10 == 9 else _cluster_ip(index)
    meta = _meta(cluster, name, namespace_of(index, bulk), labels, stamp)
    meta["annotations"] = {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": meta["namespace"]}
    return {
        "metadata": meta,
        "spec": {
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
                {"name": "metrics", "protocol": "TCP", "port": 9090, "targetPort": 9090},
            ],
            "selector": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": f"{name}-prod"},
            "clusterIP": address,
            "clusterIPs": [address],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(cluster: Cluster, index: int, bulk: Bulk, stamp: str, round_: int = 0) -> Json:
    """EndpointSlice *index*; another *round_* has other addresses."""
    owner = index % max(bulk.services, 1)
    name = f"service-{owner:05d}"
    labels = {
        "app.kubernetes.io/name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": name,
    }
    namespace = namespace_of(owner, bulk)
    meta = _meta(cluster, f"{name}-{index:05x}", namespace, labels, stamp)
    meta["generateName"] = f"{name}-"
    meta["generation"] = 1 + round_
    first = index * bulk.endpoints + round_ * 7
    endpoints = []
    for number in range(first, first + bulk.endpoints):
        pod = f"{name}-{number & 0xFFFFF:05x}"
        endpoints.append(
            {
                "addresses": [_ip(number)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{number % _NODES}",
                "zone": _ZONES[number % 3],
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod, "uid": meta["uid"]},
            }
        )
    return {
        "metadata": meta,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 8080},
            {"name": "metrics", "protocol": "TCP", "port": 9090},
        ],
    }


def pod(cluster: Cluster, index: int, bulk: Bulk, stamp: str) -> Json:
    """Pod *index*, running."""
    address = _ip(index)
    labels = {"app.kubernetes.io/name": f"service-{index % max(bulk.services, 1):05d}", "pod-template-hash": "5d8f7c9b"}
    return {
        "metadata": _meta(cluster, f"pod-{index:06d}", namespace_of(index, bulk), labels, stamp),
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example/app:1.2.3",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                }
            ],
            "nodeName": f"node-{index % _NODES}",
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": stamp}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": f"192.168.{index % _NODES}.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": stamp,
        },
    }


def populate(cluster: Cluster, bulk: Bulk, now: float) -> None:
    """Fill the cluster. The objects are complete as they are made, so defaults and checks are passed by."""
    stamp = timestamp(now)

    def add(resource: Resource, obj: Json) -> None:
        fields = managed_fields(obj, resource.api_version, "kube-controller-manager", stamp)
        obj["metadata"]["managedFields"] = fields
        cluster.store.create(resource, obj)

    for index in range(bulk.namespaces):
        name = f"bulk-{index:03d}"
        meta = _meta(cluster, name, "", {"kubernetes.io/metadata.name": name}, stamp)
        add(NAMESPACES, {"metadata": meta, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    for index in range(bulk.services):
        add(SERVICES, service(cluster, index, bulk, stamp))
    for index in range(bulk.slices):
        add(ENDPOINT_SLICES, endpoint_slice(cluster, index, bulk, stamp))
    for index in range(bulk.pods):
        add(PODS, pod(cluster, index, bulk, stamp))


def churn(cluster: Cluster, bulk: Bulk, changes: int, rng: random.Random, now: float, round_: int) -> None:
    """Change the endpoints of *changes* slices drawn at random, as a rolling deployment does; give each call its own round."""
    stamp = timestamp(now)
    for _ in range(changes):
        obj = endpoint_slice(cluster, rng.randrange(bulk.slices), bulk, stamp, round_)
        meta = obj["metadata"]
        before = cluster.store.get(ENDPOINT_SLICES, (meta["namespace"], meta["name"])).decode()["metadata"]
        meta |= {"uid": before["uid"], "creationTimestamp": before["creationTimestamp"]}
        meta["managedFields"] = managed_fields(obj, ENDPOINT_SLICES.api_version, "kube-controller-manager", stamp)
        cluster.store.replace(ENDPOINT_SLICES, obj)
