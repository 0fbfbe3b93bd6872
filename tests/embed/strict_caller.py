"""Every call of :mod:`kdns.embed` as a program makes it that has itself checked by ``mypy --strict``; it is checked and not run."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.names import dns

from kdns.embed import (
    HostnameResolver,
    KdnsResolver,
    caching_resolver,
    cluster_resolver,
    corefile_resolver,
    forwarding_resolver,
    from_corefile,
    install,
)


async def every_call(reactor: IReactorCore) -> None:
    """Make all resolvers, ask them, and run a server."""
    cluster: KdnsResolver = cluster_resolver(
        reactor, manifests=["conf/demo/cluster"], pods="insecure", ttl=30, cache=True
    )
    resolvers = [
        cluster,
        cluster_resolver(reactor, kubeconfig="config", zones=["cluster.local"]),
        forwarding_resolver(reactor, ["192.0.2.53"], cache=False, hosts=""),
        caching_resolver(reactor, cluster),
        corefile_resolver(reactor, ".", environment={}),
    ]
    for resolver in resolvers:
        resolver.startService()
        ready: Deferred[None] = resolver.when_ready()
        await ready
        lists: tuple[list[dns.RRHeader], list[dns.RRHeader], list[dns.RRHeader]] = await resolver.lookupAddress(
            "a.test"
        )
        for looked_up in (
            resolver.lookupService("_http._tcp.a.test", (1, 2)),
            resolver.lookupPointer(b"1.2.0.192.in-addr.arpa", timeout=[1]),
            resolver.lookupAllRecords("a.test"),
            resolver.query(dns.Query(b"a.test", dns.MX)),
        ):
            lists = await looked_up
        address: str = await resolver.getHostByName("a.test")
        print(lists, address)
    restore: Callable[[], None] = install(reactor, cluster, fall_back=False)
    restore()
    HostnameResolver(cluster)
    stopped: Deferred[None] = cluster.stopService()
    await stopped

    service = from_corefile(reactor, lambda: ". {\n whoami\n}\n", environment={})
    service.startService()
    running: Deferred[None] = service.when_running()
    await running
    taken_over: bool = await service.reload()
    print(taken_over, [opened.port for opened in service.endpoints.values()])
    await service.stopService()
