# -*- test-case-name: tests.server.test_addresses -*-
"""Addresses of sockets: how they are written, read from the kernel's octets, and named in logs and metrics."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop

V4_MAPPED = "::ffff:"


def plain_address(address: str) -> str:
    """An IP address without a zone; IPv4 that came over an IPv6 socket is shown as IPv4."""
    if ":" not in address:
        return address
    address = address.partition("%")[0]
    if address.startswith(V4_MAPPED) and "." in address:
        return address[len(V4_MAPPED) :]
    return address


def table_key(message: bytes, client: str) -> bytes:
    """
    The key of a query in a table that clients of both families share: replies to them differ in size and in what is counted.

    The first octet of a query behind its identifier is never 255.
    """
    return b"\xff" + message[2:] if ":" in client else message[2:]


def unpack_sockaddr(octets: bytes) -> tuple[str, int]:
    """
    Address and port in a ``sockaddr_in`` (16 octets) or ``sockaddr_in6`` (28 octets), as Linux lays them out.

    :raises ValueError: another family.
    """
    family = int.from_bytes(octets[:2], "little")
    port = octets[2] << 8 | octets[3]
    if family == AF_INET:
        return inet_ntop(AF_INET, octets[4:8]), port
    if family == AF_INET6:
        return plain_address(inet_ntop(AF_INET6, octets[8:24])), port
    raise ValueError(f"address family {family}")


def bracketed(address: str) -> str:
    """IPv6 in brackets, IPv4 as it is."""
    return f"[{address}]" if ":" in address else address


def server_label(scheme: str, bind: str, port: int) -> str:
    """A listener as metrics and messages name it: ``dns://:53``, with an address ``dns://127.0.0.1:53``."""
    return f"{scheme}://{bracketed(bind)}:{port}"
