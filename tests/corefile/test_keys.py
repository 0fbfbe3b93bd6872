"""Server keys and zones."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile import CorefileError, ServerKey
from kdns.corefile.errors import Place
from kdns.corefile.keys import MAX_ZONES, Scheme, server_keys, syntax_warning, zones_of, zones_or_keys
from kdns.corefile.lexer import Token
from kdns.corefile.tree import ServerBlock
from kdns.corefile.values import BadValue
from kdns.wire.names import from_text


def keys_of(*texts: str, dns_port: int = 53) -> tuple[ServerKey, ...]:
    """The keys of a block with such texts, each on a line of its own."""
    tokens = tuple(Token(text, "F", line) for line, text in enumerate(texts, 1))
    return server_keys(ServerBlock(tokens, Place("F", 1)), dns_port)


def refusal(text: str) -> str:
    """The error that a key ends in."""
    try:
        return repr(keys_of(text))
    except CorefileError as error:
        return str(error)


class ServerKeysTests(SynchronousTestCase):
    """From text to keys."""

    def test_spellings(self) -> None:
        """Scheme and port may be left out; names are in lower case and end in a dot."""
        for text, wanted in (
            (".", ".:53"),
            (".:53", ".:53"),
            ("dns://.:53", ".:53"),
            ("EXAMPLE.org:1053", "example.org.:1053"),
            ("example.net.", "example.net.:53"),
            ("tls://.", "tls://.:853"),
            ("quic://a", "quic://a.:853"),
            ("https://a", "https://a.:443"),
            ("https3://a", "https3://a.:443"),
            ("grpc://a:5", "grpc://a.:5"),
            ("TLS://a", "tls://a.:53"),
            ("example.org:dns", "example.org:dns.:53"),
            ("10.0.0.0/33", "10.0.0.0/33.:53"),
            ("ftp://a.test", "ftp://a.test.:53"),
            ("a b", "a b.:53"),
            ("a:0", "a.:0"),
            ("a:+5", "a.:5"),
            ("a\\.", "a\\..:53"),
            ("a\\\\.", "a\\\\.:53"),
            ("B\u00dccher.test", "b\u00fccher.test.:53"),
        ):
            self.assertEqual([str(key) for key in keys_of(text)], [wanted], text)

    def test_fields(self) -> None:
        """A key knows its zone in wire form, how it was written, and where."""
        wanted = ServerKey(Scheme.TLS, from_text("a.test"), "a.test.", 853, Place("F", 2))
        self.assertEqual(keys_of(".", "tls://A.test")[1], wanted)
        self.assertEqual(len({*keys_of("a", "A.", "dns://a:53")}), 1)
        self.assertEqual([key.place.line for key in keys_of("a", "a")], [1, 2])
        self.assertEqual(wanted.url, "tls://a.test.:853")
        self.assertEqual(keys_of(".")[0].url, "dns://.:53")

    def test_dns_port(self) -> None:
        """The default port of the command line holds for plain DNS, where no port is written."""
        found = keys_of("a", "dns://b", "c:53", "tls://d", dns_port=1053)
        self.assertEqual([key.port for key in found], [1053, 1053, 53, 853])

    def test_networks(self) -> None:
        """A network is its reverse zones, cut at the next octet or nibble."""
        for text, wanted in (
            ("10.0.0.0/24", ["0.0.10.in-addr.arpa.:53"]),
            ("10.0.0.0/15:5053", ["0.10.in-addr.arpa.:5053", "1.10.in-addr.arpa.:5053"]),
            ("10.0.0.0/0", ["in-addr.arpa.:53"]),
            ("10.1.2.3/32", ["3.2.1.10.in-addr.arpa.:53"]),
            ("2001:db8::/32:1053", ["8.b.d.0.1.0.0.2.ip6.arpa.:1053"]),
            ("tls://2001:db8::/31", [f"tls://{n}.b.d.0.1.0.0.2.ip6.arpa.:853" for n in "89"]),
        ):
            self.assertEqual([str(key) for key in keys_of(text)], wanted)

    def test_how_many(self) -> None:
        """Host bits are dropped, and a prefix in the middle of a label makes a zone for each of its values."""
        for text, count, first, last in (
            ("10.0.0.0/27", 32, "0.0.0.10.in-addr.arpa.", "31.0.0.10.in-addr.arpa."),
            ("10.9.3.0/18", 64, "0.9.10.in-addr.arpa.", "63.9.10.in-addr.arpa."),
            ("10.0.0.0/1", 128, "0.in-addr.arpa.", "127.in-addr.arpa."),
            ("2001:db8::/29", 8, "8.b.d.0.1.0.0.2.ip6.arpa.", "f.b.d.0.1.0.0.2.ip6.arpa."),
        ):
            found = keys_of(text)
            self.assertEqual((len(found), found[0].zone_text, found[-1].zone_text), (count, first, last))

    def test_refused(self) -> None:
        """What is no zone is refused in the known words."""
        for text, wanted in (
            ("", "zone is not a valid domain name: "),
            (":1053", "zone is not a valid domain name: "),
            ("example.org:", 'expecting data after last colon: "example.org:"'),
            ("tls://example.org:", 'expecting data after last colon: "example.org:"'),
            ("a..Test:53", "zone is not a valid domain name: a..Test"),
            (".a", "zone is not a valid domain name: .a"),
            ("a\\", "zone is not a valid domain name: a\\"),
            ("a" * 64, "zone is not a valid domain name: " + "a" * 64),
            ("a." * 150, "specified zone is too long: 300 > 255"),
            ("::1/115", "invalid CIDR ::1/115"),
            ("0:1::/32", "invalid CIDR 0:1::/32"),
        ):
            self.assertEqual(refusal(text), f"error inspecting server blocks: {wanted}")
        self.assertEqual(refusal("a.test:99999"), "address 99999: invalid port")
        self.assertEqual(refusal("a.test:-1"), "address -1: invalid port")

    def test_hint(self) -> None:
        """A brace glued to a key is pointed at."""
        with self.assertRaises(CorefileError) as caught:
            keys_of(".:53{")
        self.assertEqual(caught.exception.advice().rpartition(" (")[2], "a blank is missing before '{')")

    def test_too_many(self) -> None:
        """Networks cannot make a short text into millions of zones."""
        texts = ["10.0.0.0/1"] * (MAX_ZONES // 128 + 1)
        with self.assertRaisesRegex(CorefileError, f"more than {MAX_ZONES} zones in one server block"):
            keys_of(*texts)

    @settings(deadline=None, derandomize=True)
    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text is a key or is refused."""
        try:
            for key in keys_of(text):
                self.assertTrue(key.zone_text.endswith("."))
                self.assertEqual(from_text(key.zone_text), key.zone)
        except CorefileError:
            pass


