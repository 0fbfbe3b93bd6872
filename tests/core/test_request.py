"""Requests: what plugins know of who asks, and what goes to an upstream."""

from __future__ import annotations

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Transport, request_from
from kdns.wire.constants import AAAA, CD, COOKIE, DO, RD
from kdns.wire.names import from_text, spelled_from_text
from kdns.wire.query import Edns, Query, pack_options, read_query
from tests.support import SERVER, a_request


class FactsTests(SynchronousTestCase):
    """What follows from the query."""

    def test_from_query(self) -> None:
        """A request has what the query says and what its transport knows."""
        query = read_query(dns.message.make_query("WeB.prod.", "AAAA", want_dnssec=True).to_wire())
        assert isinstance(query, Query)
        request = request_from(query, Transport.TCP, "10.0.0.9", 5353, "10.0.0.1", 7.5, 50, SERVER)
        self.assertEqual((request.qname, request.spelled), (from_text("web.prod."), spelled_from_text("WeB.prod.")))
        self.assertEqual((request.qtype, request.qclass, request.arrived, request.size), (AAAA, 1, 7.5, 50))
        self.assertTrue(request.do)
        self.assertTrue(request.rd)
        self.assertFalse(request.cd)
        self.assertEqual(request.question, spelled_from_text("WeB.prod.") + b"\x00\x1c\x00\x01")

    def test_limit(self) -> None:
        """512 octets without an OPT or with a smaller size, the client's size on UDP, everything on streams."""
        for transport, edns, limit in (
            (Transport.UDP, None, 512),
            (Transport.UDP, Edns(100, 0, 0, b""), 512),
            (Transport.UDP, Edns(1232, 0, 0, b""), 1232),
            (Transport.UDP, Edns(65535, 0, 0, b""), 65535),
            (Transport.TCP, None, 65535),
            (Transport.TLS, Edns(512, 0, 0, b""), 65535),
        ):
            self.assertEqual(a_request("web.", transport=transport, edns=edns).limit, limit, (transport, edns))

    def test_protocol(self) -> None:
        """Logs and metrics know two protocols."""
        self.assertEqual(
            [transport.protocol for transport in Transport], ["udp", "tcp", "tcp", "tcp", "udp", "udp", "tcp"]
        )

    def test_family(self) -> None:
        """The client's address tells the family."""
        self.assertTrue(a_request("web.", client="fd00::1").ipv6)
        self.assertFalse(a_request("web.", client="10.0.0.1").ipv6)


class OtherNameTests(SynchronousTestCase):
    """Lookups that a plugin makes in its client's name."""

    def test_about(self) -> None:
        """Name, type and size change; the client, its size and its flags stay; metadata begins anew."""
        request = a_request("web.prod.", flags=RD | CD, edns=Edns(1232, DO, 0, b""), metadata={"a": "b"})
        inner = request.about(spelled_from_text("WWW.example.com."), AAAA)
        self.assertEqual((inner.qname, inner.qtype), (from_text("www.example.com."), AAAA))
        self.assertEqual((inner.flags, inner.edns, inner.client), (request.flags, request.edns, request.client))
        self.assertEqual(inner.size - request.size, len("WWW.example.com.") - len("web.prod."))
        self.assertEqual(inner.metadata, {})
        self.assertIsNone(a_request("web.").about(b"\x00").metadata)


class WireTests(SynchronousTestCase):
    """A request as a message for an upstream."""

    def test_message(self) -> None:
        """Question and OPT are the client's, the identifier is not."""
        options = pack_options([(COOKIE, b"12345678")])
        request = a_request("WeB.prod.", AAAA, flags=RD | CD, edns=Edns(1232, DO, 0, options))
        read = dns.message.from_wire(request.wire(99))
        self.assertEqual((read.id, str(read.question[0])), (99, "WeB.prod. IN AAAA"))
        self.assertEqual((read.payload, read.ednsflags & DO, int(read.flags)), (1232, DO, RD | CD))
        self.assertEqual([int(option.otype) for option in read.options], [COOKIE])

    def test_flags(self) -> None:
        """Header bits may be added."""
        self.assertEqual(int(dns.message.from_wire(a_request("web.", flags=0).wire(1, RD)).flags), RD)

    def test_without_opt(self) -> None:
        """No OPT where the client sent none."""
        self.assertEqual(dns.message.from_wire(a_request("web.").wire(1)).edns, -1)
