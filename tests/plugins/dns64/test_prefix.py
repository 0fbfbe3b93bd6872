"""IPv4 addresses inside IPv6 ones."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dns64.prefix import Prefix

EXAMPLES = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
    "2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
    "64:ff9b::/96": "64:ff9b::192.0.2.33",
}


class PrefixTests(SynchronousTestCase):
    """RFC 6052 section 2.4."""

    def test_examples(self) -> None:
        """192.0.2.33 under each prefix of the RFC's table."""
        for network, wanted in EXAMPLES.items():
            found = Prefix(IPv6Network(network)).embed(IPv4Address("192.0.2.33").packed)
            self.assertEqual(IPv6Address(found), IPv6Address(wanted), network)
