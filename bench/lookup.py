# -*- test-case-name: tests.test_bench -*-
"""
The look-up in the cluster alone, for names asked for the first time, by the plugin and by its source of the fast path; microseconds.

``python -m bench lookup [--quick]``. The cluster is that of the rows: 10,000 Services, each tenth headless, with five endpoints each. Each
question is asked once and its answer is kept, as the answer table would keep it. The best of five rounds counts, since other processes can
only make it slower. At the end a headless Service of 5,000 endpoints, in milliseconds for one question.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic, process_time

from twisted.internet.task import Clock

from bench.processes import table
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import EndpointSlice, Namespace, Port, Service, ServiceKind, Upsert
from kdns.cluster.source import ChangeSink
from kdns.core.answer import Answer
from kdns.core.request import Request, Transport
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes import directive
from kdns.plugins.kubernetes.names import address_label
from kdns.plugins.kubernetes.plugin import ClusterZone
from kdns.wire.constants import AAAA, PTR, SRV, A
from kdns.wire.names import reverse_name, to_text
from tests.support import a_request, parsed

NAMESPACES = 50
ROUNDS = 5
PORTS = (Port(b"http", 80, b"tcp"), Port(b"https", 443, b"tcp"))
COREFILE = ". {\n kubernetes cluster.local in-addr.arpa {\n  fallthrough in-addr.arpa\n }\n}\n"


class Filled:
    """A cluster of so many Services, synced."""

    synced = True

    def __init__(self, services: int) -> None:
        self.index = ClusterIndex()
        sink = ChangeSink(self.index, Clock(), lambda: 1.0)
        for number in range(NAMESPACES):
            sink.apply(Upsert(Namespace(b"ns-%d" % number)))
        for number in range(services):
            headless = number % 10 == 0
            namespace, name = b"ns-%d" % (number % NAMESPACES), b"service-%05d" % number
            kind = ServiceKind.HEADLESS if headless else ServiceKind.CLUSTER_IP
            addresses = () if headless else (cluster_ip(number),)
            sink.apply(Upsert(Service(namespace, name, kind, addresses, ports=PORTS)))
            endpoints = tuple(endpoint(number, row) for row in range(5))
            sink.apply(Upsert(EndpointSlice(namespace, name + b"-x", name, endpoints, ports=PORTS)))
        sink.apply(Upsert(Service(b"ns-0", b"large", ServiceKind.HEADLESS)))
        for number in range(50):
            endpoints = tuple((0x0B000000 + 100 * number + row).to_bytes(4, "big") for row in range(100))
            sink.apply(Upsert(EndpointSlice(b"ns-0", b"large-%d" % number, b"large", endpoints, ports=PORTS)))

    def why_not_ready(self) -> str:
        """Nothing is missing."""
        return ""

    def pods_are_current(self) -> bool:
        """Nothing changes."""
        return True

    def staleness(self) -> tuple[str, StampRef] | None:
        """It is never stale."""
        return None


def cluster_ip(number: int) -> bytes:
    """The address of a Service."""
    return (0x0A600000 + number).to_bytes(4, "big")


def endpoint(number: int, row: int = 0) -> bytes:
    """The address of an endpoint of a Service."""
    return (0x0AF40000 + 5 * number + row).to_bytes(4, "big")


def questions(services: int) -> dict[str, list[Request]]:
    """What is asked, by kind."""
    with_address = [number for number in range(services) if number % 10]
    headless = range(0, services, 10)

    def ask(number: int, qtype: int, front: str = "", name: str = "service") -> Request:
        return a_request(f"{front}{name}-{number:05d}.ns-{number % NAMESPACES}.svc.cluster.local.", qtype)

    return {
        "cluster IP, A": [ask(number, A) for number in with_address],
        "cluster IP, AAAA": [ask(number, AAAA) for number in with_address],
        "cluster IP, SRV of a port": [ask(number, SRV, "_http._tcp.") for number in with_address],
        "headless, A of 5": [ask(number, A) for number in headless],
        "headless, SRV of 5": [ask(number, SRV, "_http._tcp.") for number in headless],
        "endpoint by name, A": [
            ask(number, A, f"{address_label(endpoint(number)).decode()}.") for number in range(services)
        ],
        "no such Service, A": [ask(number, A, name="nothing") for number in with_address],
        "cluster IP, PTR": [a_request(to_text(reverse_name(cluster_ip(number))), PTR) for number in with_address],
    }


def timed(requests: Sequence[Request], answer: Callable[[Request], object]) -> float:
    """Microseconds of processor time for each request."""
    best = float("inf")
    for _ in range(ROUNDS):
        kept = []
        began = process_time()
        for request in requests:
            kept.append(answer(request))
        best = min(best, process_time() - began)
        del kept
    return best / len(requests) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench lookup")
    parser.add_argument("--quick", action="store_true", help="1,000 Services")
    services = 1_000 if parser.parse_args().quick else 10_000
    cluster = Filled(services)
    zone = ClusterZone(parsed(directive, COREFILE), cluster, monotonic, chance=Random(1))
    makers = {name: make for name, make in zone.fast_sources().items() if make is not None}
    sources = [(name, make(_unlimited, _unlimited, False)) for name, make in makers.items()]

    def records(request: Request) -> object:
        return zone.answer(request, _nothing_next)

    def fast(request: Request) -> object:
        for name, source in sources:
            if source is not None and request.qname.endswith(name):
                return source.answer(request.qname, request.qtype, 0.0)
        return None

    rows: list[tuple[str, ...]] = []
    asked = questions(services)
    gc.collect()
    gc.disable()
    for kind, requests in asked.items():
        by_source = f"{timed(requests, fast):.1f} us" if fast(requests[0]) is not None else "-"
        rows.append((kind, f"{timed(requests, records):.1f} us", by_source))
    for qtype, transport in ((A, Transport.UDP), (A, Transport.TCP), (SRV, Transport.UDP), (SRV, Transport.TCP)):
        request = a_request("large.ns-0.svc.cluster.local.", qtype, transport=transport)
        kind = f"5,000 endpoints, {'A' if qtype == A else 'SRV'} over {transport.name}"
        rows.append((kind, f"{timed([request], records) / 1000:.2f} ms", "-"))
    table(("", "plugin", "source"), rows)


def _unlimited(ttl: int) -> int:
    return ttl


def _nothing_next(request: Request) -> Answer:
    raise AssertionError("nothing falls through here")


if __name__ == "__main__":
    main()
