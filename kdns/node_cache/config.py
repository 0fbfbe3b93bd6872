# -*- test-case-name: tests.cli.test_node_cache -*-
"""What the command line of ``kdns node-cache`` says, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class NodeCacheConfig:
    """The settings of node-cache, every default filled in."""

    addresses: tuple[Address, ...]
    """What pods ask: a link-local address, and that of the cluster's DNS Service unless kube-proxy uses IPVS."""

    corefile: str = "/etc/Corefile"
    """Path that the Corefile is written to."""

    template: str = "/etc/coredns/Corefile.base"
    kube_dns: str = ""
    """Folder of the ConfigMap ``kube-dns``; empty for none."""

    upstream_service: str = "kube-dns"
    """Service whose address is asked for names of the cluster."""

    interface: str = "nodelocaldns"
    setup_interface: bool = True
    setup_rules: bool = True
    skip_teardown: bool = False
    interval: float = 60.0
    """Seconds between two checks of the packet rules."""

    metrics_host: str = "0.0.0.0"
    metrics_port: int = 9353
    port: int = 53
    health_port: int = 8080

    def upstream_variable(self) -> str:
        """Name of the environment variable that has the upstream Service's address."""
        return f"{self.upstream_service.upper().replace('-', '_')}_SERVICE_HOST"
