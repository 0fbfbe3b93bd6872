# -*- test-case-name: tests.plugins.proxyproto.test_header -*-
"""
Headers of the PROXY protocol, versions 1 and 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt): bytes in, addresses out.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""How a header of version 2 begins."""

LINE = b"PROXY "
"""How one of version 1 begins."""

MOST_LINE = 107
"""Bytes of a header of version 1, its line end included (section 2.1)."""

MOST_BYTES = 4096
"""Bytes of a header of version 2 that are taken; proxies send some hundred."""

_HEAD = Struct(">12sBBH").unpack_from
_HEAD_BYTES = 16
_PORTS = Struct(">HH").unpack_from
_FAMILIES = {1: 4, 2: 16}
"""Bytes of an address, by family: AF_INET and AF_INET6."""

STREAM, DGRAM = 1, 2


class BadHeader(ValueError):
    """Bytes that begin like a header and are none."""


@dataclass(frozen=True, slots=True)
class Header:
    """
    A header.

    :ivar size: its bytes.
    :ivar source: address and port of the client; None where the proxy speaks for itself (LOCAL, UNKNOWN).
    :ivar target: address and port that the client asked.
    :ivar transport: :data:`STREAM` or :data:`DGRAM`; 0 where it is not said.
    """

    size: int
    source: tuple[str, int] | None = None
    target: tuple[str, int] | None = None
    transport: int = 0


def could_begin(data: bytes) -> bool:
    """Whether the bytes are a header, or its beginning."""
    return any(data.startswith(start[: len(data)]) for start in (SIGNATURE, LINE))


def read_header(data: bytes) -> Header | None:
    """
    The header at the beginning of some bytes that begin like one.

    :return: None when it is not there whole.
    :raises BadHeader: it is none.
    """
    if data.startswith(SIGNATURE):
        return _version_2(data)
    if data.startswith(LINE):
        return _version_1(data)
    return None


def _version_1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, MOST_LINE)
    if end < 0:
        if len(data) >= MOST_LINE:
            raise BadHeader("the line does not end")
        return None
    size = end + 2
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return Header(size)
    version = {b"TCP4": 4, b"TCP6": 6}.get(words[1] if len(words) > 1 else b"")
    if version is None or len(words) != 6:
        raise BadHeader("the line has other words than PROXY TCP4|TCP6 SOURCE TARGET PORT PORT")
    try:
        addresses = [ip_address(word.decode("ascii")) for word in words[2:4]]
    except ValueError:
        raise BadHeader("the line has no addresses") from None
    ports = [int(word) if word.isdigit() and len(word) <= 5 else -1 for word in words[4:6]]
    if any(address.version != version for address in addresses) or not all(0 <= port <= 65535 for port in ports):
        raise BadHeader("the line has addresses of another family, or no ports")
    return Header(size, (_text(addresses[0]), ports[0]), (_text(addresses[1]), ports[1]), STREAM)


def _version_2(data: bytes) -> Header | None:
    if len(data) < _HEAD_BYTES:
        return None
    _, command, family, length = _HEAD(data)
    size = _HEAD_BYTES + length
    if command >> 4 != 2 or command & 15 > 1:
        raise BadHeader(f"version and command {command:#04x}")
    if size > MOST_BYTES:
        raise BadHeader(f"{size} bytes")
    if len(data) < size:
        return None
    transport, width = family & 15, _FAMILIES.get(family >> 4)
    if command & 15 == 0 or width is None or transport not in (STREAM, DGRAM):
        return Header(size, transport=transport if command & 15 else 0)
    if length < 2 * width + 4:
        raise BadHeader("too short for its addresses")
    source = data[_HEAD_BYTES : _HEAD_BYTES + width]
    target = data[_HEAD_BYTES + width : _HEAD_BYTES + 2 * width]
    source_port, target_port = _PORTS(data, _HEAD_BYTES + 2 * width)
    client, server = _text(ip_address(source)), _text(ip_address(target))
    return Header(size, (client, source_port), (server, target_port), transport)


def _text(address: IPv4Address | IPv6Address) -> str:
    """An address as text; IPv4 that is written as IPv6 is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address if mapped is None else mapped)
