# -*- test-case-name: tests.test_bench -*-
"""
What the rows ask: the queries as packets, for a cluster of :class:`bench.cluster.Size`, in a fixed shuffled order.

Names that must be new each time are drawn by chance, so that no two runs share any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from os import urandom
from pathlib import Path
from random import Random

from bench.cluster import Size
from kdns.wire.constants import AAAA, IN, RD, SRV, A
from kdns.wire.names import from_text
from kdns.wire.query import HEADER

NAMESPACES = 50
"""As the fake API server has them."""

OLD_DOMAIN = "old.local"
"""What *rewrite* takes for the domain of the cluster."""

OPT_SIZE = 1232
"""Octets that a client says it takes: what most resolvers say."""

_DOMAIN = from_text("cluster.local")
_QUERY = HEADER.pack(0, RD, 1, 0, 0, 0)
_QUERY_WITH_OPT = HEADER.pack(0, RD, 1, 0, 0, 1)
_IN = IN.to_bytes(2, "big")
_A_IN = A.to_bytes(2, "big") + _IN
_OPT = b"\x00\x00\x29" + OPT_SIZE.to_bytes(2, "big") + bytes(4)
_COOKIE = 10  # RFC 7873 section 4
_COOKIE_SIZE = 8


def service_of(index: int) -> str:
    """The full name of a service; every tenth is headless."""
    return f"service-{index:05d}.bulk-{index % NAMESPACES:03d}.svc.cluster.local"


def hot(size: Size) -> list[bytes]:
    """1,000 services A, 500 of them AAAA too, 500 names of a search path that are not there, 200 headless names."""
    random = Random(5)
    with_address = random.sample([i for i in range(size.services) if i % 10 != 9], 1000)
    headless = random.sample(range(9, size.services, 10), 200)
    found = [question(service_of(index), A) for index in with_address]
    found += [question(service_of(index), AAAA) for index in with_address[:500]]
    found += [
        question(f"host-{number}.example.com.bulk-{number % NAMESPACES:03d}.svc.cluster.local", A)
        for number in range(500)
    ]
    found += [question(service_of(index), A) for index in headless]
    random.shuffle(found)
    return found


def wide(size: Size) -> list[bytes]:
    """9,000 services A and AAAA, 1,000 headless A, 3,000 SRV."""
    random = Random(6)
    with_address = [i for i in range(size.services) if i % 10 != 9]
    found = [question(service_of(index), qtype) for index in with_address for qtype in (A, AAAA)]
    found += [question(service_of(index), A) for index in range(9, size.services, 10)]
    found += [question(f"_http._tcp.{service_of(index)}", SRV) for index in random.sample(with_address, 3000)]
    random.shuffle(found)
    return found


def ext() -> list[bytes]:
    """500 names outside the cluster."""
    found = [question(f"host-{number}.example.com", A) for number in range(500)]
    Random(7).shuffle(found)
    return found


def under_old_domain(questions: Sequence[bytes]) -> list[bytes]:
    """The same questions under the domain that the cluster had before: OLD_DOMAIN."""
    return [packet.replace(_DOMAIN, from_text(OLD_DOMAIN)) for packet in questions]


def hosts_of(zone: str, count: int) -> list[bytes]:
    """Names of hosts in a zone, A."""
    found = [question(f"host{number}.{zone}", A) for number in range(count)]
    Random(8).shuffle(found)
    return found


def zone_file(zone: str, count: int) -> str:
    """A master file that has them."""
    head = f"$ORIGIN {zone}.\n$TTL 300\n@ SOA ns admin 5 7200 1800 86400 60\n@ NS ns\nns A 192.0.2.53\n"
    return head + "".join(f"host{number} A 10.0.{number >> 8 & 255}.{number & 255}\n" for number in range(count))


def new_in_cluster(count: int) -> Iterator[bytes]:
    """Names under the namespaces of the cluster that nobody ever asked for."""
    zones = [from_text(f"bulk-{number:03d}.svc.cluster.local") + _A_IN for number in range(NAMESPACES)]
    return _new(count, zones)


def new_outside(count: int) -> Iterator[bytes]:
    """Names outside the cluster that nobody ever asked for."""
    return _new(count, [from_text("example.com") + _A_IN])


def with_opt(questions: Sequence[bytes], count: int) -> Iterator[bytes]:
    """*questions* over and over, each with an OPT, and each second one with a cookie that no other has."""
    plain = [packet + _OPT + b"\x00\x00" for packet in _opened(questions)]
    head = (_COOKIE_SIZE + 4).to_bytes(2, "big") + _COOKIE.to_bytes(2, "big") + _COOKIE_SIZE.to_bytes(2, "big")
    cookied = [packet + _OPT + head for packet in _opened(questions)]
    for number, (bare, open_) in enumerate(islice(cycle(zip(plain, cookied, strict=True)), count)):
        # The list has an even length: without the second term a name would have a cookie always or never.
        yield open_ + urandom(_COOKIE_SIZE) if (number + number // len(plain)) % 2 else bare


def question(name: str, qtype: int) -> bytes:
    """A query as a stub resolver sends it."""
    return _QUERY + from_text(name) + qtype.to_bytes(2, "big") + _IN


def write(path: Path, packets: Iterable[bytes]) -> Path:
    """Write packets as dnsperf reads them: each behind its length, as on a stream."""
    with path.open("wb") as file:
        file.writelines(len(packet).to_bytes(2, "big") + packet for packet in packets)
    return path


def _new(count: int, zones: Sequence[bytes]) -> Iterator[bytes]:
    marks = urandom(6 * count).hex().encode()
    for number in range(count):
        yield b"%b\x0c%b%b" % (_QUERY, marks[12 * number : 12 * number + 12], zones[number % len(zones)])


def _opened(questions: Sequence[bytes]) -> Iterator[bytes]:
    return (_QUERY_WITH_OPT + packet[len(_QUERY) :] for packet in questions)
