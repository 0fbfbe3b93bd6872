"""
Look for what breaks: ``python -m tests.fuzz [--seconds N] [--seed S] [TARGET...]``.

Targets, one after another: ``wire`` (queries, replies and what is patched of them), ``corefile`` (texts), ``projection`` (objects of
the API), ``regexp``, ``template`` and ``expression`` (the languages inside a Corefile), ``zone`` and ``transfer`` (zone data), ``tsig``
(signed messages), ``dnssec`` (replies to be signed), ``https``, ``grpc``, ``quic`` and ``quic_streams`` (connections of clients),
``grpc_upstream`` and ``quic_upstream`` (what upstreams send), ``dnstap`` (what its readers send), ``geoip`` (databases), ``etcd`` and
``listing`` (answers of stores), ``listener`` (a live server over loopback). Each input comes from a valid one with some bytes changed, cut,
doubled or spliced, or from chance alone. A target fails when it raises an exception that is not one of its own. The input that broke it is
written in hex, with the seed that leads there again. Where atheris is installed it drives all but the last, and finds its way by the
branches that inputs take.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dns.message

from kdns.cluster.objects import Kind
from kdns.cluster.projection import ProjectionError, Projector
from kdns.corefile.errors import CorefileError
from kdns.corefile.files import Kind as FileKind
from kdns.corefile.loader import load_text
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.corefile.parser import Surroundings
from kdns.wire.message import MalformedMessage, scan
from kdns.wire.names import BadName, from_text, to_text
from kdns.wire.query import read_query
from tests.fuzz_dnstap import READERS, run_dnstap
from tests.fuzz_geoip import databases, run_geoip
from tests.fuzz_https import CALLS, CONNECTIONS, PACKETS, run_grpc, run_https
from tests.fuzz_patterns import EXPRESSIONS, REGEXPS, TEMPLATES, run_expression, run_regexp, run_template
from tests.fuzz_quic import DATAGRAMS, STREAMS, run_quic, run_quic_streams
from tests.fuzz_signing import REPLIES, SIGNED, run_dnssec, run_tsig
from tests.fuzz_stores import KEYS, LISTINGS, run_etcd, run_listing
from tests.fuzz_upstreams import RESPONSES, run_grpc_upstream, run_quic_upstream
from tests.fuzz_upstreams import STREAMS as REPLY_STREAMS
from tests.fuzz_zones import FILES, MESSAGES, run_transfer, run_zone

SECONDS = 60.0
"""How long all targets together are fuzzed."""

LONGEST = 2000
"""Octets of an input."""


class Target(NamedTuple):
    """Something to fuzz."""

    name: str
    seeds: tuple[bytes, ...]
    """Valid inputs."""

    run: Callable[[bytes], None]
    """Takes an input, and raises only what is wrong."""


def _queries() -> tuple[bytes, ...]:
    plain = dns.message.make_query("web.prod.svc.cluster.local.", "A", id=1)
    with_opt = dns.message.make_query(
        "_http._tcp.web.prod.svc.cluster.local.", "SRV", use_edns=0, payload=1232, want_dnssec=True, pad=128
    )
    reply = dns.message.from_text(
        "id 7\nopcode QUERY\nrcode NOERROR\nflags QR RD RA\nedns 0\npayload 1232\n;QUESTION\nwww.example.com. IN A\n;ANSWER\n"
        "www.example.com. 300 IN CNAME web.example.com.\nweb.example.com. 60 IN A 192.0.2.1\n;AUTHORITY\n"
        "example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 5\n;ADDITIONAL\n"
        'example.com. 60 IN NAPTR 1 2 "u" "" "!a!b!" a.example.com.\na.example.com. 60 IN SRV 1 2 3 b.example.com.\n'
    )
    return plain.to_wire(), with_opt.to_wire(), reply.to_wire()


def run_wire(octets: bytes) -> None:
    """Read octets as a query, as a reply, and as a name."""
    found = read_query(octets)
    if isinstance(found, bytes):
        dns.message.from_wire(found)
    elif found is not None:
        assert to_text(found.qname)
    try:
        from_text(octets)
    except BadName:
        pass
    for message in (octets, octets[:2] + b"\x81\x80" + octets[4:]):
        try:
            relayed = scan(message)
        except MalformedMessage:
            continue
        question = b"\x03web\x00\x00\x01\x00\x01" if relayed.question is None else message[12 : relayed.body]
        for body in (relayed, relayed.with_ttl(5)):
            body.patched(question)
        try:
            relayed.sections()
            relayed.uncompressed_size()
        except BadName:
            pass


class NoFiles:
    """A folder in which there is nothing."""

    def absolute(self, path: str) -> str:
        """The path."""
        return path

    def matches(self, pattern: str) -> list[str]:
        """Nothing."""
        return []

    def kind(self, path: str) -> FileKind:
        """None."""
        return FileKind.MISSING

    def read(self, path: str) -> str:
        """There is nothing to read."""
        raise FileNotFoundError(path)


def run_corefile(octets: bytes) -> None:
    """Read octets as a Corefile."""
    try:
        load_text(octets.decode("utf-8", "replace"), Surroundings(known=DIRECTIVE_ORDER, files=NoFiles()))
    except CorefileError as error:
        assert str(error)


def run_projection(octets: bytes) -> None:
    """Read octets as each kind of object, as a line of a watch and as a page of a list."""
    projector = Projector()
    for kind in Kind:
        for read in (projector.project, projector.deletion, projector.event):
            try:
                read(kind, octets)
            except ProjectionError as error:
                assert str(error)
        try:
            list(projector.changes(kind, projector.page(kind, octets).items))
        except ProjectionError as error:
            assert str(error)


COREFILE = b"""(common) {
    errors
}
.:53 example.org:5353 10.0.0.0/24 {
    import common
    kubernetes cluster.local in-addr.arpa {
        pods insecure
        fallthrough "in-addr.arpa" # a comment
        ttl {$TTL:30}
    }
    forward . 192.0.2.1 {
        max_concurrent 1000
    }
    cache 30
}
"""

SERVICE = b"""{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"prod","uid":"1","resourceVersion":"7"},"spec":{
"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"],"type":"ClusterIP","ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"""
SLICE = b"""{"type":"ADDED","object":{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"web-1",
"namespace":"prod","resourceVersion":"8","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","endpoints":[{"addresses":["10.244.1.1"],
"conditions":{"ready":true},"hostname":"web-0"}],"ports":[{"name":"http","port":80,"protocol":"TCP"}]}}"""
PAGE = b"""{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"x"},"items":[{"metadata":{"name":"a",
"namespace":"prod","resourceVersion":"3"},"status":{"phase":"Running","podIP":"10.244.1.2","podIPs":[{"ip":"10.244.1.2"}]}}]}"""

