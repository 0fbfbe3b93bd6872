"""
``kdns node-cache`` on a node: a pod asks, kube-proxy's translation is there, and the cluster's DNS is elsewhere.

Names of the cluster are kept for a second in the node's cache.
"""

from __future__ import annotations

import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.namespaces import CLUSTER_DNS, LOCAL, SERVICE, UPSTREAM_SERVICE, ClusterDns, Node, inside
from tests.integration.programs import PATIENCE, Program, ask

TEMPLATE = """\
cluster.local:53 {
    errors
    cache {
        success 9984 1 0
    }
    reload
    bind 169.254.20.10 10.96.0.10
    forward . __PILLAR__CLUSTER__DNS__ {
        force_tcp
    }
    health 169.254.20.10:8080
}
.:53 {
    errors
    cache 30
    bind 169.254.20.10 10.96.0.10
    forward . __PILLAR__UPSTREAM__SERVERS__
}
"""

NAME = "web.prod.svc.cluster.local"


class NodeCase(SynchronousTestCase):
    """A node without a cache at first: kube-proxy translates all that pods ask."""

    programs = ("iptables",)

    def setUp(self) -> None:
        for program in self.programs:
            if not shutil.which(program):
                raise SkipTest(f"{program} is not installed")
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "kube-dns").mkdir(parents=True)
        (self.folder / "base").mkdir()
        (self.folder / "base" / "Corefile.base").write_text(TEMPLATE)
        self.node = Node()
        self.addCleanup(self.node.remove)
        self.node.make()
        self.translate()
        self.cluster = self.start_cluster()

    def translate(self) -> None:
        try:
            self.node.translate_with_iptables()
        except AssertionError as error:
            raise SkipTest(f"no packet rules can be made here: {error}") from None

    def start_cluster(self) -> ClusterDns:
        """The cluster's DNS."""
        cluster = ClusterDns(self.node.cluster)
        self.addCleanup(cluster.close)
        return cluster

    def start(self, *more: str) -> Program:
        """kdns on the node; it answers, and its rules are there."""
        words = ["-m", "kdns", "node-cache", "-localip", f"{LOCAL},{SERVICE}", "-upstreamsvc", "kube-dns-upstream"]
        words += ["-conf", str(self.folder / "Corefile"), "-basecorefile", str(self.folder / "base" / "Corefile.base")]
        words += ["-kubednscm", str(self.folder / "kube-dns"), "-syncinterval", "1", "-admin.socket", "off"]
        environment = {"KUBE_DNS_UPSTREAM_SERVICE_HOST": UPSTREAM_SERVICE}
        program = self.node.program(self.node.node, [*words, *more], environment)
        self.addCleanup(program.__exit__, None, None, None)
        program.wait_for("python")
        return program

    def ask(self, name: str = NAME, address: str = SERVICE, tcp: bool = False) -> list[str]:
        """The addresses that a pod is told."""
        reply = inside(self.node.pod, lambda: ask(53, name, tcp=tcp, address=address))
        return [answer.payload.dottedQuad() for answer in reply.answers]  # type: ignore[union-attr]  # all are A

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is so."""
        end = monotonic() + PATIENCE
        while not true():
            self.assertLess(monotonic(), end, what)
            sleep(0.05)

    def tracked(self) -> list[str]:
        """Connections to the node's addresses that the kernel remembers."""
        lines = self.node.run("cat", "/proc/net/nf_conntrack").splitlines()
        return [line for line in lines if re.search(rf"dst=({LOCAL}|{SERVICE}) sport=\d+ dport=53 ", line)]

    def rules(self) -> list[str]:
        """All rules that matter."""
        return [
            line for table in ("raw", "filter") for line in self.node.run("iptables", "-t", table, "-S").splitlines()
        ]

    def has_rules(self) -> bool:
        """Whether all rules of two addresses are there."""
        return sum("NodeLocal DNS Cache" in line for line in self.rules()) == 24

    def ended(self, program: Program) -> str:
        """End it; what it said."""
        program.send(signal.SIGTERM)
        status, said, errors = program.end()
        self.assertEqual((status, errors), (0, ""))
        return said


