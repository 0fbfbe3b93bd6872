# -*- test-case-name: tests.plugins.dns64.test_prefix -*-
"""IPv4 addresses inside IPv6 ones: a core module of *dns64*."""

from __future__ import annotations

from ipaddress import IPv6Network

LENGTHS = range(32, 97, 8)
"""Bits that a prefix may have (RFC 6052 section 2.2 names six of these; CoreDNS takes all)."""

_UNUSED = 8
"""The byte of the address that must be zero: bits 64 to 71 (RFC 6052 section 2.2)."""

WELL_KNOWN = IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1."""


class Prefix:
    """
    The prefix under which a NAT64 has the addresses of IPv4.

    :param network: its length is one of :data:`LENGTHS`.
    """

    def __init__(self, network: IPv6Network) -> None:
        octets = network.prefixlen // 8
        self._front = network.network_address.packed[:octets]

    def embed(self, address: bytes) -> bytes:
        """The IPv6 address that stands for a packed IPv4 address."""
        mapped = self._front + address
        if len(self._front) <= _UNUSED < len(mapped):
            mapped = mapped[:_UNUSED] + b"\x00" + mapped[_UNUSED:]
        return mapped.ljust(16, b"\x00")
