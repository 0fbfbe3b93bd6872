"""Tests of :mod:`kdns.plugins.forward.targets`: what a TO and a resolv.conf say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.values import BadValue
from kdns.plugins.forward.targets import Carrier, NamedTarget, Target, each_once, nameservers, parse_to


class TargetTests(SynchronousTestCase):
    """The forms of a TO."""

    def test_forms(self) -> None:
        """Addresses with and without scheme, port, name."""
        for text, wanted in (
            ("10.0.0.1", Target("10.0.0.1")),
            ("10.0.0.1:5353", Target("10.0.0.1", 5353)),
            ("dns://10.0.0.1", Target("10.0.0.1")),
            ("2001:DB8::1", Target("2001:db8::1")),
            ("[2001:db8::1]:5353", Target("2001:db8::1", 5353)),
            ("fe80::1%eth0", Target("fe80::1")),
            ("tls://9.9.9.9", Target("9.9.9.9", 853, Carrier.TLS)),
            ("tls://9.9.9.9:8853", Target("9.9.9.9", 8853, Carrier.TLS)),
            ("tls://9.9.9.9%dns.quad9.net", Target("9.9.9.9", 853, Carrier.TLS, "dns.quad9.net")),
            ("tls://9.9.9.9%dns.quad9.net:8853", Target("9.9.9.9", 8853, Carrier.TLS, "dns.quad9.net")),
            ("https://1.1.1.1", Target("1.1.1.1", 443, Carrier.HTTPS)),
            ("/etc/resolv.conf", NamedTarget("/etc/resolv.conf", 53)),
            ("resolv.conf", NamedTarget("resolv.conf", 53)),
            ("dns.example.com:5353", NamedTarget("dns.example.com", 5353)),
            ("quic://10.0.0.1", Target("10.0.0.1", 853, Carrier.QUIC)),
            ("quic://10.0.0.1%dns.test:99", Target("10.0.0.1", 99, Carrier.QUIC, "dns.test")),
            ("tls://dns.example.com", NamedTarget("dns.example.com", 853, Carrier.TLS)),
        ):
            self.assertEqual(parse_to(text), wanted, text)

    def test_refused(self) -> None:
        """What cannot be spoken to."""
        for text, wanted in (
            ("grpc://10.0.0.1", "'grpc' is not supported as a destination protocol in forward: grpc://10.0.0.1:443"),
            ("grpcs://10.0.0.1", "unknown scheme in upstream: grpcs://10.0.0.1"),
            ("ftp://10.0.0.1", "unknown scheme in upstream: ftp://10.0.0.1"),
            ("10.0.0.1:99999", "bad address or port in upstream: 10.0.0.1:99999"),
            (
                "https://1.1.1.1/dns-query",
                "a DoH upstream has no path of its own, /dns-query is always asked: https://1.1.1.1/dns-query",
            ),
        ):
            self.assertEqual(str(self.assertRaises(BadValue, parse_to, text)), wanted)

    def test_texts(self) -> None:
        """IPv6 addresses stand in brackets."""
        self.assertEqual((Target("::1").text, Target("::1", 853, Carrier.TLS).url), ("[::1]:53", "tls://[::1]:853"))

    def test_resolv_conf(self) -> None:
        """Every address of every ``nameserver`` line; other lines, comments and rubbish are passed over."""
        text = (
            "# nameserver 10.9.9.9\nsearch a.test\noptions ndots:5\nnameserver 10.0.0.1\n"
            "nameserver 10.0.0.2 fe80::1%eth0 10.0.0.3:5353 ; not 10.8.8.8\nnameserver\nnameserver rubbish 300.1.1.1\n"
            "  nameserver ::1\nnameservers 10.7.7.7\n"
        )
        self.assertEqual(
            nameservers(text),
            [Target("10.0.0.1"), Target("10.0.0.2"), Target("fe80::1"), Target("10.0.0.3", 5353), Target("::1")],
        )

    def test_each_once(self) -> None:
        """The first place counts; none and sixteen are refused."""
        one, two = Target("10.0.0.1"), Target("10.0.0.2")
        self.assertEqual(each_once([one, two, one]), (one, two))
        self.assertRaises(BadValue, each_once, [])
        self.assertRaises(BadValue, each_once, [Target("10.0.0.1", port) for port in range(16)])

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        """Whatever stands there is read or refused."""
        nameservers(f"nameserver {text}")
        try:
            parse_to(text)
        except BadValue:
            pass
