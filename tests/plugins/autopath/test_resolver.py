"""Search paths are walked in one query."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.objects import Delete, Kind, Namespace, Pod
from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.chain import Reply
from kdns.core.failure import RcodeOnly, ResolutionFailed
from kdns.core.request import Request
from kdns.core.stamps import Stamp
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.autopath import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import CNAME, NOERROR, NXDOMAIN, RA, REFUSED, SERVFAIL, A
from kdns.wire.names import from_text, to_text
from kdns.wire.records import a_or_aaaa, cname, soa
from tests.plugins.kubernetes.cluster import Bench, external, vip

POD, OTHER, NOBODY = "10.244.1.5", "10.244.1.6", "192.0.2.9"


def pod(name: str, namespace: str, *addresses: str) -> Pod:
    """A pod."""
    first, *more = (ip_address(address).packed for address in addresses)
    return Pod(namespace.encode(), name.encode(), first, tuple(more))


def upstream(request: Request) -> Reply:
    """Names of example exist; all others do not, and a few are worse."""
    text = to_text(request.qname)
    if text.startswith("broken."):
        raise ResolutionFailed("no upstream", SERVFAIL)
    if text.startswith("refused."):
        raise RcodeOnly("not here", REFUSED)
    if text.startswith("silent."):
        return NO_REPLY
    if text in ("www.example.", "www.b.test."):
        made = [a_or_aaaa(request.spelled, 300, bytes((192, 0, 2, 80)))] if request.qtype == A else []
        return Answer(NOERROR, RA, records(made), validity=FROM_UPSTREAM, source="forward")
    if text == "alias.b.test.":
        made = [
            cname(request.spelled, 60, from_text("www.example")),
            a_or_aaaa(from_text("www.example"), 300, b"\x01" * 4),
        ]
        return Answer(NOERROR, RA, records(made), validity=FROM_UPSTREAM, source="forward")
    name = from_text("example")
    return Answer(
        NXDOMAIN,
        RA,
        records((), [soa(name, 60, name, name, (1, 2, 3, 4, 5))]),
        validity=FROM_UPSTREAM,
        source="forward",
    )


class FileTests(SynchronousTestCase):
    """One path for all, out of a file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text("search a.test b.test\n")
        self.bench = PluginBench(directive, f"autopath {self.path}", upstream)

    def asked(self, name: str, qtype: str = "A") -> tuple[Answer, list[str]]:
        """The answer, and the names that were asked for on the way."""
        self.bench.upstream.asked.clear()
        answer = self.bench.ask(name, qtype)
        return answer, [to_text(request.spelled) for request in self.bench.upstream.asked]

    def test_walk(self) -> None:
        """All domains are tried, then the name alone; an alias leads from the name asked for to the one that was found."""
        answer, names = self.asked("wWw.A.test")
        self.assertEqual(names, ["wWw.A.test.", "wWw.b.test."])
        self.assertEqual(
            [(to_text(record.owner), record.ttl) for record in answer.answer],
            [("wWw.A.test.", 300), ("wWw.b.test.", 300)],
        )
        self.assertEqual(answer.answer[0].rdata, from_text("www.b.test").replace(b"www", b"wWw"))
        answer, names = self.asked("www.example.a.test")
        self.assertEqual(names, ["www.example.a.test.", "www.example.b.test.", "www.example."])
        self.assertEqual([record.rtype for record in answer.answer], [CNAME, A])

    def test_alias(self) -> None:
        """A name that is an alias itself is led to by one alias more."""
        answer, _ = self.asked("alias.a.test")
        self.assertEqual([record.rtype for record in answer.answer], [CNAME, CNAME, A])

    def test_nothing(self) -> None:
        """Where nothing is found the first name's reply is the answer."""
        answer, names = self.asked("nope.a.test")
        self.assertEqual((answer.rcode, len(answer.authority), len(names)), (NXDOMAIN, 1, 3))

    def test_nodata(self) -> None:
        """A name without records of the type is a find; there is nothing to lead to."""
        answer, names = self.asked("www.a.test", "AAAA")
        self.assertEqual((answer.rcode, answer.answer, len(names)), (NOERROR, (), 2))

    def test_elsewhere(self) -> None:
        """Names not below the first domain, and that domain itself, pass as they are."""
        for name in ("www.b.test", "a.test", "www.example", "xa.test"):
            self.assertEqual(self.asked(name)[1], [f"{name}."])

    def test_failures(self) -> None:
        """A failure ends the walk, a code without a reply does not, and no reply is no reply."""
        answer, names = self.asked("broken.a.test")
        self.assertEqual((answer.rcode, len(names)), (SERVFAIL, 1))
        answer, names = self.asked("refused.a.test")
        self.assertEqual((answer.rcode, len(names)), (REFUSED, 3))
        answer, names = self.asked("silent.a.test")
        self.assertEqual((answer.silent, len(names)), (True, 1))

    def test_long_names(self) -> None:
        """A name that gets too long below a domain is left out."""
        self.path.write_text(f"search a.test {'b' * 60}.test\n")
        self.bench = PluginBench(directive, f"autopath {self.path}", upstream)
        name = ".".join(["c" * 60] * 3 + ["d" * 20, "a.test"])
        self.assertEqual(len(self.asked(name)[1]), 2)

    def test_waiting(self) -> None:
        """Each name may take its time, and cancelling drops the one that is asked."""
        waiting: list[Deferred[Answer]] = []
        cancelled: list[object] = []

        def slow(request: Request) -> Reply:
            waiting.append(Deferred(cancelled.append))
            return waiting[-1]

        bench = PluginBench(directive, f"autopath {self.path}", slow)
        (link,) = bench.builder.links
        request = a_request("www.a.test")
        reply = link.answer(request, slow)
        assert isinstance(reply, Deferred)
        nothing = upstream(request)
        assert isinstance(nothing, Answer)
        waiting[0].callback(nothing)
        waiting[1].callback(nothing)
        self.assertNoResult(reply)
        waiting[2].callback(nothing)
        self.assertEqual(self.successResultOf(reply).rcode, NXDOMAIN)
        reply = link.answer(request, slow)
        assert isinstance(reply, Deferred)
        reply.addErrback(lambda failure: None).cancel()
        self.assertEqual(cancelled, [waiting[3]])

    def test_counted(self) -> None:
        """Walks that find a name are counted, the first name included."""
        self.asked("www.a.test")
        self.asked("nope.a.test")
        self.assertIn('coredns_autopath_success_total{server="dns://:53"} 1', self.bench.context.registry.lines())

    def test_repeated(self) -> None:
        """What the names on the way come to is what is repeated."""
        self.bench.check_repeats(["www.a.test", "www.example.a.test", "nope.a.test", "alias.a.test", "www.b.test"])


