# -*- test-case-name: tests.plugin.test_listening -*-
"""
Bind sockets to ports: alone, or together with a process that is being replaced; and tell who holds a port.

Two processes on one port by accident are worse than none: the kernel deals out queries between them, and a changed Corefile shows in every
second answer. So a socket is bound without ``SO_REUSEPORT``, which fails if any process has the port, and gets the option afterwards. Only
a successor that was told to take over binds with the option, and shares the port. Sockets of one process may always share, as they do when
a reload replaces one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from twisted.logger import Logger

from kdns.core.text import reason_of
from kdns.plugin.seam import Unavailable

log = Logger(namespace="kdns")

PROC = Path("/proc")

NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
"""Errors of a system that lacks an address family."""

_WAITING_STATES = {"tcp": "0A", "udp": "07"}
"""In the kernel's tables: a TCP socket that listens, and a UDP socket that is bound (TCP_LISTEN, TCP_CLOSE)."""


class CannotListen(Unavailable):
    """
    A socket could not be opened.

    :ivar reason: the system's reason, and who holds the port.
    """

    def __init__(self, transport: str, address: str, reason: str, call: str = "") -> None:
        super().__init__(f"{call}listen {transport} {address}: bind: {reason}")
        self.transport = transport
        self.reason = reason


def bound_socket(
    kind: socket.SocketKind,
    host: str,
    port: int,
    *,
    share: bool = False,
    dual_stack: bool = False,
    backlog: int = 0,
    quiet: bool = False,
) -> socket.socket:
    """
    A socket that does not block, bound to an address; it listens when there is a *backlog*.

    :param share: whether another process may have the port: this one takes over from it.
    :param quiet: log nothing about another process that has the port: it is one of this server's own.
    :param dual_stack: whether a socket on the IPv6 wildcard takes IPv4, too.
    :raises OSError: it cannot be opened; ``strerror`` is as :func:`kdns.core.text.reason_of` gives it, with who holds a port that is taken.
    """
    transport = "tcp" if kind == socket.SOCK_STREAM else "udp"
    others: list[str] = []
    try:
        try:
            made = _bound(kind, host, port, share, dual_stack, backlog)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or share or (others := _others(transport, host, port)):
                raise
            made = _bound(kind, host, port, True, dual_stack, backlog)  # only this process has it
    except OSError as error:
        raise OSError(error.errno, ": ".join((reason_of(error), *others[:1]))) from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if share and port and not quiet:
        for holder in _others(transport, host, port):
            log.info("Taking over {transport} port {port}: {holder}", transport=transport, port=port, holder=holder)
    return made


def _bound(kind: socket.SocketKind, host: str, port: int, share: bool, dual_stack: bool, backlog: int) -> socket.socket:
    # A name is looked up in the system's table of hosts, once, at the start.
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # in spite of connections that a predecessor has closed
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        if backlog:
            made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made


def _others(transport: str, host: str, port: int) -> list[str]:
    """Descriptions of the other processes that hold a port, as far as /proc shows them."""
    sockets = set(_sockets_on(transport, host, port))
    sockets -= _sockets_of(PROC / "self")
    if not sockets:
        return []
    found = []
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (held := sockets & _sockets_of(folder)):
            sockets -= held
            found.append(f"{_program(folder)} (pid {folder.name}) holds it")
    return found or ["a process of another user or container holds it"]


def _sockets_on(transport: str, host: str, port: int) -> Iterator[str]:
    """Inodes of the sockets of a port whose address is *host*, or overlaps with it."""
    try:
        wanted = _as_kernel(ip_address(host.partition("%")[0]))
    except ValueError:
        wanted = ""
    for table in (transport, f"{transport}6"):
        for line in _text(PROC / "self" / "net" / table).splitlines()[1:]:
            columns = line.split()
            address, _, number = columns[1].partition(":")
            overlaps = not wanted.strip("0") or not address.strip("0") or address == wanted
            if int(number, 16) == port and columns[3] == _WAITING_STATES[transport] and overlaps:
                yield columns[9]


def _as_kernel(address: IPv4Address | IPv6Address) -> str:
    """An address as in /proc/net: hexadecimal words of 32 bits in the machine's order."""
    packed = address.packed
    return "".join(f"{int.from_bytes(packed[i : i + 4], 'little'):08X}" for i in range(0, len(packed), 4))


def _sockets_of(process: Path) -> set[str]:
    """Inodes of a process's sockets; none where permission is missing."""
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue  # it was closed meanwhile
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass  # another user's, or it ended
    return found


def _program(process: Path) -> str:
    """The name of a process's program; of a Python program, the script's or module's."""
    words = _text(process / "cmdline").split("\0")
    name = os.path.basename(words[0])
    if name.startswith("python"):
        rest = words[1:]
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
            rest.pop(0)
        if rest[:1] == ["-m"] and len(rest) > 1:
            return rest[1]
        if rest and rest[0] and rest[0] != "-c":
            return os.path.basename(rest[0])
    return name or _text(process / "comm").strip() or "a process"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="backslashreplace")
    except OSError:
        return ""
