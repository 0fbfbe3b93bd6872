"""What a Corefile says about mapped addresses."""

from __future__ import annotations

from ipaddress import IPv6Network

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dns64 import directive
from kdns.plugins.dns64.config import Dns64Config
from kdns.testing.plugin import PluginBench

AT = "Corefile:{} - Error during parsing: "
ERRORS = {
    "dns64 10.0.0.0/8": AT.format(2) + 'invalid netmask 32 IPv6 address: "10.0.0.0/8"',
    "dns64 64::/33": AT.format(2) + 'invalid prefix length "64::/33"',
    "dns64 64::/104": AT.format(2) + 'invalid prefix length "64::/104"',
    "dns64 abc": "invalid CIDR address: abc",
    "dns64 64:ff9b::": "invalid CIDR address: 64:ff9b::",
    "dns64 64::/64 65::/64": AT.format(2) + "Wrong argument count or unexpected line ending after '65::/64'",
    "dns64 {\nprefix\n}": AT.format(3) + "Wrong argument count or unexpected line ending after 'prefix'",
    "dns64 {\ntranslate_all x\n}": AT.format(3) + "unknown property 'x'",
    "dns64 {\nfrob\n}": AT.format(3) + "unknown property 'frob'",
}


class ConfigTests(SynchronousTestCase):
    """From words to a value."""

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words."""
        bench = PluginBench(directive, "dns64")
        for text, wanted in ERRORS.items():
            self.assertEqual(bench.error(text), f"plugin/dns64: {wanted}", text)

    def test_values(self) -> None:
        """Prefix and block go together; the well-known prefix is the default; host bits are cut."""
        own = IPv6Network("64:1337::/64")
        for text, wanted in (
            ("dns64", Dns64Config()),
            ("dns64 64:1337::1/64", Dns64Config(own)),
            ("dns64 64:1337::/64 {\ntranslate_all\nallow_ipv4\n}", Dns64Config(own, True, True)),
            ("dns64 {\nprefix 64:1337::/64\n}\ndns64 {\nallow_ipv4\n}", Dns64Config(own, False, True)),
        ):
            self.assertEqual(PluginBench(directive, text).config, wanted, text)