TARGETS = (
    Target("wire", _queries(), run_wire),
    Target("corefile", (COREFILE,), run_corefile),
    Target("projection", (SERVICE, SLICE, PAGE), run_projection),
    Target("regexp", REGEXPS, run_regexp),
    Target("template", TEMPLATES, run_template),
    Target("expression", EXPRESSIONS, run_expression),
    Target("zone", FILES, run_zone),
    Target("transfer", MESSAGES, run_transfer),
    Target("tsig", SIGNED, run_tsig),
    Target("dnssec", REPLIES, run_dnssec),
    Target("https", CONNECTIONS, run_https),
    Target("grpc", CALLS + PACKETS, run_grpc),
    Target("quic", DATAGRAMS, run_quic),
    Target("quic_streams", STREAMS, run_quic_streams),
    Target("grpc_upstream", RESPONSES, run_grpc_upstream),
    Target("quic_upstream", REPLY_STREAMS, run_quic_upstream),
    Target("etcd", KEYS, run_etcd),
    Target("listing", LISTINGS, run_listing),
    Target("dnstap", READERS, run_dnstap),
    Target("geoip", databases(), run_geoip),
)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """A valid input with some damage; one in ten is noise altogether."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(0, 300))
    octets = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        at = chance.randrange(len(octets) + 1)
        what = chance.randrange(6)
        if what == 0 and octets:
            octets[at - 1] = chance.randrange(256)
        elif what == 1 and octets:
            octets[at - 1] ^= 1 << chance.randrange(8)
        elif what == 2:
            del octets[at : at + chance.choice((1, 1, 2, 5, 40))]
        elif what == 3:
            octets[at:at] = chance.randbytes(chance.choice((1, 2, 4, 20)))
        elif what == 4:
            end = at + chance.choice((1, 2, 10, 60))
            octets[at:at] = octets[at:end]
        else:
            del octets[at:]
        if len(octets) > LONGEST:
            del octets[LONGEST:]
    return bytes(octets)


def fuzz(target: Target, seconds: float, seed: int, say: Callable[[str], None] = print) -> int:
    """Run a target for a time; returns how many inputs broke it, at most ten, and says which."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count = broken = 0
    while time.monotonic() < end and broken < 10:
        octets = mutated(chance.choice(target.seeds), chance)
        count += 1
        try:
            target.run(octets)
        except Exception:
            broken += 1
            say(f"{target.name}: input {count} of seed {seed} broke it: {octets.hex()}\n{traceback.format_exc()}")
    say(f"{target.name}: {count} inputs of seed {seed}, {broken} broke it")
    return broken


def fuzz_with_atheris(target: Target, seconds: float, seed: int) -> None:
    """Let atheris drive; it ends the process itself, with a status that is not 0 when something broke."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed}", f"-max_len={LONGEST}"], target.run)
    atheris.Fuzz()


def fuzz_listener(seconds: float, seed: int) -> int:
    """Fuzz a live server for a time; returns how many things went wrong."""
    from tests.integration.fuzzing import LiveServer

    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    with LiveServer() as server:
        while time.monotonic() < end and not server.complaints:
            count += server.throw(mutated(chance.choice(TARGETS[0].seeds[:2]), chance) for _ in range(500))
            server.check_alive()
    for complaint in server.complaints:
        print(complaint)
    print(f"listener: {count} packets of seed {seed}, {len(server.complaints)} complaints")
    return len(server.complaints)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what the command line names; returns 1 when something broke."""
    names = [*(target.name for target in TARGETS), "listener"]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Look for what breaks kdns.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all targets together (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="to see the same inputs again")
    parser.add_argument("--atheris", action="store_true", help="let atheris drive the one target that is named")
    options = parser.parse_args(arguments)
    chosen = options.targets or names
    unknown = [name for name in chosen if name not in names]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    share = options.seconds / len(chosen)
    by_name = {target.name: target for target in TARGETS}
    if options.atheris:
        fuzz_with_atheris(by_name[chosen[0]], share, seed)
        return 0
    broken = sum(fuzz(by_name[name], share, seed) if name in by_name else fuzz_listener(share, seed) for name in chosen)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
