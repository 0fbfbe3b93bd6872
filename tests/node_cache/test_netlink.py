"""Netlink calls in a process of their own: words and outcomes. What the kernel does with them is an integration test."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from kdns.node_cache.netlink import NetlinkProcess
from kdns.node_cache.programs import MISSING, Outcome, run


class ProcessTests(SynchronousTestCase):
    """The process from the side of the server."""

    def setUp(self) -> None:
        self.commands: list[list[str]] = []
        self.outcome = Outcome(0)
        self.netlink = NetlinkProcess(self.run_program)

    def run_program(self, command: Sequence[str], text: str) -> Outcome:
        self.commands.append(list(command))
        return self.outcome

    def test_words(self) -> None:
        """Each call is one command of this interpreter."""
        self.netlink.create("x0")
        self.netlink.add("x0", [ip_address("10.0.0.1"), ip_address("fd00::1")])
        self.netlink.delete("x0")
        module = ["-m", "kdns.node_cache.netlink"]
        self.assertEqual({command[0] for command in self.commands}, {sys.executable})
        words = [command[command.index("-m") :] for command in self.commands]
        wanted = [["create", "x0"], ["add", "x0", "10.0.0.1", "fd00::1"], ["delete", "x0"]]
        self.assertEqual(words, [[*module, *one] for one in wanted])

    def test_errors(self) -> None:
        """The exit status is the kernel's error; what the process says itself is the reason in its place."""
        for outcome, code, text in (
            (Outcome(errno.EPERM), errno.EPERM, os.strerror(errno.EPERM)),
            (
                Outcome(1, errors="wanted pyroute2, which is not installed\n"),
                errno.EIO,
                "wanted pyroute2, which is not installed",
            ),
            (Outcome(MISSING, errors="python: not installed"), errno.EIO, "python: not installed"),
        ):
            self.outcome = outcome
            error = self.assertRaises(OSError, self.netlink.create, "x0")
            self.assertEqual((error.errno, error.strerror), (code, text))

    def test_real(self) -> None:
        """The program runs: deleting an interface that is not there is no error, and needs no right."""
        netlink = NetlinkProcess(run)
        netlink.delete("kdns-none0")
        error = self.assertRaises(OSError, netlink.add, "kdns-none0", [ip_address("192.0.2.1")])
        self.assertEqual(error.errno, errno.ENODEV)
