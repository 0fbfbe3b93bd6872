"""Packet rules are brought to what is wanted, and taken away, in each packet filter."""

from __future__ import annotations

import sys
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.node_cache.firewall import FirewallError, Iptables, Nft, firewalls_for
from kdns.node_cache.programs import MISSING, run
from kdns.node_cache.rules import Rule, wanted_rules
from tests.node_cache.support import FakeIptables, FakeNft, FakePrograms

RULES = wanted_rules([ip_address("169.254.20.10")], 53, 8080)


def texts(rules: list[Rule] | tuple[Rule, ...]) -> list[str]:
    """As :class:`FakeIptables` keeps them, in the order of a chain that each was put at the head of."""
    return [" ".join((rule.table, rule.chain, *rule.words())) for rule in reversed(rules)]


class IptablesTests(SynchronousTestCase):
    """Rules one by one."""

    def setUp(self) -> None:
        self.tables = FakeIptables()
        self.firewall = Iptables("iptables", RULES, FakePrograms(iptables=self.tables))

    def test_made_once(self) -> None:
        """All are made at first, at the head of their chains, and none again."""
        made = self.firewall.put_right()
        self.assertEqual((len(made), self.tables.rules), (len(RULES), texts(RULES)))
        self.assertEqual(self.firewall.put_right(), [])
        self.assertEqual(self.tables.rules, texts(RULES))

    def test_removed_by_others(self) -> None:
        """What somebody deleted is made again, and nothing else."""
        self.firewall.put_right()
        gone = self.tables.rules.pop(3)
        self.assertEqual(len(self.firewall.put_right()), 1)
        self.assertEqual(self.tables.rules, [gone, *(text for text in texts(RULES) if text != gone)])

    def test_taken_over(self) -> None:
        """Rules that node-cache left are not made twice; those that would keep queries on a node where nobody listens are replaced."""
        theirs = texts([rule.unconditional() for rule in RULES])
        self.tables.rules = list(theirs)
        made = self.firewall.put_right()
        self.assertEqual(len(made), 2)
        self.assertEqual(sorted(self.tables.rules), sorted(texts(RULES)))

    def test_without_the_match(self) -> None:
        """Where iptables does not know the match for sockets, rules hold always, and the firewall says so."""
        self.tables.socket = False
        self.firewall.put_right()
        self.assertEqual(self.tables.rules, texts([rule.unconditional() for rule in RULES]))
        self.assertFalse(self.firewall.conditional)
        self.assertEqual(self.firewall.put_right(), [])
        self.firewall.remove(incoming_only=True)
        left = [rule for rule in RULES if rule.outgoing or rule.accept]
        self.assertEqual(self.tables.rules, texts(left))

    def test_removed(self) -> None:
        """All go, copies and those of node-cache included; what is somebody else's stays."""
        foreign = "filter INPUT -p tcp --dport 22 -j ACCEPT"
        self.firewall.put_right()
        self.tables.rules += [*texts([rule.unconditional() for rule in RULES]), texts(RULES)[0], foreign]
        self.firewall.remove()
        self.assertEqual(self.tables.rules, [foreign])

    def test_locked(self) -> None:
        """A lock that another program holds is an error of its own, and no reason to do without the match for sockets."""
        self.tables.locked = True
        for act in (self.firewall.put_right, self.firewall.remove):
            self.assertTrue(self.assertRaises(FirewallError, act).locked)
        self.tables.locked = False
        self.firewall.put_right()
        self.assertEqual(self.tables.rules, texts(RULES))

    def test_not_allowed(self) -> None:
        """An error names the program and its reason, once."""
        firewall = Iptables("iptables-legacy", RULES, FakePrograms())
        error = self.assertRaises(FirewallError, firewall.put_right)
        self.assertEqual((str(error), error.locked), ("iptables-legacy: iptables-legacy: not installed", False))


