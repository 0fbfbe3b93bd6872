# -*- test-case-name: tests.core.test_networks -*-
"""Sets of networks that are asked whether an address is in one of them, in the time of a few look-ups however many there are."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_MAPPED_BITS = 96
"""Length of ``::ffff:0:0/96``, in which IPv6 writes IPv4 addresses (RFC 4291 section 2.5.5.2)."""


def unmapped(network: Network) -> Network:
    """The IPv4 network that an IPv6 one of IPv4-mapped addresses stands for; any other as it is."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


class NetworkSet:
    """
    Networks of both families.

    Each length in use has a set of the networks' leading bits, so a look-up costs one set for each length and none for each network.
    """

    __slots__ = ("_lengths",)

    def __init__(self, networks: Iterable[Network]) -> None:
        bits: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            bits.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._lengths = {
            version: [(shift, found) for (family, shift), found in bits.items() if family == version]
            for version in (4, 6)
        }

    def __contains__(self, address: str) -> bool:
        """
        Whether an address in text form is in one of the networks.

        :raises ValueError: it is no address.
        """
        parsed = ip_address(address)
        number = int(parsed)
        return any(number >> shift in leading for shift, leading in self._lengths[parsed.version])
