# -*- test-case-name: tests.node_cache.test_netlink -*-
"""
Change the node's interface through pyroute2, in a short process of its own.

``python -m kdns.node_cache.netlink create NAME``, ``add NAME ADDRESS...`` and ``delete NAME`` end with the kernel's error number, 0 for
none. pyroute2 takes 9 MiB as soon as it is imported, on every node, and is needed when the first kdns starts and when the last one ends.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

from kdns.node_cache.config import Address
from kdns.node_cache.programs import Run

KINDS = ("dummy", "bridge")
"""
Kinds of interfaces, the first that the kernel has. A dummy discards what is sent through it, as does a bridge without ports; the addresses
of either are the machine's own.
"""

_NO_KIND = (errno.EOPNOTSUPP, errno.ENODEV)
_NO_DETECTION = 0x02
"""IFA_F_NODAD: use an IPv6 address at once, as nobody else can have it on such an interface."""

_MISSING = "wanted pyroute2, which is not installed; install kdns[node-cache], or set -setupinterface=false"


class NetlinkProcess:
    """Runs the program of this module for each change; a :class:`kdns.node_cache.device.Netlink`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def create(self, name: str) -> None:
        self._do("create", name)

    def add(self, name: str, addresses: Sequence[Address]) -> None:
        self._do("add", name, *map(str, addresses))

    def delete(self, name: str) -> None:
        self._do("delete", name)

    def _do(self, *words: str) -> None:
        flags = [flag for flag, on in (("-I", sys.flags.isolated), ("-B", sys.flags.dont_write_bytecode)) if on]
        outcome = self._run([sys.executable, *flags, "-m", __name__, *words], "")
        if outcome.status:
            code = outcome.status if not outcome.errors else errno.EIO
            raise OSError(code, outcome.reason if outcome.errors else os.strerror(code))


class KernelNetlink:
    """
    The kernel's interfaces, with a socket for each call; a :class:`kdns.node_cache.device.Netlink`.

    :param connect: makes such a socket: ``pyroute2.IPRoute``.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect

    def create(self, name: str) -> None:
        for kind in KINDS:
            with suppress(FileExistsError):  # another process made it meanwhile
                try:
                    with self._route() as route:
                        route.link("add", ifname=name, kind=kind)
                except OSError as error:
                    if error.errno in _NO_KIND and kind != KINDS[-1]:
                        continue
                    raise
            return

    def add(self, name: str, addresses: Sequence[Address]) -> None:
        with self._route() as route:
            index = next(iter(route.link_lookup(ifname=name)), None)
            if index is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            route.link("set", index=index, state="up")
        for address in addresses:
            flags = {"flags": _NO_DETECTION} if address.version == 6 else {}
            with suppress(FileExistsError), self._route() as route:
                route.addr("add", index=index, address=str(address), prefixlen=address.max_prefixlen, **flags)

    def delete(self, name: str) -> None:
        with self._route() as route:
            for index in route.link_lookup(ifname=name):
                route.link("del", index=index)

    @contextmanager
    def _route(self) -> Iterator[Any]:
        """
        A socket of routing netlink.

        :raises OSError: the kernel refuses; pyroute2's own error is none.
        """
        from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]  # it has no annotations

        try:
            with self._connect() as route:
                yield route
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None


def main(words: Sequence[str]) -> int:
    """Run as a program; returns the exit status."""
    what, name, *addresses = words
    try:
        from pyroute2 import IPRoute  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        print(_MISSING, file=sys.stderr)
        return 1
    netlink = KernelNetlink(IPRoute)
    try:
        if what == "add":
            netlink.add(name, [ip_address(address) for address in addresses])
        else:
            {"create": netlink.create, "delete": netlink.delete}[what](name)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
