"""Replies: header, spelling, size and EDNS, as one place makes them."""

from __future__ import annotations

import dns.message
import dns.rcode
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.reply import badvers_reply, error_reply, render_reply
from kdns.core.request import Request, Transport
from kdns.wire.constants import (
    AA,
    AD,
    CD,
    CLIENT_SUBNET,
    COOKIE,
    DO,
    EDE,
    EXPIRE,
    NSID,
    NXDOMAIN,
    PADDING,
    QR,
    RA,
    RD,
    SERVFAIL,
    TC,
    TCP_KEEPALIVE,
    TXT,
)
from kdns.wire.message import Relayed, scan
from kdns.wire.names import from_text
from kdns.wire.query import Edns, pack_options
from kdns.wire.records import Record, a_or_aaaa, srv
from kdns.wire.render import render
from tests.support import a_request

NAME = from_text("web.prod.")


def addresses(count: int) -> tuple[Record, ...]:
    """So many addresses."""
    return tuple(a_or_aaaa(NAME, 30, bytes((10, 0, number >> 8, number & 0xFF))) for number in range(count))


def read(request: Request, answer: Answer) -> dns.message.Message:
    """The reply as dnspython reads it."""
    return dns.message.from_wire(render_reply(request, answer))


class HeaderTests(SynchronousTestCase):
    """The first twelve octets and the question."""

    def test_flags(self) -> None:
        """Identifier, opcode, RD and CD are the client's; AA, RA, AD and TC are the answer's."""
        for asked in (0, RD, CD, RD | CD, RD | AD | 0x0040):
            for said in (0, AA, RA | AD, AA | TC):
                found = render_reply(a_request("web.prod.", flags=asked), Answer(NXDOMAIN, flags=said))
                wanted = QR | asked & (RD | CD) | said | NXDOMAIN
                self.assertEqual(int.from_bytes(found[2:4], "big"), wanted)
                self.assertEqual(found[:2], (4711).to_bytes(2, "big"))

    def test_notify(self) -> None:
        """A reply to NOTIFY has neither RD nor CD, whoever makes it."""
        question = NAME + b"\x00\x06\x00\x01"
        for found in (
            render_reply(a_request("web.prod.", flags=0x2000 | RD | CD), Answer(flags=AA)),
            error_reply(7, 0x2000 | RD | CD, SERVFAIL, question),
            badvers_reply(7, 0x2000 | RD | CD, question),
        ):
            self.assertEqual(int.from_bytes(found[2:4], "big") & (0x7800 | RD | CD), 0x2000)

    def test_spelling(self) -> None:
        """The question is spelled as it was asked."""
        self.assertEqual(str(read(a_request("WeB.pRod."), Answer()).question[0].name), "WeB.pRod.")

    def test_error(self) -> None:
        """The server's own errors have a question, or none where none could be read."""
        question = NAME + b"\x00\x01\x00\x01"
        found = dns.message.from_wire(error_reply(7, RD | AD | CD, SERVFAIL, question))
        self.assertEqual((found.rcode(), int(found.flags), len(found.question)), (SERVFAIL, QR | RD | CD | SERVFAIL, 1))
        self.assertEqual(dns.message.from_wire(error_reply(7, RD, SERVFAIL, b"")).question, [])

    def test_badvers(self) -> None:
        """BADVERS says which version is understood, and keeps RD and CD."""
        found = dns.message.from_wire(badvers_reply(7, RD | CD | AD, NAME + b"\x00\x01\x00\x01"))
        self.assertEqual((found.rcode(), found.edns, found.flags), (dns.rcode.BADVERS, 0, QR | RD | CD))


