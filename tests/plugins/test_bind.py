"""Which addresses a block listens on."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugin.interfaces import interfaces
from kdns.plugins.bind import BindDirective, directive
from tests.support import a_house, built, parsed

MACHINE = {
    "lo": ("127.0.0.1", "::1"),
    "eth0": ("192.0.2.7", "192.0.2.8", "2001:db8::7", "fe80::7%eth0"),
    "dummy0": (),
}


def binds(*lines: str) -> tuple[str, ...]:
    """The addresses of a block with these lines, on a machine made up."""
    corefile = ".:53 {\n" + "\n".join(lines) + "\n}\n"
    return built(BindDirective(lambda: MACHINE), corefile, a_house(Clock())).binds


class BindTests(SynchronousTestCase):
    """Addresses and names of interfaces."""

    def test_addresses(self) -> None:
        """Addresses are taken as they are written, in their order; lines add up."""
        self.assertEqual(binds("bind 127.0.0.2 ::1", "bind 127.0.0.1"), ("127.0.0.2", "::1", "127.0.0.1"))

    def test_interface(self) -> None:
        """An interface stands for all its addresses, each taken once."""
        self.assertEqual(binds("bind 192.0.2.8 eth0"), ("192.0.2.8", "192.0.2.7", "2001:db8::7", "fe80::7%eth0"))

    def test_except(self) -> None:
        """What is excepted is left out of its own line."""
        self.assertEqual(
            binds("bind lo eth0 {", "except lo fe80::7%eth0", "except 192.0.2.8", "}"), ("192.0.2.7", "2001:db8::7")
        )

    def test_nothing_left(self) -> None:
        """No address at all would mean every address, so it is an error."""
        for line in ("bind dummy0", "bind lo {\nexcept lo\n}"):
            error = self.assertRaises(CorefileError, binds, line)
            self.assertEqual(str(error), "plugin/bind: no address is left to listen on")

    def test_errors(self) -> None:
        """What is neither address nor interface is refused."""
        for line, text in (
            ("bind", "at least one address or interface name is expected"),
            ("bind nowhere", 'not a valid IP address or interface name: "nowhere"'),
            ("bind lo {\nexcept\n}", "at least one address or interface must be given to except subdirective"),
            ("bind lo {\nexcept nowhere\n}", 'not a valid IP address or interface name: "nowhere"'),
            ("bind lo {\nfrob\n}", 'invalid option "frob"'),
        ):
            self.assertEqual(str(self.assertRaises(CorefileError, binds, line)), f"plugin/bind: {text}")

    def test_parsing_looks_at_no_machine(self) -> None:
        """A name that is unknown here may be known where the Corefile is for."""
        self.assertEqual(parsed(directive, ".:53 {\n bind nowhere\n}\n").wanted[0].names, ("nowhere",))


class InterfacesTests(SynchronousTestCase):
    """The addresses of this machine."""

    def test_loopback(self) -> None:
        """Every interface is there, and one of them has the loopback address."""
        found = interfaces()
        self.assertEqual({name for _, name in socket.if_nameindex()} - set(found), set())
        self.assertIn("127.0.0.1", {address for addresses in found.values() for address in addresses})

    def test_all_are_addresses(self) -> None:
        """Each text is one that the system takes, with its zone."""
        for addresses in interfaces().values():
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                self.assertTrue(socket.getaddrinfo(address, 53, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST))