class NftTests(SynchronousTestCase):
    """A table that is replaced as a whole."""

    def setUp(self) -> None:
        self.nft = FakeNft("ip kube-proxy")
        self.firewall = Nft("ip", RULES, FakePrograms(self.nft))

    def rules(self) -> int:
        return len(self.nft.tables["ip nodelocaldns"])

    def test_made_once(self) -> None:
        """It has the rules that exempt from tracking, and is made once."""
        self.assertEqual(self.firewall.put_right(), ["nft table ip nodelocaldns"])
        self.assertEqual(self.rules(), sum(not rule.accept for rule in RULES))
        self.assertEqual(self.firewall.put_right(), [])
        rule = self.nft.tables["ip nodelocaldns"][1]
        self.assertEqual(rule["comment"], "NodeLocal DNS Cache: skip conntrack")
        self.assertEqual(
            [str(one.get("match", one)) for one in rule["expr"]],
            [
                "{'op': '==', 'left': {'payload': {'protocol': 'ip', 'field': 'daddr'}}, 'right': '169.254.20.10'}",
                "{'op': '==', 'left': {'payload': {'protocol': 'udp', 'field': 'dport'}}, 'right': 53}",
                "{'op': '==', 'left': {'socket': {'key': 'wildcard'}}, 'right': 0}",
                "{'notrack': None}",
            ],
        )

    def test_removed_by_others(self) -> None:
        """A rule that is missing, and one that there should not be, lead to a table as it should be."""
        self.firewall.put_right()
        wanted = list(self.nft.tables["ip nodelocaldns"])
        for spoiled in (wanted[1:], [*wanted, {**wanted[0], "chain": "OUTPUT"}], []):
            self.nft.tables["ip nodelocaldns"] = list(spoiled)
            self.assertEqual(len(self.firewall.put_right()), 1)
            self.assertEqual(self.nft.tables["ip nodelocaldns"], wanted)
        del self.nft.tables["ip nodelocaldns"]
        self.assertEqual(len(self.firewall.put_right()), 1)

    def test_without_the_expression(self) -> None:
        """Where the kernel does not know the expression for sockets, rules hold always."""
        self.nft.socket = False
        self.firewall.put_right()
        self.assertFalse(self.firewall.conditional)
        self.assertEqual(self.firewall.put_right(), [])
        before = self.rules()
        self.firewall.remove(incoming_only=True)
        self.assertEqual(before - self.rules(), sum(rule.exempts_queries for rule in RULES))

    def test_removed(self) -> None:
        """The table goes, and a table that is gone is no error."""
        self.firewall.put_right()
        self.firewall.remove()
        self.assertEqual(self.nft.tables, {})
        self.firewall.remove()

    def test_refused(self) -> None:
        """An error of nft is one of ours."""
        firewall = Nft("ip", RULES, FakePrograms())
        self.assertRaises(FirewallError, firewall.put_right)
        self.assertRaises(FirewallError, firewall.remove)


class ChoiceTests(SynchronousTestCase):
    """The packet filter is found by asking the programs."""

    def test_each_family(self) -> None:
        """IPv4 and IPv6 are looked at apart, and only what is wanted of them."""
        rules = wanted_rules([ip_address("10.96.0.10"), ip_address("fd00::10")], 53, 8080)
        programs = FakePrograms(
            FakeNft("ip filter"),
            iptables=FakeIptables(),
            iptables_nft=FakeIptables(mangle="-N KUBE-KUBELET-CANARY\n"),
            iptables_legacy=FakeIptables(),
            ip6tables=FakeIptables(),
        )
        found = firewalls_for(rules, programs)
        self.assertEqual([one.name for one in found], ["iptables-nft", "ip6tables"])
        self.assertNotIn("iptables-legacy", programs.asked)
        for one in found:
            one.put_right()
        self.assertEqual(len(programs.tables["iptables-nft"].rules), 12)
        self.assertTrue(all("fd00::10" in rule for rule in programs.tables["ip6tables"].rules))
        self.assertEqual([one.name for one in firewalls_for(RULES, FakePrograms(FakeNft("ip kube-proxy")))], ["nft"])

    def test_none(self) -> None:
        """Without any program the error says what is wanted."""
        error = self.assertRaises(FirewallError, firewalls_for, RULES, FakePrograms())
        self.assertIn("wanted iptables or nft, found neither", str(error))


class ProgramTests(SynchronousTestCase):
    """Running programs."""

    def test_outcomes(self) -> None:
        """Status, output and errors; a program that cannot be run has a status, too."""
        python = sys.executable
        script = "import sys; sys.stderr.write('no\\n'); print(sys.stdin.read()); sys.exit(3)"
        done = run([python, "-c", script], "text")
        self.assertEqual((done.status, done.output, done.reason), (3, "text\n", "no"))
        missing = run(["/no/such/program"])
        self.assertEqual((missing.status, missing.reason), (MISSING, "/no/such/program: not installed"))
        self.assertEqual(run(["/"]).status, -1)
        self.assertEqual(run([python, "-c", "raise SystemExit(1)"]).reason, "status 1")
