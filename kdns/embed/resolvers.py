# -*- test-case-name: tests.embed.test_resolvers -*-
"""
Ways to get a resolver: for a cluster zone, for upstreams, with a cache in front, or for a whole Corefile.

Each is one server block (the Corefile: as many as it has) made of the same plugins that the server uses. Start it as a service, or put it
into one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdns.cluster.index import ClusterIndex
from kdns.core.answer import Answer, Reply, records
from kdns.core.chain import Link, Next, chain
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, NOTHING
from kdns.corefile.keys import Zone, zones_of
from kdns.corefile.loader import Corefile
from kdns.embed.adapter import KdnsResolver, ResolverLink
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.server.assembly import assemble, read_text
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.service import KdnsService
from kdns.wire.constants import AAAA, RA, REFUSED, A
from kdns.wire.names import ROOT, from_text, is_subdomain
from kdns.wire.records import a_or_aaaa

CLUSTER_ZONES = ("cluster.local", "in-addr.arpa", "ip6.arpa")
"""The zones of the default Corefile: names, and names of addresses."""

LOCALHOST = from_text("localhost")
LOOPBACK_IPV4, LOOPBACK_IPV6 = bytes((127, 0, 0, 1)), bytes(15) + b"\x01"
LOCALHOST_TTL = 3600
"""Seconds; any number would do."""

HOSTS = "/etc/hosts"

REVERSE_ZONES = ("in-addr.arpa", "ip6.arpa")

MOST_TTL = 3600
"""Seconds, as in a Corefile."""


@dataclass(slots=True)
class KnownCluster:
    """An index that the program updates; see :class:`kdns.plugins.kubernetes.plugin.Cluster`."""

    index: ClusterIndex
    synced: bool = True

    def why_not_ready(self) -> str:
        return ""

    def staleness(self) -> None:
        pass

    def pods_are_current(self) -> bool:
        return True


class NotHere(Link):
    """The end of the chain: refuses, so that a ``ResolverChain`` asks its next resolver."""

    name = "embedded"
    varies = NOTHING

    def answer(self, request: Request, next: Next) -> Answer:
        return Answer(REFUSED, validity=ALWAYS)


class Localhost(Link):
    """Names at or below ``localhost`` are this host; no query for them leaves it (RFC 6761 section 6.3)."""

    name = "localhost"
    varies = NOTHING

    def answer(self, request: Request, next: Next) -> Reply:
        if not is_subdomain(request.qname, LOCALHOST):
            return next(request)
        address = {A: LOOPBACK_IPV4, AAAA: LOOPBACK_IPV6}.get(request.qtype)
        found = () if address is None else (a_or_aaaa(request.spelled, LOCALHOST_TTL, address),)
        return Answer(flags=RA, body=records(answer=found), validity=ALWAYS, source=self.name)


def cluster_resolver(
    reactor: Any,
    *,
    manifests: Sequence[str] = (),
    index: ClusterIndex | None = None,
    kubeconfig: str = "",
    zones: Sequence[str] = CLUSTER_ZONES,
    pods: str = "disabled",
    ttl: int = 5,
    cache: bool = False,
    context: ServerContext | None = None,
) -> KdnsResolver:
    """
    Resolve names of a cluster.

    Addresses that the cluster does not know are refused, as are names outside *zones*.

    Look-ups wait until the cluster has been read for the first time, for five seconds at most.

    :param manifests: files and folders to read the cluster from.
    :param index: an index that the program keeps up to date itself, in place of *manifests*.
    :param kubeconfig: the API to follow; without any of the three it is the one of the pod that the program runs in.
    :param pods: ``disabled``, ``insecure`` or ``verified``: whether pods have names.
    :param ttl: whole seconds.
    :param cache: keep answers for their TTL.
    :raises TypeError: a text stands where a list of texts is wanted.
    :raises ValueError: another value of *pods*, a TTL below 0 or above 3600, or several sources of the cluster.
    :raises OSError: one of the files is not there.
    :raises kdns.corefile.errors.CorefileError: there is no source, or its kubeconfig cannot be used.
    """
    from kdns.plugins import kubernetes
    from kdns.plugins.kubernetes.config import PODS_DISABLED, PODS_INSECURE, PODS_VERIFIED, Config, Source

    _listed("manifests", manifests)
    _listed("zones", zones)
    if pods not in (PODS_DISABLED, PODS_INSECURE, PODS_VERIFIED):
        raise ValueError(f"pods is {PODS_DISABLED!r}, {PODS_INSECURE!r} or {PODS_VERIFIED!r}, found {pods!r}")
    if not 0 <= ttl <= MOST_TTL:
        raise ValueError(f"ttl is a number of seconds from 0 to {MOST_TTL}, found {ttl}")
    if sum((bool(manifests), index is not None, bool(kubeconfig))) > 1:
        raise ValueError("the cluster comes from one of manifests, index and kubeconfig, found several")
    for path in (*manifests, *([kubeconfig] if kubeconfig else [])):
        os.stat(path)
    found = _zones(zones)
    source = Source(manifests=tuple(manifests), kubeconfig=kubeconfig, pods=pods == PODS_VERIFIED)
    config = Config(found, source, pods=pods, ttl=ttl, fallthrough=frozenset(z.name for z in _zones(REVERSE_ZONES)))

    def add(builder: BlockBuilder) -> None:
        if index is None:
            kubernetes.directive.build(config, builder)
        else:
            builder.link(kubernetes.ClusterZone(config, KnownCluster(index), builder.context.clock))

    return _resolver(reactor, context, found, add, cache)


def forwarding_resolver(
    reactor: Any,
    upstreams: Sequence[str],
    *,
    cache: bool = True,
    hosts: str = HOSTS,
    context: ServerContext | None = None,
) -> KdnsResolver:
    """
    Resolve by asking others. Names at and below ``localhost``, and those of the hosts file, are answered here.

    :param upstreams: as in a Corefile: addresses, with a port or without, ``tls://`` or ``https://`` before them, or a resolv.conf.
    :param hosts: the path of the hosts file, which is read again when it changes; empty means none.
    :raises kdns.corefile.values.BadValue: one of the upstreams is none.
    :raises TypeError: a text stands where a list of texts is wanted.
    :raises ValueError: there is no upstream.
    """
    _listed("upstreams", upstreams)
    if not upstreams:
        raise ValueError("upstreams names at least one server")
    from kdns.plugins import forward
    from kdns.plugins import hosts as hosts_plugin
    from kdns.plugins.hosts.config import HostsConfig

    config = (forward.Stanza(tuple(forward.parse_to(upstream) for upstream in upstreams)),)

    def add(builder: BlockBuilder) -> None:
        builder.link(Localhost())
        if hosts:
            hosts_plugin.directive.build(HostsConfig(hosts, (ROOT,), fallthrough=(ROOT,)), builder)
        forward.directive.build(config, builder)

    return _resolver(reactor, context, _zones(["."]), add, cache)


def caching_resolver(reactor: Any, inner: Any, *, context: ServerContext | None = None) -> KdnsResolver:
    """Put kdns's cache in front of *inner*, any ``IResolver``; the caller still starts and stops it."""
    return _resolver(reactor, context, _zones(["."]), lambda builder: builder.link(ResolverLink(inner)), True)