class LifeTests(NodeCase):
    """One process from its start to its end."""

    def test_life(self) -> None:
        """
        Pods are answered on the node without tracking; what others remove comes back; at the end all is as before.

        A stub domain of the ConfigMap is served, and names stay while the cluster's DNS is away.
        """
        self.assertEqual(self.ask(), ["10.96.1.1"])
        before = self.rules()
        kdns = self.start()
        self.until(self.has_rules, "no rules")
        for address in (SERVICE, LOCAL):
            for tcp in (False, True):
                self.assertEqual(self.ask("new.prod.svc.cluster.local", address, tcp), ["10.96.1.1"])
        self.assertEqual(len(self.tracked()), 1)  # the query before there was a cache

        self.node.run("iptables", "-t", "raw", "-F")
        self.node.run("ip", "link", "delete", "nodelocaldns")
        self.until(self.has_rules, "rules do not come back")
        self.until(lambda: "had lost" in self.heard(kdns), "nothing is said")
        self.assertEqual(self.ask(address=LOCAL), ["10.96.1.1"])

        (self.folder / "kube-dns" / "stubDomains").write_text(f'{{"acme.test": ["{CLUSTER_DNS}"]}}')
        kdns.send(signal.SIGUSR1)
        kdns.wait_for("Reloading complete")
        self.assertIn("acme.test:53 {", (self.folder / "Corefile").read_text())
        self.assertEqual(self.ask("www.acme.test", LOCAL), ["10.96.1.1"])

        self.assertEqual(self.ask(address=LOCAL), ["10.96.1.1"])
        self.cluster.close()
        sleep(1.1)  # the TTL
        self.assertEqual(self.ask(address=LOCAL), ["10.96.1.1"])
        self.cluster = self.start_cluster()
        self.until(
            lambda: self.ask("late.prod.svc.cluster.local", LOCAL) == ["10.96.1.1"],
            "the cluster's DNS is not asked again",
        )

        self.ended(kdns)
        self.assertEqual(self.rules(), before)
        self.assertFalse(self.node.succeeds("ip", "link", "show", "nodelocaldns"))
        self.assertEqual(self.ask(), ["10.96.1.1"])

    def heard(self, program: Program) -> str:
        program.hear(0.05)
        return program.said


class NftTests(NodeCase):
    """A node whose kube-proxy uses nftables."""

    programs = ("nft",)

    def translate(self) -> None:
        try:
            self.node.translate_with_nft()
        except AssertionError as error:
            raise SkipTest(f"no packet rules can be made here: {error}") from None

    def test_life(self) -> None:
        """Rules are in a table of their own, come back when they are removed, let queries pass by after a crash, and go at the end."""
        table = ("nft", "list", "table", "ip", "nodelocaldns")
        kdns = self.start()
        self.until(lambda: self.node.succeeds(*table), "no table")
        self.assertEqual(self.node.run(*table).count("notrack"), 16)
        for address in (SERVICE, LOCAL):
            self.assertEqual(self.ask(address=address), ["10.96.1.1"])
        self.assertEqual(self.tracked(), [])
        self.node.run("nft", "flush", "table", "ip", "nodelocaldns")
        self.until(lambda: self.node.run(*table).count("notrack") == 16, "rules do not come back")
        kdns.process.kill()
        kdns.process.wait()
        self.assertEqual(self.ask(), ["10.96.1.1"])
        kdns = self.start()
        self.ended(kdns)
        self.assertFalse(self.node.succeeds(*table))


