"""What requests over HTTP mean; most of it is in the golden cases (``tests.conformance.test_transports``)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.doh import (
    BAD_REQUEST,
    MOST_BODY,
    MOST_LOOKED_AT,
    NOT_FOUND,
    PATH,
    Response,
    date,
    max_age,
    message_of,
    response_of,
)


def reply(rcode: str = "NOERROR", answer: str = "", authority: str = "", edns: int = -1) -> bytes:
    """A reply with records in presentation form, separated by semicolons."""
    made = dns.message.make_response(dns.message.make_query("www.example.org.", "A", use_edns=edns))
    made.set_rcode(dns.rcode.from_text(rcode))
    for section, texts in ((made.answer, answer), (made.authority, authority)):
        for text in filter(None, texts.split("; ")):
            owner, ttl, rtype, rdata = text.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", rtype, rdata))
    return made.to_wire()


SOA = "example.org. 60 SOA ns.example.org. admin.example.org. 1 2 3 4 30"


class MessageTests(SynchronousTestCase):
    """Requests."""

    @given(st.binary(min_size=1, max_size=80))
    def test_get(self, message: bytes) -> None:
        """Any message in base64url without padding is found, with other parameters around it."""
        text = urlsafe_b64encode(message).rstrip(b"=")
        self.assertEqual(message_of(b"GET", PATH + b"?dns=" + text, b""), message)
        self.assertEqual(message_of(b"GET", PATH + b"?a=b&dns=" + text + b"&c", b""), message)

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_anything(self, target: bytes, body: bytes) -> None:
        """Whatever a client sends is a message or a response."""
        for method in (b"GET", b"POST", b"\xff"):
            for path in (target, PATH + target):
                self.assertIsInstance(message_of(method, path, body), (bytes, Response))

    def test_refused(self) -> None:
        """Another path, method or size has no message."""
        self.assertEqual(message_of(b"POST", b"/", b"x"), NOT_FOUND)
        self.assertEqual(message_of(b"PUT", PATH, b"x"), BAD_REQUEST)
        self.assertEqual(message_of(b"POST", PATH, bytes(MOST_BODY + 1)), BAD_REQUEST)
        self.assertEqual(message_of(b"GET", PATH + b"?dns=" + b"A" * 87384, b""), BAD_REQUEST)


class AgeTests(SynchronousTestCase):
    """How long an HTTP cache may keep a response."""

    def test_ages(self) -> None:
        """
        The lowest TTL, an hour at most; five seconds for failures, referrals and what has no records.

        Hundreds of records are not looked through.
        """
        www = "www.example.org."
        for wanted, made in (
            (7, reply(answer=f"{www} 300 A 10.0.0.1; {www} 7 TXT x")),
            (0, reply(answer=f"{www} 0 A 10.0.0.1")),
            (3600, reply(answer=f"{www} 86400 A 10.0.0.1", edns=0)),
            (60, reply("NXDOMAIN", authority=SOA)),
            (60, reply(authority=SOA)),
            (5, reply()),
            (0, reply(answer="; ".join(f"{www} 300 A 10.0.0.{number}" for number in range(MOST_LOOKED_AT + 1)))),
            (5, reply("SERVFAIL", answer=f"{www} 300 A 10.0.0.1")),
            (5, reply("NXDOMAIN")),
            (5, reply("NXDOMAIN", answer=f"{www} 300 CNAME x.", authority=SOA)),
            (5, reply(authority="sub.example.org. 300 NS ns.example.org.")),
        ):
            self.assertEqual(max_age(made), wanted)
            self.assertIn((b"cache-control", b"max-age=%d" % wanted), response_of(made).headers)

    def test_date(self) -> None:
        """Dates are those of HTTP."""
        self.assertEqual(date(784111777), b"Sun, 06 Nov 1994 08:49:37 GMT")
