"""What an interface lacks, and how it is added."""

from __future__ import annotations

import errno
import os
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.node_cache.device import Device, DeviceError, Missing, missing_of
from tests.node_cache.support import FakeNetlink

NAME = "nodelocaldns"
LOCAL, SERVICE, SIX = ip_address("169.254.20.10"), ip_address("10.96.0.10"), ip_address("fd00::10")


class MissingTests(SynchronousTestCase):
    """The wanted state against the found one."""

    def test_missing(self) -> None:
        """A device, addresses, or nothing; other addresses and other devices are left alone."""
        wanted = (LOCAL, SERVICE, SIX)
        for found, lacking in (
            ({}, Missing(True, wanted)),
            ({"eth0": ("10.96.0.10",)}, Missing(True, wanted)),
            ({NAME: ()}, Missing(False, wanted)),
            ({NAME: ("169.254.20.10", "fd00:0::10")}, Missing(False, (SERVICE,))),
            ({NAME: ("fd00::10", "10.96.0.10", "169.254.20.10", "192.0.2.1", "fe80::1%nodelocaldns")}, None),
        ):
            self.assertEqual(missing_of(NAME, wanted, found), lacking)


class DeviceTests(SynchronousTestCase):
    """One device through its life."""

    def setUp(self) -> None:
        self.netlink = FakeNetlink()
        self.device = Device(NAME, (LOCAL, SERVICE), self.netlink, self.netlink.look)

    def test_made(self) -> None:
        """It is made with its addresses, and netlink is not asked again."""
        self.assertEqual((self.device.put_right(), self.device.made), ("169.254.20.10 10.96.0.10", True))
        self.netlink.refuses = errno.EPERM
        self.assertEqual((self.device.put_right(), self.device.missing()), ("", None))

    def test_made_by_others(self) -> None:
        """A device that was there is used, gets what it lacks, and is not this process's."""
        self.netlink.devices[NAME] = ["169.254.20.10", "192.0.2.1"]
        self.assertEqual((self.device.put_right(), self.device.made), ("10.96.0.10", False))
        self.assertEqual(self.netlink.devices[NAME], ["169.254.20.10", "192.0.2.1", "10.96.0.10"])

    def test_removed(self) -> None:
        """It goes, and one that is gone is no error."""
        self.device.put_right()
        self.device.remove()
        self.device.remove()
        self.assertEqual(list(self.netlink.devices), ["lo"])

    def test_refused(self) -> None:
        """An error says what could not be done, and which capability it takes."""
        self.netlink.refuses = errno.EPERM
        wanted = f"interface {NAME}: EPERM; it takes the capability NET_ADMIN".lower()
        for act in (self.device.put_right, self.device.remove):
            error = self.assertRaises(DeviceError, act)
            self.assertEqual((str(error).lower(), error.looking), (wanted.lower(), False))

    def test_system_does_not_tell(self) -> None:
        """Addresses that cannot be read are an error of looking."""

        def broken() -> dict[str, tuple[str, ...]]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        device = Device(NAME, (LOCAL,), self.netlink, broken)
        error = self.assertRaises(DeviceError, device.missing)
        self.assertEqual((str(error), error.looking), (f"interface {NAME}: too many open files", True))
