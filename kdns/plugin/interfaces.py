# -*- test-case-name: tests.plugins.test_bind -*-
"""
The addresses of this machine by network interface, all of them, in both families.

``getifaddrs(3)`` is asked through :mod:`ctypes`: the standard library has no way to it, an ``ioctl`` knows one IPv4 address for each
interface only, and ``/proc`` has no IPv4 addresses by interface.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import ClassVar


class _Ifaddrs(ctypes.Structure):
    """The head of ``struct ifaddrs``; the rest is ignored."""

    _fields_: ClassVar = [
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("flags", ctypes.c_uint),
        ("address", ctypes.c_void_p),
    ]


Interfaces = dict[str, tuple[str, ...]]
"""Addresses as text by the name of their interface; link-local IPv6 addresses carry it as their zone (RFC 4007 section 11)."""

Lookup = Callable[[], Interfaces]


def interfaces() -> Interfaces:
    """
    All interfaces with their addresses; one without addresses is there too.

    :raises OSError: the system does not tell.
    """
    found: dict[str, list[str]] = {name: [] for _, name in socket.if_nameindex()}
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.c_void_p()
    if libc.getifaddrs(ctypes.byref(first)):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    try:
        at = first.value
        while at:
            item = _Ifaddrs.from_address(at)
            name = os.fsdecode(item.name)
            address = _address(item.address, name)
            if address is not None:
                found.setdefault(name, []).append(address)
            at = item.next
    finally:
        libc.freeifaddrs(first)
    return {name: tuple(dict.fromkeys(addresses)) for name, addresses in found.items()}


def machine_addresses() -> tuple[str, ...]:
    """The addresses of this machine without loopback; link-local ones without their zone."""
    try:
        known = interfaces()
    except OSError:
        return ()
    plain = (address.partition("%")[0] for addresses in known.values() for address in addresses)
    return tuple(dict.fromkeys(address for address in plain if not ip_address(address).is_loopback))


def _address(at: int | None, interface: str) -> str | None:
    """The address of a ``struct sockaddr``, or None for other families."""
    if not at:
        return None
    family = ctypes.c_ushort.from_address(at).value
    if family == socket.AF_INET:
        return socket.inet_ntop(family, ctypes.string_at(at + 4, 4))
    if family == socket.AF_INET6:
        packed = ctypes.string_at(at + 8, 16)
        text = socket.inet_ntop(family, packed)
        link_local = packed[0] == 0xFE and packed[1] & 0xC0 == 0x80
        return f"{text}%{interface}" if link_local else text
    return None
