"""Addresses of sockets."""

from __future__ import annotations

import socket
from struct import pack

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.text import bracketed
from kdns.server.addresses import plain_address, server_label, unpack_sockaddr


class AddressTests(SynchronousTestCase):
    """Text and octets."""

    def test_plain(self) -> None:
        """Zones go, and IPv4 that came over IPv6 is IPv4."""
        for address, plain in (
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::ffff:0:1", "::ffff:0:1"),
        ):
            self.assertEqual(plain_address(address), plain)

    def test_sockaddr(self) -> None:
        """As the kernel lays them out, port in network order."""
        four = pack("<H", socket.AF_INET) + pack(">H", 5353) + bytes((10, 0, 0, 1)) + bytes(8)
        self.assertEqual(unpack_sockaddr(four), ("10.0.0.1", 5353))
        six = pack("<H", socket.AF_INET6) + pack(">H", 53) + bytes(4)
        self.assertEqual(unpack_sockaddr(six + bytes(15) + b"\x01" + bytes(4)), ("::1", 53))
        mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 1))
        self.assertEqual(unpack_sockaddr(six + mapped + bytes(4)), ("10.0.0.1", 53))
        self.assertRaises(ValueError, unpack_sockaddr, bytes(16))

    def test_labels(self) -> None:
        """Listeners as metrics name them."""
        self.assertEqual(bracketed("fd00::1"), "[fd00::1]")
        self.assertEqual(server_label("dns", "", 53), "dns://:53")
        self.assertEqual(server_label("dns", "127.0.0.1", 5353), "dns://127.0.0.1:5353")
        self.assertEqual(server_label("dns", "::1", 53), "dns://[::1]:53")