class EdnsTests(SynchronousTestCase):
    """The OPT of a reply."""

    OPTIONS = (
        (NSID, b""), (EXPIRE, b"1234"), (COOKIE, b"12345678"), (TCP_KEEPALIVE, b""), (PADDING, bytes(9)),
        (CLIENT_SUBNET, b"abcd"), (65001, b"x"),
    )  # fmt: skip

    def asked(self, flags: int = DO | 1) -> Request:
        """A request with all kinds of options."""
        return a_request("web.prod.", edns=Edns(1400, flags, 0, pack_options(self.OPTIONS)))

    def told(self, found: dns.message.Message) -> list[tuple[int, bytes]]:
        """The options of a reply."""
        return [(int(option.otype), option.to_wire() or b"") for option in found.options]

    def test_padded(self) -> None:
        """Over TLS and HTTPS a padded query gets a padded reply, in which a cookie comes last; one that is not padded gets none."""
        options = ((PADDING, bytes(9)), (COOKIE, b"12345678"))
        for transport in (Transport.TLS, Transport.HTTPS):
            edns = Edns(1400, DO, 0, pack_options(options))
            found = render_reply(a_request("web.prod.", edns=edns, transport=transport), Answer())
            self.assertEqual(len(found), 468)
            self.assertEqual([option[0] for option in self.told(dns.message.from_wire(found))], [PADDING, COOKIE])
            self.assertTrue(found.endswith(b"12345678"))
            plain = render_reply(a_request("web.prod.", edns=Edns(1400, DO, 0, b""), transport=transport), Answer())
            self.assertLess(len(plain), 100)

    def test_none(self) -> None:
        """A client that sent no OPT gets none, not even with an error to explain."""
        answer = Answer(SERVFAIL, options=((NSID, b"me"),), ede=((22, "nobody"),))
        self.assertEqual(read(a_request("web.prod."), answer).edns, -1)

    def test_echo(self) -> None:
        """Without options of its own a reply echoes those that may be, with DO and the upper Z bits."""
        found = read(self.asked(DO | 0x4001), Answer())
        self.assertEqual(self.told(found), [*self.OPTIONS[:3], self.OPTIONS[4]])
        self.assertEqual((found.payload, found.ednsflags & 0xFFFF), (1400, DO | 0x4000))

    def test_keepalive(self) -> None:
        """The keepalive option means nothing over UDP, and is echoed over streams only (RFC 7828 section 3.3.2)."""
        for transport in Transport:
            found = read(replace(self.asked(), transport=transport), Answer())
            echoed = TCP_KEEPALIVE in [code for code, _ in self.told(found)]
            self.assertEqual(echoed, transport is not Transport.UDP, transport)

    def test_own_options(self) -> None:
        """With options of its own a reply has those and nothing of the query's but DO."""
        found = read(self.asked(DO | 0x4001), Answer(options=((NSID, b"me"),)))
        self.assertEqual(self.told(found), [(NSID, b"me")])
        self.assertEqual(found.ednsflags & 0xFFFF, DO)
        self.assertEqual(self.told(read(self.asked(), Answer(options=()))), [])

    def test_options_of_an_upstream(self) -> None:
        """Beside the options of an upstream's message the client finds those of its own that are between it and kdns alone."""
        question = from_text("web.prod.") + b"\x00\x01\x00\x01"
        body = scan(render(7, QR, question, ((), (), ()), b"", 512, 512))
        for options in ((), ((NSID, b"me"),)):
            found = read(self.asked(), Answer(body=body, options=options))
            self.assertEqual(self.told(found), [*options, self.OPTIONS[2], self.OPTIONS[4]])

    def test_extended_error(self) -> None:
        """Extended errors come behind the other options."""
        found = read(self.asked(), Answer(SERVFAIL, options=(), ede=((22, "nobody"), (0, ""))))
        self.assertEqual(self.told(found), [(EDE, b"\x00\x16nobody"), (EDE, b"\x00\x00")])

    def test_extended_rcode(self) -> None:
        """The upper bits of a response code are in the OPT."""
        self.assertEqual(read(self.asked(), Answer(23)).rcode(), dns.rcode.BADCOOKIE)

    def test_lowered_size(self) -> None:
        """A size that a plugin lowered is shown and obeyed."""
        request = replace(a_request("web.prod.", edns=Edns(4096, 0, 0, b"")), udp_size=600)
        found = render_reply(request, Answer(body=Sections(answer=addresses(100))))
        self.assertLessEqual(len(found), 600)
        self.assertEqual(dns.message.from_wire(found).payload, 600)


