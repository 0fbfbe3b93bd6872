# -*- test-case-name: tests.embed.test_resolvers -*-
"""Each way to get a resolver; programs that use them are in ``docs/embedding.md`` and run by :mod:`tests.test_docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import AuthoritativeDomainError, DNSQueryRefusedError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.index import ClusterIndex
from kdns.cluster.manifests import read
from kdns.cluster.objects import Upsert
from kdns.corefile.errors import CorefileError
from kdns.corefile.values import BadValue
from kdns.embed import (
    KdnsResolver,
    caching_resolver,
    cluster_resolver,
    corefile_resolver,
    forwarding_resolver,
    from_corefile,
)
from kdns.embed.adapter import address_text
from kdns.plugin.seam import ServerContext
from kdns.testing.memory import Datagram, MemoryReactor

CLUSTER = str(Path(__file__).parents[2] / "conf" / "demo" / "cluster")


class ResolverTests(SynchronousTestCase):
    """Resolvers on a network in memory."""

    def setUp(self) -> None:
        """A reactor without sockets or threads."""
        self.reactor = MemoryReactor()
        self.context = ServerContext(self.reactor, clock=self.reactor.seconds, kernel_sockets=False)

    def running(self, resolver: KdnsResolver) -> KdnsResolver:
        """Start it, and see at the end of the test that it leaves nothing."""
        resolver.startService()
        ready = resolver.when_ready()
        self.reactor.advance(1)
        self.successResultOf(ready)

        def stop() -> None:
            stopped = resolver.stopService()
            self.reactor.settle()
            self.successResultOf(stopped)
            self.assertEqual(self.reactor.leftovers(), [])

        self.addCleanup(stop)
        return resolver

    def addresses(self, looked_up: Deferred[Any]) -> list[str]:
        """The addresses in an answer that is there when the network is quiet."""
        self.reactor.advance(0.1)
        return sorted(address_text(header.payload) for header in self.successResultOf(looked_up)[0])

    def test_manifests(self) -> None:
        """Names of the cluster out of files; others are refused, and so are addresses that it does not know."""
        resolver = self.running(cluster_resolver(self.reactor, manifests=[CLUSTER], context=self.context))
        self.assertEqual(
            self.addresses(resolver.lookupAddress("db.shop.svc.cluster.local")), ["10.244.1.20", "10.244.2.20"]
        )
        self.failureResultOf(resolver.lookupAddress("no.shop.svc.cluster.local"), AuthoritativeDomainError)
        self.failureResultOf(resolver.lookupAddress("www.example.org"), DNSQueryRefusedError)
        self.failureResultOf(resolver.lookupPointer("1.2.0.192.in-addr.arpa"), DNSQueryRefusedError)

    def test_index(self) -> None:
        """An index of the program's own: what it enters is answered by the next look-up, through the cache too."""
        index = ClusterIndex()
        resolver = self.running(cluster_resolver(self.reactor, index=index, ttl=30, cache=True, context=self.context))
        name = "late.shop.svc.cluster.local"
        self.failureResultOf(resolver.lookupAddress(name), AuthoritativeDomainError)
        manifest = """
{"apiVersion": "v1", "kind": "List", "items": [
 {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
 {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late", "namespace": "shop"},
  "spec": {"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"], "ports": [{"port": 80}]}}]}
"""
        for change in read([("late.json", manifest)]).changes:
            assert isinstance(change, Upsert)
            index.apply(change, self.reactor.seconds())
        self.assertEqual(self.addresses(resolver.lookupAddress(name)), ["10.96.1.1"])

    def test_pods(self) -> None:
        """Pods have names when that is wanted."""
        resolver = self.running(
            cluster_resolver(self.reactor, manifests=[CLUSTER], pods="insecure", context=self.context)
        )
        self.assertEqual(self.addresses(resolver.lookupAddress("10-0-0-9.shop.pod.cluster.local")), ["10.0.0.9"])

    def test_cache(self) -> None:
        """The cache in front of any IResolver asks it once while the TTL lasts."""
        inner = Inner()
        resolver = self.running(caching_resolver(self.reactor, inner, context=self.context))
        for _ in range(3):
            self.assertEqual(self.addresses(resolver.lookupAddress("www.example.org")), ["192.0.2.1"])
        self.assertEqual(inner.asked, 1)
        self.reactor.advance(61)
        self.addresses(resolver.lookupAddress("www.example.org"))
        self.assertEqual(inner.asked, 2)

    def test_forward_refuses_nonsense(self) -> None:
        """An upstream that is no address is refused when the resolver is made."""
        self.assertRaises(BadValue, forwarding_resolver, self.reactor, ["ftp://192.0.2.1"], context=self.context)

    def test_forward_silence(self) -> None:
        """When no upstream answers, that is a DNSServerError, and nothing is left waiting."""
        self.reactor.blackhole("192.0.2.53")
        resolver = self.running(forwarding_resolver(self.reactor, ["192.0.2.53"], cache=False, context=self.context))
        waiting = resolver.lookupAddress("www.example.org")
        self.reactor.advance(9)
        failure = self.failureResultOf(waiting, DNSServerError)
        message, why = failure.value.args
        self.assertEqual(message.rCode, dns.ESERVER)
        self.assertRegex(why, r"^www\.example\.org: SERVFAIL: read udp .*->192\.0\.2\.53:53: i/o timeout$")

    def test_calls_refused(self) -> None:
        """A mistake in a call is an exception of that call, and says what is wanted."""
        reactor = self.reactor
        kubeconfig = str(Path(CLUSTER) / "none")
        for error, text, call in (
            (TypeError, "write manifests=['/x']", lambda: cluster_resolver(reactor, manifests="/x")),
            (TypeError, "write zones=['a.']", lambda: cluster_resolver(reactor, manifests=[CLUSTER], zones="a.")),
            (TypeError, "write upstreams=['192.0.2.1']", lambda: forwarding_resolver(reactor, "192.0.2.1")),
            (ValueError, "at least one server", lambda: forwarding_resolver(reactor, [])),
            (ValueError, "found 'on'", lambda: cluster_resolver(reactor, manifests=[CLUSTER], pods="on")),
            (ValueError, "found 3601", lambda: cluster_resolver(reactor, manifests=[CLUSTER], ttl=3601)),
            (ValueError, "found several", lambda: cluster_resolver(reactor, manifests=["a"], kubeconfig="b")),
            (FileNotFoundError, "/not/there", lambda: cluster_resolver(reactor, manifests=["/not/there"])),
            (FileNotFoundError, kubeconfig, lambda: cluster_resolver(reactor, kubeconfig=kubeconfig)),
            (CorefileError, "KUBERNETES_SERVICE_HOST", lambda: cluster_resolver(reactor, context=self.context)),
            (CorefileError, "Unknown directive", lambda: from_corefile(reactor, "x {\n bogus\n}\n")),
        ):
            found = self.assertRaises(error, call)
            self.assertIn(text, str(found))
        self.assertEqual(reactor.leftovers(), [])

    def test_server(self) -> None:
        """A whole server out of a text answers on a socket, and takes over what the function says next."""
        texts = [".:1053 {\n bind 127.0.0.1\n hosts {\n 192.0.2.1 a.test\n }\n}\n"]
        service = from_corefile(self.reactor, lambda: texts[-1], environment={}, context=self.context)
        service.startService()
        self.reactor.settle()
        self.successResultOf(service.when_running())
        resolver = self.running(
            forwarding_resolver(self.reactor, ["127.0.0.1:1053"], cache=False, hosts="", context=self.context)
        )
        self.assertEqual(self.addresses(resolver.lookupAddress("a.test")), ["192.0.2.1"])
        texts.append(texts[0].replace("192.0.2.1", "192.0.2.2"))
        reloaded = service.reload()
        self.reactor.settle()
        self.assertTrue(self.successResultOf(reloaded))
        self.assertEqual(self.addresses(resolver.lookupAddress("a.test")), ["192.0.2.2"])
        stopped = service.stopService()
        self.reactor.advance(1)
        self.successResultOf(stopped)

    def test_typed(self) -> None:
        """Strict type checkers accept every call."""
        from mypy import api

        root = Path(__file__).parents[2]
        options = [
            "--strict",
            "--config-file",
            str(root / "pyproject.toml"),
            "--disallow-untyped-calls",
            "--follow-imports=silent",
        ]
        caller = str(Path(__file__).parent / "strict_caller.py")
        out, _, status = api.run([*options, f"--cache-dir={root / '.mypy_cache'}", caller])
        self.assertEqual((status, out.strip()), (0, "Success: no issues found in 1 source file"))

    def test_localhost(self) -> None:
        """Names at and below localhost are loopback, and no upstream hears of them (RFC 6761 section 6.3)."""
        resolver = self.asking_nobody()
        for name in ("localhost", "db.localhost", "A.B.LocalHost"):
            self.assertEqual(self.addresses(resolver.lookupAddress(name)), ["127.0.0.1"])
            self.assertEqual(self.addresses(resolver.lookupIPV6Address(name)), ["::1"])
            self.assertEqual(self.addresses(resolver.lookupMailExchange(name)), [])
        self.assertEqual(self.seen, [])
        resolver.lookupAddress("notlocalhost").addErrback(lambda _: None)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.seen), 1)
        self.reactor.advance(9)

    def test_hosts(self) -> None:
        """Names of the hosts file are known, in both directions; other names go to the upstreams."""
        path = str(self.mktemp())
        Path(path).write_text("198.51.100.7 printer printer.example.org\n", encoding="ascii")
        resolver = self.asking_nobody(hosts=path)
        for name in ("printer", "printer.example.org"):
            self.assertEqual(self.addresses(resolver.lookupAddress(name)), ["198.51.100.7"])
        answers, _, _ = self.successResultOf(resolver.lookupPointer("7.100.51.198.in-addr.arpa"))
        payload: Any = answers[0].payload
        self.assertEqual(str(payload.name), "printer")
        self.assertEqual(self.seen, [])
        Path(path).write_text("198.51.100.77 printer\n", encoding="ascii")
        self.reactor.advance(6)
        self.assertEqual(self.addresses(resolver.lookupAddress("printer")), ["198.51.100.77"])
        resolver.lookupAddress("printer.example.org").addErrback(lambda _: None)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.seen), 1)
        self.reactor.advance(9)

    def asking_nobody(self, hosts: str = "") -> KdnsResolver:
        """A forwarding resolver whose upstream says nothing; what it was sent is in ``seen``."""
        self.seen: list[Datagram] = []

        def note(datagram: Datagram) -> tuple[float, ...]:
            self.seen.append(datagram)
            return ()

        self.reactor.shape(note, destination=("192.0.2.53", 53))
        resolver = forwarding_resolver(self.reactor, ["192.0.2.53"], hosts=hosts, context=self.context)
        return self.running(resolver)

    def test_corefile(self) -> None:
        """A Corefile's blocks answer as they would in a server, the longest zone first, and open no DNS socket."""
        text = f"""
        cluster.local {{
            kubernetes {{
                manifests {CLUSTER}
            }}
        }}
        example.org {{
            hosts {{
                198.51.100.20 www.example.org
            }}
        }}
        """
        resolver = self.running(corefile_resolver(self.reactor, text, environment={}, context=self.context))
        self.assertEqual(self.addresses(resolver.lookupAddress("web.shop.svc.cluster.local")), ["10.96.20.30"])
        self.assertEqual(self.addresses(resolver.lookupAddress("www.example.org")), ["198.51.100.20"])
        self.failureResultOf(resolver.lookupAddress("www.example.com"), DNSQueryRefusedError)
        self.assertEqual([line for line in self.reactor.leftovers() if "port" in line], [])

    def test_bad_corefile(self) -> None:
        """A Corefile that is none is refused when the resolver is made."""
        self.assertRaises(CorefileError, corefile_resolver, self.reactor, ". {\n bogus\n}\n", context=self.context)


class Inner(ResolverBase):
    """An IResolver that counts how often it is asked."""

    def __init__(self) -> None:
        ResolverBase.__init__(self)
        self.asked = 0

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        self.asked += 1
        payload: Any = dns.Record_A("192.0.2.1", 60)
        return succeed(([dns.RRHeader(name, dns.A, dns.IN, 60, payload)], [], []))