class Asking:
    """A pod that asks two addresses again and again, over UDP and TCP, and waits for each answer as long as a resolver does."""

    def __init__(self, node: Node, addresses: tuple[str, ...] = (SERVICE, LOCAL)) -> None:
        self.asked = 0
        self.lost: list[str] = []
        self.refused = 0
        self._node = node
        self._addresses = addresses
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        inside(self._node.pod, self._ask_all)

    def _ask_all(self) -> None:
        while not self._end.wait(0.002):
            address = self._addresses[self.asked % len(self._addresses)]
            tcp = self.asked % 8 == 7
            self.asked += 1
            name = f"n{self.asked % 50}.prod.svc.cluster.local"
            try:
                try:
                    reply = ask(53, name, tcp=tcp, address=address)
                except ConnectionError:
                    # A connection that begins while a listening socket closes is reset by the kernel; clients connect again.
                    self.refused += not tcp
                    reply = ask(53, name, tcp=True, address=address)
                if not reply.answers:
                    self.lost.append(f"{address}: rcode {reply.rCode}")
            except OSError as error:
                self.lost.append(f"{address} {'tcp' if tcp else 'udp'}: {error}")


class ReplacedTests(NodeCase):
    """The process goes, and another comes."""

    def test_update(self) -> None:
        """With -skipteardown an update that starts the new process before it ends the old one loses no query."""
        old = self.start("-skipteardown")
        self.until(self.has_rules, "no rules")
        with Asking(self.node) as asking:
            sleep(0.3)
            new = self.start("-skipteardown")
            sleep(0.2)
            self.ended(old)
            sleep(0.3)
        self.assertEqual((asking.lost, asking.refused), ([], 0))
        self.assertGreater(asking.asked, 100)
        self.ended(new)
        self.assertTrue(self.node.succeeds("ip", "link", "show", "nodelocaldns"))

    def test_crash(self) -> None:
        """
        After a crash the cluster's address is answered by the cluster's DNS, and the local one refuses at once, until kdns is back.

        So a pod whose second name server is the cluster's never waits.
        """
        kdns = self.start()
        self.until(lambda: self.ask(address=LOCAL) == ["10.96.1.1"], "no answer")
        self.until(self.has_rules, "no rules")
        kdns.process.kill()
        kdns.process.wait()
        with Asking(self.node, (SERVICE,)) as asking:
            sleep(0.3)
        self.assertEqual((asking.lost, asking.refused), ([], 0))
        self.assertGreater(asking.asked, 10)
        for _ in range(3):  # the kernel refuses six at once for one client, then one a second
            self.assertRaises(ConnectionRefusedError, self.ask, address=LOCAL)
        self.start()
        self.until(lambda: self.answers(LOCAL), "it does not come back")
        self.until(self.has_rules, "no rules")
        tracked = len(self.tracked())
        self.assertEqual(self.ask(), ["10.96.1.1"])
        self.assertLessEqual(len(self.tracked()), tracked)

    def answers(self, address: str) -> bool:
        try:
            return bool(self.ask(address=address))
        except ConnectionError:
            return False

    def test_failing_start(self) -> None:
        """A process that cannot start leaves nothing that attracts queries."""
        (self.folder / "base" / "Corefile.base").write_text(TEMPLATE + "x:53 {\n    cahce\n}\n")
        words = ["-m", "kdns", "node-cache", "-localip", f"{LOCAL},{SERVICE}", "-conf", str(self.folder / "Corefile")]
        words += ["-basecorefile", str(self.folder / "base" / "Corefile.base"), "-admin.socket", "off"]
        environment = {"KUBE_DNS_SERVICE_HOST": UPSTREAM_SERVICE}
        with self.node.program(self.node.node, words, environment) as program:
            status, _, errors = program.end()
        self.assertEqual(status, 1)
        self.assertIn(f"{self.folder / 'Corefile'}:23 - Error during parsing: Unknown directive 'cahce'", errors)
        self.assertFalse(self.node.succeeds("ip", "link", "show", "nodelocaldns"))
        self.assertEqual(self.ask(), ["10.96.1.1"])
