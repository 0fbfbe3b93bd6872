"""Whose headers count."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.proxied import Origin, ProxyRefused
from kdns.plugins.proxyproto.header import DGRAM, SIGNATURE, STREAM
from kdns.plugins.proxyproto.policy import ProxyConfig, Rule, Senders
from tests.plugins.proxyproto.headers import version_2

PROXY, OTHER = "10.0.0.9", "192.0.2.77"
ALLOW = (ip_network("10.0.0.0/24"),)
UDP = version_2("198.51.100.1", 4000, "10.0.0.53", 53, DGRAM)
TCP = version_2("198.51.100.1", 4000, "10.0.0.53", 53, STREAM)
ORIGIN = Origin("198.51.100.1", 4000, "10.0.0.53")
LINE = b"PROXY TCP4 198.51.100.1 10.0.0.53 4000 53\r\n"


class PolicyTests(SynchronousTestCase):
    """Rules, datagrams, and beginnings of connections."""

    def setUp(self) -> None:
        self.dropped: list[tuple[str, str]] = []

    def senders(self, *args: object, **words: object) -> Senders:
        """A policy."""
        return Senders(ProxyConfig(*args, **words), lambda client, reason: self.dropped.append((client, reason)))  # type: ignore[arg-type]  # of a test

    def test_rules(self) -> None:
        """The allow list, and what is said of others."""
        for config, inside, outside in (
            ((), Rule.USE, Rule.USE),
            (((), Rule.REJECT), Rule.REJECT, Rule.REJECT),
            ((ALLOW,), Rule.USE, Rule.IGNORE),
            ((ALLOW, Rule.SKIP), Rule.USE, Rule.SKIP),
        ):
            senders = self.senders(*config)
            self.assertEqual((senders.rule(PROXY), senders.rule(OTHER)), (inside, outside), config)

    def test_datagrams(self) -> None:
        """What each rule makes of a datagram with a header and one without."""
        for rule, with_header, without in (
            (Rule.USE, (ORIGIN, b"query"), (None, b"query")),
            (Rule.IGNORE, (None, b"query"), (None, b"query")),
            (Rule.REJECT, None, (None, b"query")),
            (Rule.SKIP, (None, UDP + b"query"), (None, b"query")),
        ):
            senders = self.senders((), rule)
            self.assertEqual(senders.datagram(UDP + b"query", OTHER, 1, 0.0), with_header, rule)
            self.assertEqual(senders.datagram(b"query", OTHER, 1, 0.0), without, rule)
        self.assertEqual(self.dropped, [])

    def test_broken_datagrams(self) -> None:
        """They are dropped, and told; a header of a stream is no header of a datagram."""
        senders = self.senders()
        for data in (TCP + b"query", UDP[:20], SIGNATURE + b"\x41\x11\x00\x00"):
            self.assertIsNone(senders.datagram(data, OTHER, 1, 0.0))
        self.assertEqual([client for client, _ in self.dropped], [OTHER] * 3)
        self.assertIsNone(senders.datagram(UDP, OTHER, 1, 0.0))
        local = SIGNATURE + b"\x20\x00\x00\x00"
        self.assertEqual(senders.datagram(local + b"query", OTHER, 1, 0.0), (None, b"query"))

    def test_sessions(self) -> None:
        """A header holds for the datagrams that follow it, as long as they do, and for so many senders."""
        senders = self.senders(session_seconds=30.0, most_sessions=2)
        self.assertIsNone(senders.datagram(UDP, PROXY, 1, 0.0))
        self.assertEqual(senders.datagram(b"query", PROXY, 1, 29.0), (ORIGIN, b"query"))
        self.assertEqual(senders.datagram(b"query", PROXY, 1, 58.0), (ORIGIN, b"query"))
        self.assertEqual(senders.datagram(b"query", PROXY, 2, 58.0), (None, b"query"))
        self.assertEqual(senders.datagram(b"query", PROXY, 1, 88.0), (None, b"query"))
        for port in (1, 2, 3):
            senders.datagram(UDP, PROXY, port, 100.0)
        self.assertEqual(
            [senders.datagram(b"q", PROXY, port, 100.0) for port in (1, 2, 3)],
            [(None, b"q"), (ORIGIN, b"q"), (ORIGIN, b"q")],
        )

    def test_no_sessions(self) -> None:
        """Without tracking each datagram is for itself."""
        senders = self.senders()
        senders.datagram(UDP + b"query", PROXY, 1, 0.0)
        self.assertEqual(senders.datagram(b"query", PROXY, 1, 0.0), (None, b"query"))

    def test_streams(self) -> None:
        """A header comes in any pieces, in either version; what stands behind it is the connection's."""
        for header in (TCP, LINE):
            for size in range(1, len(header) + 3):
                start = self.senders().stream(PROXY)
                assert start is not None
                data, found = header + b"\x00\x1d", None
                while found is None:
                    found = start.received(data[:size])
                    data = data[size:]
                origin, rest = found
                self.assertEqual((origin, rest + data), (ORIGIN, b"\x00\x1d"))

    def test_streams_by_rule(self) -> None:
        """Without a header all go on; with one each rule does its own."""
        for rule in (Rule.USE, Rule.IGNORE, Rule.REJECT):
            start = self.senders((), rule).stream(OTHER)
            assert start is not None
            self.assertEqual(start.received(b"\x00\x1dquery"), (None, b"\x00\x1dquery"))
        self.assertIsNone(self.senders((), Rule.SKIP).stream(OTHER))
        start = self.senders((), Rule.IGNORE).stream(OTHER)
        assert start is not None
        self.assertEqual(start.received(TCP + b"query"), (None, b"query"))
        start = self.senders((), Rule.REJECT).stream(OTHER)
        assert start is not None
        self.assertRaises(ProxyRefused, start.received, TCP)
        start = self.senders().stream(OTHER)
        assert start is not None
        self.assertRaises(ProxyRefused, start.received, b"PROXY nonsense\r\n")

    def test_mapped(self) -> None:
        """IPv4 that a header has as IPv6 is IPv4."""
        data = version_2("::ffff:198.51.100.1", 4000, "::ffff:10.0.0.53", 53, DGRAM)
        found = self.senders().datagram(data + b"query", PROXY, 1, 0.0)
        assert found is not None
        self.assertEqual(found[0], ORIGIN)
