# -*- test-case-name: tests.node_cache.test_device -*-
"""
The network interface that has the addresses of the node's cache: what is missing of it, and the netlink calls that add it.

Looking needs no netlink, and is cheap enough for each second. pyroute2 is imported when something has to change.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol

from kdns.core.text import reason_of
from kdns.node_cache.config import Address
from kdns.plugin.interfaces import Interfaces, interfaces

KINDS = ("dummy", "bridge")
"""
Kinds of interfaces, the first that the kernel has. A dummy discards what is sent through it, as does a bridge without ports; the addresses
of either are the machine's own.
"""

_NO_KIND = (errno.EOPNOTSUPP, errno.ENODEV)
_NO_DETECTION = 0x02
"""IFA_F_NODAD: use an IPv6 address at once, as nobody else can have it on such an interface."""


class DeviceError(Exception):
    """The interface could not be looked at, made or deleted."""

    def __init__(self, text: str, *, looking: bool = False) -> None:
        super().__init__(text)
        self.looking = looking


class Missing(NamedTuple):
    """What an interface lacks."""

    device: bool
    addresses: tuple[Address, ...]


def missing_of(name: str, wanted: Sequence[Address], found: Mapping[str, Sequence[str]]) -> Missing | None:
    """
    What has to be added; None when all is there. Other addresses of the interface are left alone: a process that is being replaced may use
    them.

    :param found: addresses by interface, as the system tells them.
    """
    if name not in found:
        return Missing(True, tuple(wanted))
    there = {ip_address(text.partition("%")[0]) for text in found[name]}
    lacking = tuple(address for address in wanted if address not in there)
    return Missing(False, lacking) if lacking else None


class Netlink(Protocol):
    """Changes the interfaces of this machine; each method may raise OSError."""

    def create(self, name: str) -> None:
        """Make an interface."""

    def add(self, name: str, addresses: Sequence[Address]) -> None:
        """Give it addresses, and set it up. Addresses that it has are no error."""

    def delete(self, name: str) -> None:
        """Delete it. An interface that is not there is no error."""


class Device:
    """
    The interface of one node.

    :ivar made: whether this process made it.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[Address],
        netlink: Callable[[], Netlink],
        look: Callable[[], Interfaces] = interfaces,
    ) -> None:
        self.name = name
        self.made = False
        self._addresses = addresses
        self._netlink = netlink
        self._look = look

    def missing(self) -> Missing | None:
        """
        What it lacks.

        :raises DeviceError: the system does not tell.
        """
        try:
            return missing_of(self.name, self._addresses, self._look())
        except OSError as error:
            raise DeviceError(f"interface {self.name}: {reason_of(error)}", looking=True) from None

    def put_right(self) -> str:
        """
        Add what it lacks.

        :return: what was added, empty when nothing was.
        :raises DeviceError: it could not be.
        """
        missing = self.missing()
        if missing is None:
            return ""
        try:
            netlink = self._netlink()
            if missing.device:
                netlink.create(self.name)
                self.made = True
            netlink.add(self.name, missing.addresses)
        except OSError as error:
            raise self._error(error) from None
        return " ".join(map(str, missing.addresses))

    def remove(self) -> None:
        """
        Delete it.

        :raises DeviceError: it could not be.
        """
        try:
            self._netlink().delete(self.name)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> DeviceError:
        hint = "; it takes the capability NET_ADMIN" if error.errno == errno.EPERM else ""
        return DeviceError(f"interface {self.name}: {reason_of(error)}{hint}")


def kernel_netlink() -> Netlink:
    """
    The kernel's.

    :raises OSError: pyroute2 is not installed.
    """
    try:
        from pyroute2 import IPRoute  # type: ignore[import-untyped]  # it has no annotations
    except ImportError:
        raise OSError(
            errno.ENOPKG,
            "wanted pyroute2, which is not installed; install kdns[node-cache], or set -setupinterface=false",
        ) from None
    return _Pyroute2(IPRoute)


class _Pyroute2:
    """A socket for each call: calls are rare."""

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
            (index,) = route.link_lookup(ifname=name)
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
