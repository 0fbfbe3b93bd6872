"""The node's resource beside a server, on a network in memory and with a node that is made of fakes."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.degraded import Fault
from kdns.corefile.errors import CorefileError
from kdns.node_cache.config import NodeCacheConfig
from kdns.node_cache.corefile import NodeCorefile
from kdns.node_cache.device import Device
from kdns.node_cache.rules import wanted_rules
from kdns.node_cache.service import DEVICE_INTERVAL, FOLDER_INTERVAL, NodeCache
from kdns.plugin.seam import ServerContext, Unavailable
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from tests.node_cache.support import FakeIptables, FakeNetlink, FakePrograms
from tests.node_cache.test_firewall import texts
from tests.plugins.web import Client

NAME = "nodelocaldns"
TEMPLATE = ".:53 {\n    bind __PILLAR__LOCAL__DNS__\n    whoami\n}\n"


class NodeCase(SynchronousTestCase):
    """A node, and a server on it."""

    socket = True
    """Whether the node's iptables knows the match for sockets."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "base").mkdir(parents=True)
        (self.folder / "kube-dns").mkdir()
        self.template = self.folder / "base" / "Corefile.base"
        self.template.write_text(TEMPLATE)
        self.config = NodeCacheConfig(
            (ip_address("169.254.20.10"),),
            corefile=str(self.folder / "Corefile"),
            template=str(self.template),
            kube_dns=str(self.folder / "kube-dns"),
        )
        self.rules = wanted_rules(self.config.addresses, 53, 8080)
        self.netlink = FakeNetlink()
        self.tables = FakeIptables(socket=self.socket)
        self.reactor = MemoryReactor(["127.0.0.1", "169.254.20.10", "169.254.20.11"])
        self.threads: list[Deferred[None]] = []
        self.waits = False
        """Whether work in threads has to be let go by the test."""

    def in_thread(self, work: Any) -> Deferred[Any]:
        if not self.waits:
            return maybeDeferred(work)
        going: Deferred[None] = Deferred()
        self.threads.append(going)
        return going.addCallback(lambda _: work())

    def serve(self, **changes: Any) -> Deferred[None]:
        """Start; fires when queries are answered."""
        config = replace(self.config, **changes)
        self.context = ServerContext(
            self.reactor, clock=self.reactor.seconds, wall=self.reactor.seconds, kernel_sockets=False
        )
        corefile = NodeCorefile(config, {}, lambda text, name: read_text(text, {}, name))
        self.service = KdnsService(self.context, corefile.load)
        device = Device(config.interface, config.addresses, self.netlink, self.netlink.look)
        self.node = NodeCache(
            self.context,
            config,
            corefile,
            device if config.setup_interface else None,
            FakePrograms(iptables=self.tables) if config.setup_rules else None,
            self.in_thread,
        )
        self.service.permanent.append(self.node)
        self.service.startService()
        self.reactor.settle()
        return self.service.when_running()

    def serving(self, **changes: Any) -> None:
        """Start, successfully."""
        self.successResultOf(self.serve(**changes))

    def stop(self) -> None:
        """Stop, and leave nothing behind."""
        stopped = self.service.stopService()
        self.reactor.settle()
        self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.leftovers(), [])

    def counted(self, kind: str) -> float:
        """Errors of a kind."""
        family = next(
            one for one in self.context.registry.families() if one.name == "coredns_nodecache_setup_errors_total"
        )
        return family.counter(kind).value

    def faults(self) -> list[str]:
        """What is wrong with the node."""
        return [f"{state.name}: {state.text}" for state in self.context.degraded if state.kind is Fault.NODE_CACHE]


