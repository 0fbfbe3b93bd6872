# -*- test-case-name: tests.server.test_addresses -*-
"""Addresses of sockets as text, from the kernel's bytes, and in labels of logs and metrics."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

from kdns.core.text import bracketed

V4_MAPPED = "::ffff:"

_SOCKADDR = Struct(">HH4s").unpack_from
"""Family, port, and an IPv4 address."""

_INET, _INET6 = (int.from_bytes(family.to_bytes(2, "little"), "big") for family in (AF_INET, AF_INET6))
"""Families as the pattern above reads them: unlike the port they are in the machine's byte order."""


def plain_address(address: str) -> str:
    """An IP address without a zone; IPv4-mapped as IPv4."""
    if ":" not in address:
        return address
    address = address.partition("%")[0]
    if address.startswith(V4_MAPPED) and "." in address:
        return address[len(V4_MAPPED) :]
    return address


@lru_cache(maxsize=4096)
def _text(family: int, packed: bytes) -> str:
    """An address as text, cached: each line of the query log needs one."""
    return plain_address(inet_ntop(family, packed))


def unpack_sockaddr(data: bytes | bytearray, start: int = 0) -> tuple[str, int]:
    """
    Address and port in a ``sockaddr_in`` (16 bytes) or ``sockaddr_in6`` (28 bytes), as Linux lays them out.

    :param start: where it begins.
    :raises ValueError: another family.
    """
    family, port, packed = _SOCKADDR(data, start)
    if family == _INET:
        return _text(AF_INET, packed), port
    if family == _INET6:
        return _text(AF_INET6, bytes(data[start + 8 : start + 24])), port
    raise ValueError(f"address family {int.from_bytes(data[start : start + 2], 'little')}")


def server_label(scheme: str, bind: str, port: int) -> str:
    """A listener's name in metrics and messages: ``dns://:53``, with an address ``dns://127.0.0.1:53``."""
    return f"{scheme}://{bracketed(bind)}:{port}"
