"""Which packet rules a node needs, and in which packet filter."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.node_cache.rules import ALLOW, SKIP_TRACKING, Backend, FoundFilters, backend_of, wanted_rules

LOCAL, SERVICE = ip_address("169.254.20.10"), ip_address("10.96.0.10")


class WantedTests(SynchronousTestCase):
    """The rules of an address."""

    def test_of_one_address(self) -> None:
        """They are node-cache's, in its order, but that pods' queries are exempt only while a socket is open."""
        skip, allow = ["-m", "comment", "--comment", SKIP_TRACKING], ["-m", "comment", "--comment", ALLOW]
        to, back = ["-d", "169.254.20.10", "--dport"], ["-s", "169.254.20.10", "--sport"]
        wanted = [
            ("raw", "PREROUTING", ["-p", "tcp", *to, "53", "-m", "socket", "-j", "NOTRACK", *skip]),
            ("raw", "PREROUTING", ["-p", "udp", *to, "53", "-m", "socket", "-j", "NOTRACK", *skip]),
            ("filter", "INPUT", ["-p", "tcp", *to, "53", "-j", "ACCEPT", *allow]),
            ("filter", "INPUT", ["-p", "udp", *to, "53", "-j", "ACCEPT", *allow]),
            ("raw", "OUTPUT", ["-p", "tcp", *back, "53", "-j", "NOTRACK", *skip]),
            ("raw", "OUTPUT", ["-p", "udp", *back, "53", "-j", "NOTRACK", *skip]),
            ("filter", "OUTPUT", ["-p", "tcp", *back, "53", "-j", "ACCEPT", *allow]),
            ("filter", "OUTPUT", ["-p", "udp", *back, "53", "-j", "ACCEPT", *allow]),
            ("raw", "OUTPUT", ["-p", "tcp", *to, "53", "-j", "NOTRACK", *skip]),
            ("raw", "OUTPUT", ["-p", "udp", *to, "53", "-j", "NOTRACK", *skip]),
            ("raw", "OUTPUT", ["-p", "tcp", *to, "8080", "-j", "NOTRACK", *skip]),
            ("raw", "OUTPUT", ["-p", "tcp", *back, "8080", "-j", "NOTRACK", *skip]),
        ]
        found = [(rule.table, rule.chain, rule.words()) for rule in wanted_rules([LOCAL], 53, 8080)]
        self.assertEqual(found, wanted)

    def test_of_two_addresses(self) -> None:
        """Each address has the same rules."""
        one, two = wanted_rules([LOCAL], 5353, 8080), wanted_rules([LOCAL, SERVICE], 5353, 8080)
        self.assertEqual(two[: len(one)], one)
        self.assertEqual({rule.address for rule in two[len(one) :]}, {SERVICE})
        self.assertEqual({rule.port for rule in two}, {5353, 8080})


class BackendTests(SynchronousTestCase):
    """The packet filter that kube-proxy and the kubelet use."""

    def test_backends(self) -> None:
        """Kube-proxy's table of nftables comes first, then the kubelet's chains, then whatever there is."""
        nft, plain = Backend.NFT, Backend.IPTABLES
        new, legacy = Backend.IPTABLES_NFT, Backend.IPTABLES_LEGACY
        everything = frozenset(Backend)
        hint = "-P PREROUTING ACCEPT\n-N KUBE-IPTABLES-HINT\n"
        for programs, tables, mangle, wanted in (
            (everything, "table ip kube-proxy\ntable ip filter\n", {new: hint}, nft),
            (everything, "table ip6 kube-proxy\n", {}, nft),
            (everything - {nft}, "table ip kube-proxy\n", {new: hint}, new),
            (everything, "table ip filter\n", {new: hint, legacy: ""}, new),
            (everything, "", {new: "-P INPUT ACCEPT\n", legacy: "-N KUBE-KUBELET-CANARY\n"}, legacy),
            (everything, "", {new: "", legacy: ""}, plain),
            (frozenset({new, nft}), "", {new: ""}, new),
            (frozenset({legacy}), "", {}, legacy),
            (frozenset({nft}), "table ip filter\n", {}, nft),
            (frozenset(), "", {}, None),
        ):
            self.assertIs(backend_of(FoundFilters(frozenset(programs), tables, mangle)), wanted)