class SizeTests(SynchronousTestCase):
    """What fits, and what is compressed."""

    def test_small_udp(self) -> None:
        """512 octets for a client that says nothing, with TC when records had to go."""
        found = render_reply(a_request("web.prod."), Answer(body=Sections(answer=addresses(100))))
        self.assertLessEqual(len(found), 512)
        self.assertTrue(found[2] & TC >> 8)

    def test_stream(self) -> None:
        """Everything over a stream."""
        request = a_request("web.prod.", transport=Transport.TCP)
        self.assertEqual(len(read(request, Answer(body=Sections(answer=addresses(1000)))).answer[0]), 1000)
        huge = render_reply(request, Answer(body=Sections(answer=addresses(9000))))
        self.assertLessEqual(len(huge), 65535)
        self.assertTrue(huge[2] & TC >> 8)

    def test_plain_where_it_fits(self) -> None:
        """What fits uncompressed is sent so; above what a packet takes names are compressed although the client could take more."""
        edns = Edns(4096, 0, 0, b"")
        target = from_text("a-rather-long-host-name.prod.svc.cluster.local.")
        few = Answer(body=Sections(answer=tuple(srv(NAME, 5, 0, 1, port, target) for port in range(10))))
        many = Answer(body=Sections(answer=tuple(srv(NAME, 5, 0, 1, port, target) for port in range(18))))
        question = len(NAME) + 4
        opt = 11
        for client, answer, plain in (
            ("10.0.0.1", few, True),
            ("fd00::1", few, True),
            ("10.0.0.1", many, True),
            ("fd00::1", many, False),
        ):
            size = len(render_reply(a_request("web.prod.", edns=edns, client=client), answer))
            whole = 12 + question + opt + sum(len(row.owner) + 10 + len(row.rdata) for row in answer.answer)
            self.assertEqual(size == whole, plain, (client, size, whole))
        stream = a_request("web.prod.", transport=Transport.TCP, client="fd00::1")
        self.assertEqual(
            len(render_reply(stream, many)),
            12 + question + sum(len(row.owner) + 10 + len(row.rdata) for row in many.answer),
        )

    def test_ttl(self) -> None:
        """A TTL that a plugin sets is every record's."""
        found = read(a_request("web.prod."), Answer(body=Sections(answer=addresses(2))).with_ttl(3))
        self.assertEqual(found.answer[0].ttl, 3)


class RelayedTests(SynchronousTestCase):
    """Replies made of an upstream's message."""

    def message(self, count: int) -> Answer:
        """An answer that is an upstream's message, compressed, with an OPT."""
        opt = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"
        question = NAME + b"\x00\x01\x00\x01"
        return Answer(flags=RA, body=scan(render(9, QR | RA, question, (addresses(count), (), ()), opt, 65535, 0)))

    def test_patched(self) -> None:
        """Identifier, spelling, TTL and OPT are exchanged, records are not."""
        found = read(a_request("WEB.prod."), self.message(3).with_ttl(9))
        self.assertEqual((found.id, str(found.question[0].name), found.edns), (4711, "WEB.prod.", -1))
        self.assertEqual((len(found.answer[0]), found.answer[0].ttl), (3, 9))

    def test_made_smaller(self) -> None:
        """A message that does not fit loses whole records."""
        found = render_reply(a_request("web.prod."), self.message(100))
        self.assertLessEqual(len(found), 512)
        self.assertTrue(found[2] & TC >> 8)
        self.assertGreater(len(dns.message.from_wire(found).answer[0]), 20)

    def test_compressed_by_the_upstream(self) -> None:
        """A compressed message that the client can take is sent as it is, however large it is."""
        request = a_request("web.prod.", edns=Edns(65535, 0, 0, b""))
        answer = self.message(4000)
        assert isinstance(answer.body, Relayed)
        found = render_reply(request, answer)
        self.assertEqual(found[12:-11], answer.body.message[12:-11])

    def test_cannot_be_taken_apart(self) -> None:
        """A message that does not fit and cannot be taken apart is an empty reply with TC, so that the client asks over TCP."""
        broken = Record(NAME, 5, 1, 30, b"\x3f")  # a CNAME that ends in the middle of a label
        records = (broken, *(Record(NAME, TXT, 1, 30, b"\xff" + bytes(255)) for _ in range(3)))
        message = render(9, QR, NAME + b"\x00\x01\x00\x01", (records, (), ()), b"", 65535, 65535)
        found = render_reply(a_request("web.prod."), Answer(body=scan(message)))
        self.assertEqual(len(found), 12 + len(NAME) + 4)
        self.assertTrue(found[2] & TC >> 8)
