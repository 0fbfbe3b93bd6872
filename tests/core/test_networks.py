"""Sets of networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.networks import NetworkSet, unmapped

addresses = st.builds(IPv4Address, st.integers(2**31, 2**31 + 15)) | st.builds(
    IPv6Address, st.integers(2**31, 2**31 + 15)
)
networks = st.builds(
    lambda address, bits: ip_network((address, address.max_prefixlen - bits), strict=False),
    addresses,
    st.integers(0, 5),
)


class NetworkSetTests(SynchronousTestCase):
    """Whether an address is in one of many networks."""

    @given(st.lists(networks, max_size=6), addresses)
    def test_like_ipaddress(self, listed: list, address: object) -> None:  # type: ignore[type-arg]  # of either family
        """It says what the networks say one by one."""
        self.assertEqual(str(address) in NetworkSet(listed), any(address in network for network in listed))

    def test_everything(self) -> None:
        """A network of length 0 holds all of its family."""
        everyone = NetworkSet([ip_network("0.0.0.0/0")])
        self.assertIn("255.255.255.255", everyone)
        self.assertNotIn("::", everyone)

    def test_no_address(self) -> None:
        """A text that is no address is in no network, and is no address."""
        self.assertRaises(ValueError, lambda: "x" in NetworkSet([]))

    def test_mapped(self) -> None:
        """IPv4 networks written as IPv6 are IPv4; shorter ones are not."""
        self.assertEqual(unmapped(ip_network("::ffff:10.0.0.0/104")), ip_network("10.0.0.0/8"))
        for text in ("::/0", "::ffff:0:0/95", "2001:db8::/96", "10.0.0.0/8"):
            network = ip_network(text, strict=False)
            self.assertEqual(unmapped(network), network)
        self.assertIn("10.1.1.1", NetworkSet([unmapped(ip_network("::ffff:0:0/96"))]))
