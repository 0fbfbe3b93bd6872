"""Counting down TTLs in finished messages."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.ageing import aged, ttl_places
from kdns.wire.names import MalformedName


def a_reply(*ttls: int, opt: bool = True) -> dns.message.Message:
    """A reply with a record in each section in turn, names compressed."""
    query = dns.message.make_query("web.prod.svc.cluster.local.", "A", use_edns=0 if opt else None, payload=1232)
    reply = dns.message.make_response(query)
    for number, ttl in enumerate(ttls):
        section = (reply.answer, reply.authority, reply.additional)[number % 3]
        section.append(dns.rrset.from_text(f"n{number}.prod.svc.cluster.local.", ttl, "IN", "TXT", f"text {number}"))
    return reply


def ttls_of(octets: bytes) -> list[int]:
    """What another codec reads, section by section."""
    reply = dns.message.from_wire(octets)
    return [rrset.ttl for section in (reply.answer, reply.authority, reply.additional) for rrset in section]


class AgeingTests(SynchronousTestCase):
    """Where TTLs stand, and what becomes of them."""

    @given(st.lists(st.integers(0, 2**31 - 1), max_size=7), st.integers(0, 4000), st.booleans())
    def test_count_down(self, ttls: list[int], seconds: int, opt: bool) -> None:
        """Every TTL is so much less but not below 0, and nothing else changes, least of all the OPT."""
        reply = a_reply(*ttls, opt=opt)
        octets = reply.to_wire()
        found = octets[:2] + aged(octets[2:], ttl_places(octets[2:]), seconds)
        self.assertEqual(ttls_of(found), [max(0, ttl - seconds) for ttl in ttls_of(octets)])
        wanted = dns.message.from_wire(octets)
        for section in (wanted.answer, wanted.authority, wanted.additional):
            for rrset in section:
                rrset.ttl = max(0, rrset.ttl - seconds)
        self.assertEqual(dns.message.from_wire(found), wanted)
        self.assertEqual(dns.message.from_wire(found).payload, wanted.payload)

    def test_cut_in_the_opt(self) -> None:
        """What is behind the head of an OPT at the end is not needed."""
        reply = a_reply(30, 30)
        reply.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")])
        octets = reply.to_wire()[2:]
        self.assertEqual(len(ttl_places(octets)), 2)
        self.assertEqual(ttl_places(octets[:-8]), ttl_places(octets))

    def test_malformed(self) -> None:
        """What is no message is said to be none."""
        octets = a_reply(30, opt=False).to_wire()[2:]
        for size in (0, 9, 12, len(octets) - 30):
            self.assertRaises(MalformedName, ttl_places, octets[:size])
