"""What a Corefile says about access."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.acl import directive
from kdns.plugins.acl.policy import Action, Rule
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import MX, A

ERRORS = {
    "deny": "unexpected token \"deny\"; expect 'allow', 'block', 'filter' or 'drop'",
    "type A": "unexpected token \"type\"; expect 'allow', 'block', 'filter' or 'drop'",
    "block 10.0.0.0/8": "unexpected token \"10.0.0.0/8\"; expect 'type | net'",
    "block type": 'no token specified in "type" section',
    "block NET": 'no token specified in "net" section',
    "block type A net": 'no token specified in "net" section',
    "block type net 10.0.0.0/8": 'no token specified in "type" section',
    "block type a": 'unexpected token "a"; expect legal QTYPE',
    "block type TYPE65280": 'unexpected token "TYPE65280"; expect legal QTYPE',
    "block net 10.0.0.0/33": 'illegal CIDR notation "10.0.0.0/33"',
    "block net 10.0.0/24": 'illegal CIDR notation "10.0.0/24"',
    "block net 10.0.0.0/255.0.0.0": 'illegal CIDR notation "10.0.0.0/255.0.0.0"',
    "block net fe80::1%eth0": 'illegal CIDR notation "fe80::1%eth0/128"',
    "block net localhost": 'illegal CIDR notation "localhost/32"',
}


class ConfigTests(SynchronousTestCase):
    """From words to lists of rules."""

    def rules(self, *lines: str) -> list[Rule]:
        """The rules of one list, without their places."""
        bench = PluginBench(directive, "acl {\n" + "\n".join(lines) + "\n}")
        return [Rule(rule.action, rule.types, rule.networks) for rule in bench.config[0].rules]

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words, with the line it stands in."""
        for line, text in ERRORS.items():
            message = PluginBench(directive, "acl").error(f"acl {{\n{line}\n}}")
            self.assertEqual(message, f"plugin/acl: Corefile:3 - Error during parsing: {text}", line)

    def test_sections(self) -> None:
        """Sections stand in any order and case, and add up."""
        ten, one = ip_network("10.0.0.0/8"), ip_network("::1/128")
        both = Rule(Action.BLOCK, frozenset((A, MX)), (one, ten))
        self.assertEqual(
            self.rules("BLOCK TYPE A MX NET ::1 10.0.0.0/8", "block net ::1 type A net 10.9.9.9/8 type MX"),
            [both, both],
        )

    def test_star(self) -> None:
        """A star means all; what stands behind it in its list is not read."""
        self.assertEqual(self.rules("drop type A * frob net * frob"), [Rule(Action.DROP)])
        self.assertEqual(self.rules("drop net 10.0.0.0/8 net *"), [Rule(Action.DROP)])

    def test_mapped(self) -> None:
        """An IPv4 network may be written as IPv6."""
        (rule,) = self.rules("allow net ::ffff:10.0.0.0/104 192.0.2.1")
        self.assertEqual(rule.networks, (ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32")))

    def test_nothing(self) -> None:
        """A list without rules is legal."""
        self.assertEqual(PluginBench(directive, "acl\nacl a.test {\n}").config[1].rules, ())

    def test_zones(self) -> None:
        """A list without zones is for those of the block."""
        bench = PluginBench(directive, "acl\nacl A.test 10.0.0.0/16", zone="b.test")
        zones = [[zone.text for zone in one.zones] for one in bench.config]
        self.assertEqual(zones, [["b.test."], ["a.test.", "0.10.in-addr.arpa."]])
