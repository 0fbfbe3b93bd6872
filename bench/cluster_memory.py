"""
How much memory and time the index takes for a cluster of some size, built from JSON as the API server prints it.

Run it from a checkout: ``python bench/cluster_memory.py [SERVICES] [PODS]``. Resident memory is read from /proc/self/statm after each step.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Kind
from kdns.cluster.projection import ProjectionError, Projector
from kdns.cluster.snapshot import Header, chunks

NAMESPACES = 200
ENDPOINTS = 5


def resident() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6


def metadata(number: int, name: str) -> dict[str, object]:
    """Metadata with the ballast that real objects carry."""
    return {
        "name": name,
        "namespace": f"team-{number % NAMESPACES}",
        "uid": f"00000000-0000-4000-8000-{number:012d}",
        "resourceVersion": str(700_000_000 + number),
        "labels": {"app": f"app-{number}", "kubernetes.io/service-name": f"service-{number}"},
        "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {f"f:field{i}": {} for i in range(20)}}],
    }


def ip(number: int) -> str:
    """An address of 10.0.0.0/8."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def services(count: int) -> Iterator[bytes]:
    """Services, half of them headless."""
    for number in range(count):
        address = ip(0x900000 + number) if number % 2 else "None"
        spec = {
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }
        yield json.dumps({"metadata": metadata(number, f"service-{number}"), "spec": spec}).encode()


def slices(count: int) -> Iterator[bytes]:
    """A slice for each service."""
    for number in range(count):
        endpoints = [
            {
                "addresses": [ip(number * ENDPOINTS + i)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"service-{number}-5f7c9d8b6-{i:05d}"},
                "nodeName": f"node-{i}",
                "zone": f"zone-{i % 3}",
            }
            for i in range(ENDPOINTS)
        ]
        yield json.dumps(
            {
                "metadata": metadata(number, f"service-{number}-x7k2p"),
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            }
        ).encode()


def pods(count: int) -> Iterator[bytes]:
    """Pods with one address."""
    for number in range(count):
        status = {"phase": "Running", "podIP": ip(number), "podIPs": [{"ip": ip(number)}]}
        name = f"service-{number // ENDPOINTS}-5f7c9d8b6-{number % ENDPOINTS:05d}"
        yield json.dumps({"metadata": metadata(number, name), "status": status}).encode()


def main() -> None:
    """Print one line for each step."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    pod_count = int(sys.argv[2]) if len(sys.argv) > 2 else 30_000
    index, projector = ClusterIndex(), Projector()
    gc.collect()
    start = resident()
    print(f"before                        {start:7.1f} MB resident")
    steps: list[tuple[Kind, int, Callable[[int], Iterator[bytes]]]] = [
        (Kind.SERVICE, count, services),
        (Kind.ENDPOINT_SLICE, count, slices),
        (Kind.POD, pod_count, pods),
    ]
    for kind, how_many, generate in steps:
        before, spent, slowest = resident(), 0.0, 0.0
        for octets in generate(how_many):
            began = time.perf_counter()
            for change in projector.changes(kind, (octets,)):
                if isinstance(change, ProjectionError):
                    raise change
                index.apply(change, 1.0)
            took = time.perf_counter() - began
            spent += took
            slowest = max(slowest, took)
        gc.collect()
        print(
            f"{how_many:6d} x {kind.value:13s} +{resident() - before:6.1f} MB, {spent / how_many * 1e6:6.1f} us each,"
            f" slowest {slowest * 1e3:.1f} ms"
        )
    print(
        f"all                           {resident() - start:7.1f} MB more; by estimate {index.approximate_bytes() / 1e6:.1f} MB"
    )
    began, size, slowest, last = time.perf_counter(), 0, 0.0, time.perf_counter()
    for chunk in chunks(index, Header(written=1.0)):
        now = time.perf_counter()
        size, slowest, last = size + len(chunk), max(slowest, now - last), now
    print(f"snapshot: {size / 1e6:.1f} MB in {time.perf_counter() - began:.2f} s, slowest turn {slowest * 1e3:.1f} ms")
    print(f"process {os.getpid()}: {resident():.1f} MB resident at the end")


if __name__ == "__main__":
    main()