class ZonesTests(SynchronousTestCase):
    """Zones that plugins are given."""

    def test_one(self) -> None:
        """Scheme and port do not matter to a plugin."""
        for text in ("A.test", "a.test.", "a.test:53", "tls://a.test:853"):
            (zone,) = zones_of(text)
            self.assertEqual((zone.name, str(zone)), (from_text("a.test"), "a.test."))

    def test_network(self) -> None:
        """A network stands for its reverse zones."""
        self.assertEqual([zone.text for zone in zones_of("10.0.0.0/15")], ["0.10.in-addr.arpa.", "1.10.in-addr.arpa."])

    def test_refused(self) -> None:
        """What is no zone is refused without a prefix, for the plugin to put its own."""
        with self.assertRaisesRegex(BadValue, "^zone is not a valid domain name: a..b$"):
            zones_of("a..b")

    def test_arguments_or_keys(self) -> None:
        """Arguments win; without any the keys of the block are taken; each zone once."""
        keys = keys_of("a:53", "a:1053", "10.0.0.0/24")
        self.assertEqual([str(zone) for zone in zones_or_keys((), keys)], ["a.", "0.0.10.in-addr.arpa."])
        self.assertEqual([str(zone) for zone in zones_or_keys(("b", "B", "c"), keys)], ["b.", "c."])
        self.assertRaises(BadValue, zones_or_keys, ("b", "a..b"), keys)


class SyntaxWarningTests(SynchronousTestCase):
    """Names that deserve a remark."""

    def test_silent(self) -> None:
        """Letters, digits and inner hyphens need none; the root and reverse zones never do."""
        for zone in (".", "a.test.", "1-2.test.", "0/25.2.0.192.in-addr.arpa.", "_x.ip6.arpa."):
            self.assertIsNone(syntax_warning(zone), zone)

    def test_remark(self) -> None:
        """Everything else gets one, the name in quotes."""
        for zone, shown in (
            ("_a.test.", "_a.test."),
            ("a\\.b.", "a\\\\.b."),
            ("-a.", "-a."),
            ("b\u00fccher.", "b\u00fccher."),
        ):
            wanted = f'Warning: Domain "{shown}" does not follow RFC1035 preferred syntax'
            self.assertEqual(syntax_warning(zone), wanted)