class LifeTests(NodeCase):
    """From start to end."""

    def test_life(self) -> None:
        """The addresses are there before sockets are opened, the rules once queries are answered; at the end nothing is left."""
        self.waits = True
        self.serving()
        self.assertEqual(self.netlink.devices[NAME], ["169.254.20.10"])
        self.assertEqual(
            list(self.service.configuration.announcements if self.service.configuration else ()),
            [".:53 on 169.254.20.10"],
        )
        self.assertEqual(self.tables.rules, [])
        self.threads.pop().callback(None)
        self.assertEqual(self.tables.rules, texts(self.rules))
        self.waits = False
        self.stop()
        self.assertEqual((list(self.netlink.devices), self.tables.rules), (["lo"], []))

    def test_skip_teardown(self) -> None:
        """Interface and rules stay for a successor, which finds them."""
        self.serving(skip_teardown=True)
        self.stop()
        self.assertEqual(self.netlink.devices[NAME], ["169.254.20.10"])
        self.assertEqual(self.tables.rules, texts(self.rules))
        self.serving()
        self.assertEqual(self.tables.rules, texts(self.rules))
        self.stop()
        self.assertEqual((list(self.netlink.devices), self.tables.rules), (["lo"], []))

    def test_left_to_others(self) -> None:
        """Without -setupinterface and -setupiptables both are left alone, whatever they are."""
        self.tables.rules = ["raw PREROUTING -j ACCEPT"]
        self.serving(setup_interface=False, setup_rules=False)
        self.reactor.advance(200)
        self.stop()
        self.assertEqual((list(self.netlink.devices), self.tables.rules), (["lo"], ["raw PREROUTING -j ACCEPT"]))

    def test_ended_early(self) -> None:
        """A process that ends before it has looked at the rules removes those that a killed one left."""
        self.tables.rules = texts(self.rules)
        self.waits = True
        self.serving()
        self.node.leave()
        self.waits = False
        self.threads.pop().callback(None)
        self.stop()
        self.assertEqual(self.tables.rules, [])

    def test_end_at_once(self) -> None:
        """A process that leaves at once removes both first."""
        self.serving()
        self.node.remove_all()
        self.assertEqual((list(self.netlink.devices), self.tables.rules), (["lo"], []))
        self.stop()

    def test_checks_end(self) -> None:
        """A check that was going on when the end began adds nothing."""
        self.serving()
        self.waits = True
        del self.netlink.devices[NAME]
        self.reactor.advance(DEVICE_INTERVAL)
        (going,) = self.threads
        stopped = self.service.stopService()
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        going.callback(None)
        self.threads[-1].callback(None)
        self.reactor.advance(1)
        self.successResultOf(stopped)
        self.assertEqual((list(self.netlink.devices), self.tables.rules), (["lo"], []))
        self.assertEqual(self.reactor.leftovers(), [])

    def test_metrics(self) -> None:
        """node-cache's page shows all metrics, its own among them, at 0 from the start."""
        self.serving()
        page = Client(self.reactor).get(9353, "/metrics").body.decode()
        for kind in ("iptables", "iptables_lock", "interface_add", "interface_check", "configmap"):
            self.assertIn(f'coredns_nodecache_setup_errors_total{{errortype="{kind}"}} 0\n', page)
        self.assertIn("kdns_answer_table_entries", page)
        self.stop()


class FailingStartTests(NodeCase):
    """Starts that fail must not attract queries."""

    def test_bad_corefile(self) -> None:
        """A Corefile that is none makes no interface."""
        self.template.write_text(".:53 {\n    cahce\n}\n")
        self.failureResultOf(self.serve(), CorefileError)
        self.assertEqual(list(self.netlink.devices), ["lo"])

    def test_port_taken(self) -> None:
        """An interface that this process made goes when a port is taken, and one that was there stays."""
        taken = self.reactor.listenUDP(53, DatagramProtocol(), "169.254.20.10")
        self.failureResultOf(self.serve(), Unavailable)
        self.assertEqual(list(self.netlink.devices), ["lo"])
        self.netlink.devices[NAME] = ["169.254.20.10"]
        self.failureResultOf(self.serve(), Unavailable)
        self.assertEqual(list(self.netlink.devices), ["lo", NAME])
        self.assertEqual(self.tables.rules, [])
        maybeDeferred(taken.stopListening)
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])

    def test_not_allowed(self) -> None:
        """Without the right to make interfaces the error says which capability it takes; it is not needed where the interface is there."""
        self.netlink.refuses = errno.EPERM
        failure = self.failureResultOf(self.serve(), Unavailable)
        self.assertIn("node-cache: interface nodelocaldns", str(failure.value))
        self.assertIn("NET_ADMIN", str(failure.value))
        self.assertEqual((self.counted("interface_add"), self.counted("interface_check")), (1, 1))
        self.netlink.devices[NAME] = ["169.254.20.10"]
        self.serving()
        self.netlink.refuses = 0
        self.stop()

    def test_metrics_port_taken(self) -> None:
        """A page of metrics that cannot be shown keeps nobody from DNS."""
        taken = self.reactor.listenTCP(9353, Factory(), interface="127.0.0.1")
        self.serving(metrics_host="127.0.0.1")
        maybeDeferred(taken.stopListening)
        self.stop()


