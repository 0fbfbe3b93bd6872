# -*- test-case-name: tests.node_cache.test_rules -*-
"""
Which packet rules a node needs, and in which of its packet filters they belong.

Queries to the node's addresses and their replies are exempt from connection tracking. Without tracking there is no entry for each query in
a table that may overflow, and kube-proxy's translation of the Service's address does not apply: the query stays on the node.

Pods' queries are exempt only *while a socket is open* for them. kube-proxy translates what is tracked, so while no kdns listens, after a
crash or between two pods, queries to the Service's address go to the cluster's DNS as if there were no cache. Queries of the node's own
processes have no such condition: the kernel cannot look for a socket where they leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from kdns.node_cache.config import Address

SKIP_TRACKING = "NodeLocal DNS Cache: skip conntrack"
ALLOW = "NodeLocal DNS Cache: allow DNS traffic"
"""Comments of the rules: those of NodeLocal DNSCache, whose rules are taken over, and which takes over these."""

KUBELET_CHAINS = ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY")
"""Chains that the kubelet makes in the table ``mangle`` of the backend that it uses."""

KUBE_PROXY_TABLES = ("table ip kube-proxy", "table ip6 kube-proxy")
"""What kube-proxy makes in nftables mode, as ``nft list tables`` prints it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, in the terms of iptables."""

    table: str
    chain: str
    protocol: str
    address: Address
    port: int
    outgoing: bool = False
    """Whether address and port are the source, as in replies."""

    accept: bool = False
    """Let it pass; otherwise, exempt it from tracking."""

    while_open: bool = False
    """Only while a socket is open for it."""

    @property
    def comment(self) -> str:
        return ALLOW if self.accept else SKIP_TRACKING

    @property
    def exempts_queries(self) -> bool:
        return not self.outgoing and not self.accept

    def words(self) -> list[str]:
        """Arguments of ``iptables`` behind the chain. The order is node-cache's, but for the condition, which it does not have."""
        end = "s" if self.outgoing else "d"
        words = ["-p", self.protocol, f"-{end}", str(self.address), f"--{end}port", str(self.port)]
        if self.while_open:
            words += ["-m", "socket"]
        return [*words, "-j", "ACCEPT" if self.accept else "NOTRACK", "-m", "comment", "--comment", self.comment]

    def unconditional(self) -> Rule:
        """The same rule whether a socket is open or not: what node-cache makes."""
        return replace(self, while_open=False)


def wanted_rules(addresses: Sequence[Address], port: int, health_port: int) -> tuple[Rule, ...]:
    """
    All rules, in the order in which node-cache makes them.

    :param port: of DNS.
    :param health_port: of liveness probes, which are not tracked either.
    """
    return tuple(rule for address in addresses for rule in _rules_for(address, port, health_port))


def _rules_for(address: Address, port: int, health_port: int) -> Iterator[Rule]:
    both = ("tcp", "udp")
    for protocol in both:
        yield Rule("raw", "PREROUTING", protocol, address, port, while_open=True)
    for protocol in both:
        yield Rule("filter", "INPUT", protocol, address, port, accept=True)
    for protocol in both:
        yield Rule("raw", "OUTPUT", protocol, address, port, outgoing=True)
    for protocol in both:
        yield Rule("filter", "OUTPUT", protocol, address, port, outgoing=True, accept=True)
    for protocol in both:
        yield Rule("raw", "OUTPUT", protocol, address, port)
    yield Rule("raw", "OUTPUT", "tcp", address, health_port)
    yield Rule("raw", "OUTPUT", "tcp", address, health_port, outgoing=True)


class Backend(Enum):
    """The packet filters of Linux; the value is the program, with ``ip`` in front of ``tables`` for IPv4 and ``ip6`` for IPv6."""

    NFT = "nft"
    IPTABLES = "tables"
    IPTABLES_NFT = "tables-nft"
    IPTABLES_LEGACY = "tables-legacy"


@dataclass(frozen=True, slots=True)
class FoundFilters:
    """What there is on a node."""

    programs: frozenset[Backend]
    """Backends whose program is installed."""

    nft_tables: str = ""
    """What ``nft list tables`` prints."""

    mangle: Mapping[Backend, str] | None = None
    """What ``-t mangle -S`` prints, by backend of iptables."""


def backend_of(found: FoundFilters) -> Backend | None:
    """
    The backend that the node uses, which is that of kube-proxy and the kubelet; None when there is no program for any.

    Rules in another one would be skipped by nobody, but accepting would have no effect there: each backend can drop what others accept.
    """
    programs = found.programs
    if Backend.NFT in programs and any(table in found.nft_tables for table in KUBE_PROXY_TABLES):
        return Backend.NFT
    for backend in (Backend.IPTABLES_NFT, Backend.IPTABLES_LEGACY):
        chains = (found.mangle or {}).get(backend, "")
        if backend in programs and any(chain in chains for chain in KUBELET_CHAINS):
            return backend
    for backend in (Backend.IPTABLES, Backend.IPTABLES_NFT, Backend.IPTABLES_LEGACY, Backend.NFT):
        if backend in programs:
            return backend
    return None
