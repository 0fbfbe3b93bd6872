# -*- test-case-name: tests.plugins.kubernetes -*-
"""A cluster made of a few values, and a plugin that answers from it: for tests in which nothing is watched."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from twisted.internet.task import Clock

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import ClusterObject, EndpointSlice, Namespace, Port, Service, ServiceKind, Upsert
from kdns.core.answer import Answer
from kdns.core.chain import Reply
from kdns.core.failure import NoNextPlugin
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.plugins.kubernetes import ClusterZone, directive
from kdns.wire.names import from_text
from tests.plugins.kubernetes.reference import Said
from tests.plugins.kubernetes.telling import NUMBERS, told
from tests.support import FakeServer, a_request, blocks_of, now

HTTP = Port(b"http", 80, b"tcp")
HTTPS = Port(b"https", 443, b"tcp")


def packed(*texts: str) -> tuple[bytes, ...]:
    """Addresses."""
    return tuple(ip_address(text).packed for text in texts)


def vip(name: str, *addresses: str, namespace: str = "prod", ports: tuple[Port, ...] = (HTTP,)) -> Service:
    """A service with cluster IPs."""
    return Service(namespace.encode(), name.encode(), ServiceKind.CLUSTER_IP, packed(*addresses), ports=ports)


def headless(name: str, namespace: str = "prod") -> Service:
    """A service without one."""
    return Service(namespace.encode(), name.encode(), ServiceKind.HEADLESS)


def external(name: str, target: str, namespace: str = "prod") -> Service:
    """An external name."""
    return Service(
        namespace.encode(),
        name.encode(),
        ServiceKind.EXTERNAL_NAME,
        external_name=from_text(target) if target else None,
    )


def part(
    name: str,
    service: str,
    *addresses: str,
    namespace: str = "prod",
    hostnames: tuple[bytes | None, ...] = (),
    ports: tuple[Port, ...] = (HTTP,),
) -> EndpointSlice:
    """A slice of a service."""
    return EndpointSlice(
        namespace.encode(), name.encode(), service.encode(), packed(*addresses), hostnames, ports=ports
    )


class FakeCluster:
    """A cluster whose state the test sets."""

    def __init__(self) -> None:
        self.index = ClusterIndex(grace=0.0)
        self.synced = True
        self.stale: tuple[str, StampRef] | None = None
        self.current = True

    def why_not_ready(self) -> str:
        """Something is always missing, if one asks."""
        return "services: no answer of the API server yet"

    def staleness(self) -> tuple[str, StampRef] | None:
        """As the test set it."""
        return self.stale

    def pods_are_current(self) -> bool:
        """As the test set it."""
        return self.current


class Bench:
    """
    A plugin with its options, a cluster of values, and a server for what it asks outside.

    :param resolve: answers what the plugin asks the whole server.
    """

    def __init__(
        self,
        options: str = "",
        zones: str = "cluster.local in-addr.arpa ip6.arpa",
        own: tuple[str, ...] = (),
        resolve: Callable[[Request], Reply] | None = None,
    ) -> None:
        block, words = blocks_of(f". {{\n kubernetes {zones} {{\n{options}\n}}\n}}\n", ("kubernetes",))[0]
        self.config = directive.parse(words["kubernetes"], block)
        self.cluster = FakeCluster()
        self.clock = Clock()
        self.server = FakeServer(resolve=resolve)
        self.zone = ClusterZone(self.config, self.cluster, self.clock.seconds, lambda: packed(*own))
        self.put(Namespace(b"prod"))

    def put(self, *items: ClusterObject) -> None:
        """Objects are there, or changed, from now on."""
        for item in items:
            self.cluster.index.apply(Upsert(item), self.clock.seconds())

    def reply(self, name: str, qtype: str = "A") -> Reply:
        """What the plugin returns."""
        return self.zone.answer(a_request(name, NUMBERS[qtype], server=self.server), self._next)

    def ask(self, name: str, qtype: str = "A") -> Answer:
        """The answer, which must be there at once."""
        return now(self.reply(name, qtype))

    def told(self, name: str, qtype: str = "A") -> Said:
        """The same in words."""
        return told(self.ask(name, qtype))

    def answers(self, name: str, qtype: str = "A") -> set[str]:
        """The answer section without owners and TTLs; the name must exist."""
        said = self.told(name, qtype)
        assert said.rcode == "NOERROR", said
        return {text.split(" ", 2)[2] for text in said.answer}

    def _next(self, request: Request) -> Reply:
        raise NoNextPlugin("kubernetes")