class RepairTests(NodeCase):
    """What others change is put right."""

    def test_interface_deleted(self) -> None:
        """An interface that is deleted is back within a second or two, and so are the rules that went with it."""
        self.serving()
        del self.netlink.devices[NAME]
        self.tables.rules.clear()
        self.reactor.advance(DEVICE_INTERVAL)
        self.assertEqual(self.netlink.devices[NAME], ["169.254.20.10"])
        self.assertEqual(self.tables.rules, texts(self.rules))
        self.stop()

    def test_rules_deleted(self) -> None:
        """Rules that are deleted are back after the interval, again and again."""
        self.serving(interval=30.0)
        for _ in range(3):
            self.tables.rules.clear()
            self.reactor.advance(29)
            self.assertEqual(self.tables.rules, [])
            self.reactor.advance(1)
            self.assertEqual(self.tables.rules, texts(self.rules))
        self.stop()

    def test_rules_refused(self) -> None:
        """Rules that cannot be made are counted and named until they can."""
        self.tables.locked = True
        self.serving()
        self.assertEqual((self.counted("iptables_lock"), self.counted("iptables")), (1, 0))
        (fault,) = self.faults()
        self.assertIn("node-cache packet rules: iptables: Another app is currently holding the xtables lock", fault)
        self.tables.locked = False
        self.reactor.advance(60)
        self.assertEqual((self.faults(), self.tables.rules), ([], texts(self.rules)))
        self.stop()

    def test_interface_refused(self) -> None:
        """An interface that cannot be put right is counted and named until it can, and is tried again each second."""
        self.serving()
        del self.netlink.devices[NAME]
        self.netlink.refuses = errno.EPERM
        self.reactor.advance(DEVICE_INTERVAL)
        self.reactor.advance(DEVICE_INTERVAL)
        self.assertEqual(self.counted("interface_add"), 2)
        self.assertEqual(len(self.faults()), 1)
        self.netlink.refuses = 0
        self.reactor.advance(DEVICE_INTERVAL)
        self.assertEqual((self.faults(), self.netlink.devices[NAME]), ([], ["169.254.20.10"]))
        self.stop()

    def test_settings_followed(self) -> None:
        """A stub domain that comes into the ConfigMap is served within ten seconds, and bad settings change nothing and are named."""
        self.serving()
        domains = self.folder / "kube-dns" / "stubDomains"
        domains.write_text('{"acme.local": ["10.0.0.1"]}')
        self.reactor.advance(FOLDER_INTERVAL)
        self.assertEqual(self.zones(), [".:53 on 169.254.20.10", "acme.local.:53 on 169.254.20.10"])
        domains.write_text("{")
        self.reactor.advance(FOLDER_INTERVAL)
        self.assertEqual(len(self.zones()), 2)
        self.assertEqual(self.counted("configmap"), 1)
        (fault,) = self.faults()
        self.assertIn("node-cache settings: ", fault)
        self.reactor.advance(5 * FOLDER_INTERVAL)
        self.assertEqual(self.counted("configmap"), 1)
        domains.unlink()
        self.reactor.advance(FOLDER_INTERVAL)
        self.assertEqual((self.zones(), self.faults()), ([".:53 on 169.254.20.10"], []))
        self.stop()

    def zones(self) -> list[str]:
        """What is served now."""
        self.reactor.settle()
        assert self.service.configuration is not None
        return self.service.configuration.announcements


class UnconditionalTests(NodeCase):
    """A node whose iptables cannot look for sockets."""

    socket = False

    def test_leave(self) -> None:
        """Queries are sent elsewhere when the end begins, before the sockets close; replies are exempt as long as there may be any."""
        self.serving()
        self.assertEqual(self.tables.rules, texts([rule.unconditional() for rule in self.rules]))
        left = self.node.leave()
        self.assertIsNotNone(left)
        self.assertEqual(self.tables.rules, texts([rule for rule in self.rules if not rule.exempts_queries]))
        self.reactor.advance(200)
        self.assertEqual(len(self.tables.rules), sum(not rule.exempts_queries for rule in self.rules))
        self.stop()
        self.assertEqual(self.tables.rules, [])

    def test_skip_teardown(self) -> None:
        """With -skipteardown nothing is removed at the beginning of the end either."""
        self.serving(skip_teardown=True)
        self.assertIsNone(self.node.leave())
        self.stop()
        self.assertEqual(len(self.tables.rules), len(self.rules))