class PodTests(SynchronousTestCase):
    """The paths of pods."""

    def setUp(self) -> None:
        self.kubernetes = Bench("pods verified\nttl 30", zones="cluster.local")
        self.kubernetes.put(
            Namespace(b"shop"), vip("web", "10.96.0.1"), vip("cart", "10.96.0.2", namespace="shop"),
            external("out", "www.example"), pod("a", "prod", POD), pod("b", "shop", OTHER),
        )  # fmt: skip
        self.bench = PluginBench(directive, "autopath @kubernetes", upstream, behind=[self.kubernetes.zone])

    def found(self, name: str, client: str = POD) -> list[str]:
        """Owners of the answer section."""
        return [to_text(record.owner) for record in self.bench.ask(name, client=client).answer]

    def test_pod(self) -> None:
        """A pod's short names, names of other namespaces and names outside are found in one query."""
        self.assertEqual(self.found("web.prod.svc.cluster.local"), ["web.prod.svc.cluster.local."])
        for name, wanted in (("cart.shop", "cart.shop.svc.cluster.local."), ("cart.shop.svc", "cart.shop.svc.cluster.local."),
                             ("www.example", "www.example.")):  # fmt: skip
            asked = f"{name}.prod.svc.cluster.local."
            self.assertEqual(self.found(asked), [asked, wanted])

    def test_external_name(self) -> None:
        """The alias of a service is in front of what it leads to, once."""
        answer = self.bench.ask("out.prod.svc.cluster.local", client=POD)
        self.assertEqual([record.rtype for record in answer.answer], [CNAME, A])

    def test_others(self) -> None:
        """Other namespaces' names are not walked, and nobody's path is walked who is no pod."""
        for client, name in ((OTHER, "www.example.prod.svc.cluster.local"), (NOBODY, "www.example.prod.svc.cluster.local"),
                             (POD, "www.example.svc.cluster.local")):  # fmt: skip
            self.assertEqual(self.bench.ask(name, client=client).rcode, NXDOMAIN, name)

    def test_shared_address(self) -> None:
        """An address of pods in two namespaces tells nothing: pods on a node's network, or one that ends and its successor."""
        self.kubernetes.put(pod("c", "shop", POD))
        self.assertEqual(self.found("www.example.prod.svc.cluster.local"), [])
        self.kubernetes.cluster.index.apply(Delete(Kind.POD, b"prod", b"a"), 0.0)
        self.assertEqual(self.found("www.example.prod.svc.cluster.local"), [])
        self.assertEqual(len(self.found("www.example.shop.svc.cluster.local")), 2)

    def test_not_certain(self) -> None:
        """While the pods may have changed unnoticed, names are answered as they are."""
        cluster, name = self.kubernetes.cluster, "www.example.prod.svc.cluster.local"
        self.assertEqual(len(self.found(name)), 2)
        cluster.current = False
        self.assertEqual(self.found(name), [])
        cluster.current, cluster.stale = True, ("from a snapshot", Stamp().ref())
        self.assertEqual(self.found(name), [])
        cluster.stale, cluster.synced = None, False
        self.assertEqual(self.found(name), [])

    def test_asked_again(self) -> None:
        """An answer made with a pod's path is repeated for five seconds at most."""
        answer = self.bench.ask("cart.shop.prod.svc.cluster.local", client=POD)
        self.assertEqual((answer.validity.repeat, answer.validity.until), (True, 5.0))

    def test_pods_not_verified(self) -> None:
        """Without verified pods nothing is known of any client."""
        bench = PluginBench(directive, "autopath @kubernetes", upstream, behind=[Bench("pods insecure").zone])
        self.assertEqual(bench.ask("www.example.prod.svc.cluster.local", client=POD).rcode, NXDOMAIN)

    def test_namespaces_share_answers(self) -> None:
        """Pods of one namespace are of one group, and so are clients that are no pods."""
        self.kubernetes.put(pod("d", "prod", "10.244.1.7"))
        (link,) = self.bench.builder.links
        group = link.varies.client
        assert group is not None
        self.assertEqual(group(POD), group("10.244.1.7"))
        self.assertEqual(group(NOBODY), group("192.0.2.10"))
        self.assertEqual(len({group(client) for client in (POD, OTHER, NOBODY)}), 3)

    def test_changes(self) -> None:
        """Answer table and cache follow each change of pods and services."""
        index = self.kubernetes.cluster.index
        names = [
            f"{name}.svc.cluster.local"
            for name in ("web.prod", "www.example.prod", "www.example.shop", "cart.shop.prod", "out.prod")
        ]
        for change in (
            lambda: self.kubernetes.put(pod("a", "prod", "10.244.1.9"), pod("c", "shop", POD)),
            lambda: index.apply(Delete(Kind.SERVICE, b"shop", b"cart"), 0.0),
            lambda: index.apply(Delete(Kind.POD, b"shop", b"b"), 0.0),
            lambda: self.kubernetes.put(pod("e", "prod", OTHER, NOBODY)),
        ):
            self.bench.check_repeats(names, clients=(POD, OTHER, NOBODY), change=change)

    def test_explained(self) -> None:
        """An explanation names the names that are tried."""
        (link,) = self.bench.builder.links
        for client, name, wanted in (
            (
                POD,
                "x.prod.svc.cluster.local",
                "one of the names x.prod.svc.cluster.local., x.svc.cluster.local., x.cluster.local., x.",
            ),
            (POD, "x.shop.svc.cluster.local", "the name is not below prod.svc.cluster.local."),
            (NOBODY, "x.prod.svc.cluster.local", "no search path is known of 192.0.2.9"),
        ):
            (note,) = link.explain(a_request(name, client=client))
            self.assertTrue(note.text.startswith(wanted), note)
