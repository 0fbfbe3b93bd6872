# -*- test-case-name: tests.plugins.proxyproto -*-
"""Headers as a proxy makes them."""

from __future__ import annotations

from ipaddress import ip_address

from kdns.plugins.proxyproto.header import SIGNATURE


def version_2(client: str, port: int, server: str, server_port: int, transport: int, more: bytes = b"") -> bytes:
    """A header of version 2; *more* is what stands behind the addresses."""
    source, target = ip_address(client), ip_address(server)
    body = source.packed + target.packed + port.to_bytes(2, "big") + server_port.to_bytes(2, "big") + more
    family = (1 if source.version == 4 else 2) << 4 | transport
    return SIGNATURE + bytes((0x21, family)) + len(body).to_bytes(2, "big") + body
