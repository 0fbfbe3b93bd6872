# -*- test-case-name: tests.test_bench -*-
"""
Who stands beside kdns in a run: the yardstick, NSD and Unbound where they are installed, and the upstream that answers everything.

The yardstick is ``twisted.names.server.DNSServerFactory`` with a resolver in memory that answers every A query from one record.
``python -m bench.peers yardstick PORT`` and ``python -m bench.peers upstream PORT`` serve for ever.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.load import query
from bench.machine import CLIENT_CORE, SERVER_CORE, on_core
from bench.names import NAMESPACES, service_of
from bench.processes import Program, answered, free_port, wait_for

NSD_CONF = """\
server:
    ip-address: 127.0.0.1@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    zonelistfile: "{folder}/zone.list"
    xfrdir: "{folder}"
    logfile: "{folder}/nsd.log"
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
remote-control:
    control-enable: no
zone:
    name: "cluster.local"
    zonefile: "cluster.local.zone"
"""

UNBOUND_CONF = """\
server:
    interface: 127.0.0.1
    port: {port}
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: "{folder}/unbound.pid"
    logfile: "{folder}/unbound.log"
    use-syslog: no
    module-config: "iterator"
    do-not-query-localhost: no
    access-control: 127.0.0.0/8 allow
remote-control:
    control-enable: no
forward-zone:
    name: "."
    forward-addr: 127.0.0.1@{upstream}
"""

RECEIVE_BUFFER = 1 << 20
"""Octets: a hundred queries under way never fill it."""


def start_yardstick() -> tuple[int, Program]:
    """The yardstick on the core of servers; its port. It answers when this returns."""
    port = free_port()
    with on_core(SERVER_CORE):
        program = Program(["-m", "bench.peers", "yardstick", str(port)])
    _await(port, program, "service-00000.bulk-000.svc.cluster.local")
    return port, program


def start_upstream() -> tuple[int, Program]:
    """The upstream, out of the way of servers that are measured."""
    port = free_port()
    with on_core(CLIENT_CORE):
        program = Program(["-m", "bench.peers", "upstream", str(port)])
    _await(port, program, "www.example.com")
    return port, program


def start_nsd(folder: Path, services: int) -> tuple[int, Program] | None:
    """NSD with the same names as the cluster; None where it is not installed."""
    found = _installed("nsd")
    if not found:
        return None
    port = free_port()
    place = folder / "nsd"
    place.mkdir()
    (place / "cluster.local.zone").write_text("\n".join(zone(services)) + "\n")
    (place / "nsd.conf").write_text(NSD_CONF.format(port=port, folder=place))
    with on_core(SERVER_CORE):
        program = Program(["-d", "-c", str(place / "nsd.conf")], executable=found)
    _await(port, program, service_of(0))
    return port, program


def start_unbound(folder: Path, upstream: int) -> tuple[int, Program] | None:
    """Unbound, which forwards everything to *upstream*; None where it is not installed."""
    found = _installed("unbound")
    if not found:
        return None
    port = free_port()
    place = folder / "unbound"
    place.mkdir()
    (place / "unbound.conf").write_text(UNBOUND_CONF.format(port=port, folder=place, upstream=upstream))
    with on_core(SERVER_CORE):
        program = Program(["-d", "-c", str(place / "unbound.conf")], executable=found)
    _await(port, program, "www.example.com")
    return port, program


def zone(services: int) -> Iterable[str]:
    """A zone file with what the cluster of the fake API server has: addresses, five for each tenth service, and SRV records."""
    yield "$ORIGIN cluster.local."
    yield "$TTL 30"
    yield "@ SOA ns.dns hostmaster 1 7200 1800 86400 30"
    yield "@ NS ns.dns"
    yield "ns.dns A 10.96.0.10"
    for number in range(NAMESPACES):
        yield f"bulk-{number:03d}.svc TXT namespace"
    for index in range(services):
        name = service_of(index).removesuffix(".cluster.local")
        if index % 10 == 9:
            yield from (f"{name} A 10.128.{index >> 8}.{number}" for number in range(1, 6))
        else:
            yield f"{name} A 10.100.{index >> 8}.{index & 255}"
            yield f"_http._tcp.{name} SRV 0 100 80 {name}"


def serve_yardstick(port: int) -> None:
    """Answer every A query from one record, and others with nothing, over UDP and TCP, for ever."""
    from twisted.internet import defer, reactor
    from twisted.internet.interfaces import IResolver
    from twisted.names import common, dns, server
    from zope.interface import implementer

    record: Any = dns.Record_A("192.0.2.1", 30)

    @implementer(IResolver)
    class OneRecord(common.ResolverBase):
        def query(self, query: dns.Query, timeout: Sequence[int] | None = None) -> defer.Deferred[Any]:
            if query.type == dns.A:
                return defer.succeed(([dns.RRHeader(query.name.name, dns.A, dns.IN, 30, record)], [], []))
            return defer.succeed(([], [], []))

    factory = server.DNSServerFactory(clients=[OneRecord()])
    running: Any = reactor  # to mypy it is a module
    running.listenUDP(port, dns.DNSDatagramProtocol(factory), interface="127.0.0.1", maxPacketSize=4096)
    running.listenTCP(port, factory, interface="127.0.0.1")
    running.run()


def serve_upstream(port: int) -> None:
    """Answer every query with one A record, for ever."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    here.bind(("127.0.0.1", port))
    counts = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01"
    while True:
        asked, asker = here.recvfrom(4096)
        end = asked.index(0, 12) + 5
        with suppress(OSError):  # the asker has gone
            here.sendto(asked[:2] + counts + asked[12:end] + answer, asker)


def _await(port: int, program: Program, name: str) -> None:
    question = query(name)

    def met() -> bool:
        program.check()
        reply = answered(port, question)
        return len(reply) > 12 and reply[7] == 1

    wait_for(f"an answer to {name}", met)


def _installed(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin") or ""


if __name__ == "__main__":
    {"yardstick": serve_yardstick, "upstream": serve_upstream}[sys.argv[1]](int(sys.argv[2]))
