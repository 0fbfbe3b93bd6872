# -*- test-case-name: tests.node_cache.test_device -*-
"""
The network interface that has the addresses of the node's cache: what is missing of it, and the netlink calls that add it.

Looking needs no netlink, and is cheap enough for each second. How something is changed is :mod:`kdns.node_cache.netlink`'s business.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from kdns.core.text import reason_of
from kdns.node_cache.config import Address
from kdns.plugin.interfaces import Interfaces, interfaces


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
        netlink: Netlink,
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
            if missing.device:
                self._netlink.create(self.name)
                self.made = True
            self._netlink.add(self.name, missing.addresses)
        except OSError as error:
            raise self._error(error) from None
        return " ".join(map(str, missing.addresses))

    def remove(self) -> None:
        """
        Delete it.

        :raises DeviceError: it could not be.
        """
        try:
            self._netlink.delete(self.name)
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> DeviceError:
        hint = "; it takes the capability NET_ADMIN" if error.errno == errno.EPERM else ""
        return DeviceError(f"interface {self.name}: {reason_of(error)}{hint}")