def corefile_resolver(
    reactor: Any, text: str, *, environment: Mapping[str, str] | None = None, context: ServerContext | None = None
) -> KdnsResolver:
    """
    Resolve as a server with this Corefile would, without opening its DNS sockets.

    Where blocks differ in port or address only, the first in the file answers.

    :raises kdns.corefile.errors.CorefileError: the text is no Corefile.
    """
    environment = os.environ if environment is None else environment
    context = context or ServerContext(reactor, environ=environment)
    configuration = assemble(read_text(text, environment), context)
    zones = Zones()
    for served in configuration.endpoints.values():
        for zone, blocks in served.blocks.items():
            for block in blocks:
                if block not in zones.blocks.get(zone, ()):
                    zones.add(zone, block)
    return KdnsResolver(context, zones, configuration.resources)


def from_corefile(
    reactor: Any,
    text: str | Callable[[], str],
    *,
    environment: Mapping[str, str] | None = None,
    context: ServerContext | None = None,
) -> KdnsService:
    """
    Make a whole server, with sockets, from a Corefile. It is a service: start it, and ``when_running()`` fires when it answers.

    :param text: the Corefile, or what returns it: that is called again for each reload, as ``service.reload()`` and *reload* ask for one.
    :param environment: what references to the environment in the Corefile stand for; the process's own by default.
    :raises kdns.corefile.errors.CorefileError: the text is no Corefile. Ports are opened, and faults of them found, at the start.
    """
    environment = os.environ if environment is None else environment
    context = context or ServerContext(reactor, environ=environment)

    def load() -> Corefile:
        return read_text(text if isinstance(text, str) else text(), environment)

    assemble(load(), context)
    return KdnsService(context, load)


def _listed(name: str, texts: object) -> None:
    """
    Refuse a text where a sequence of texts is wanted: it would be taken for one of letters.

    :raises TypeError: it is a text.
    """
    if isinstance(texts, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} is a list of texts; write {name}=[{str(texts)!r}]")


def _zones(texts: Iterable[str]) -> tuple[Zone, ...]:
    return tuple(zone for text in texts for zone in zones_of(text))


def _resolver(
    reactor: Any,
    context: ServerContext | None,
    zones: tuple[Zone, ...],
    add: Callable[[BlockBuilder], None],
    cache: bool,
) -> KdnsResolver:
    """One block for *zones*, with the plugins that *add* adds and optionally a cache before them."""
    context = context or ServerContext(reactor, environ=os.environ)
    builder = BlockBuilder(context, Block((), frozenset()), 0)
    if cache:
        from kdns.plugins import cache as cache_plugin

        cache_plugin.directive.build(_cache_config(), builder)
    add(builder)
    builder.link(NotHere())
    block = ServedBlock(chain(builder.links))
    served = Zones()
    for zone in zones:
        served.add(zone.name, block)
    return KdnsResolver(context, served, builder.resources)


def _cache_config() -> Any:
    """The defaults of ``cache``."""
    from kdns.plugins.cache.config import OCTETS_FOR_EACH, CacheConfig

    plain = CacheConfig((Zone(ROOT, "."),))
    success = replace(plain.success, octets=plain.success.entries * OCTETS_FOR_EACH)
    denial = replace(plain.denial, octets=plain.denial.entries * OCTETS_FOR_EACH)
    return replace(plain, success=success, denial=denial)
