"""In which order records are sent."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.validity import ALWAYS
from kdns.plugins.loadbalance.orders import balanced
from kdns.wire.constants import CNAME, MX, SRV, TXT, A
from kdns.wire.message import MOST_CHANGED, MOST_TAKEN_APART, Relayed
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, srv, txt
from tests.plugins.cache.upstream import relayed
from tests.support import a_request

NAME = from_text("web.example.com")
REQUEST = a_request("web.example.com")


def addresses(*last: int, owner: bytes = NAME) -> tuple[Record, ...]:
    """A records 192.0.2.*last*."""
    return tuple(a_or_aaaa(owner, 30, bytes((192, 0, 2, number))) for number in last)


def types(answer: Answer) -> list[int]:
    """Types of the answer section."""
    return [record.rtype for record in answer.sections()[0]]


class RecordsTests(SynchronousTestCase):
    """Answers of records that kdns made."""

    def order(self, answer: Answer, seed: int = 1, prefer: tuple[str, ...] = ()) -> Answer:
        """The answer in another order."""
        return balanced(answer, Random(seed), tuple(ip_network(text) for text in prefer))

    def test_sections_are_sorted(self) -> None:
        """Aliases first, then others, then addresses, then mail exchangers."""
        mail = Record(NAME, MX, 1, 30, b"\x00\x0a" + NAME)
        section = (*addresses(1), mail, txt(NAME, 30, b"x"), cname(NAME, 30, NAME))
        answer = self.order(Answer(body=Sections(answer=section, authority=section, additional=section)))
        wanted = [CNAME, TXT, A, MX]
        for records in answer.sections():
            self.assertEqual([record.rtype for record in records], wanted)

    def test_service_records_keep_their_order(self) -> None:
        """SRV has an order of its own (RFC 2782); the addresses beside it are shuffled."""
        services = tuple(srv(NAME, 30, 0, 10, port, NAME) for port in range(8))
        seen = set()
        for seed in range(20):
            answer = self.order(Answer(body=Sections(answer=services, additional=addresses(1, 2, 3))), seed)
            self.assertEqual((answer.answer, types(answer)), (services, [SRV] * 8))
            seen.add(tuple(record.rdata for record in answer.additional))
        self.assertEqual(len(seen), 6)

    def test_rotates(self) -> None:
        """An answer that may be repeated says that its addresses rotate, and holds as it did."""
        answer = self.order(Answer(body=Sections(answer=addresses(1, 2)), validity=ALWAYS), prefer=("192.0.2.0/24",))
        self.assertEqual((answer.rotate, answer.validity), ((ip_network("192.0.2.0/24"),), ALWAYS))

    def test_every_order_comes(self) -> None:
        """Three addresses have six orders."""
        seen = {self.order(Answer(body=Sections(answer=addresses(1, 2, 3))), seed).answer for seed in range(40)}
        self.assertEqual(len(seen), 6)

    def test_many_addresses(self) -> None:
        """More addresses than are worth a shuffle begin at a random place."""
        many = addresses(*range(200))
        for seed in range(5):
            answer = self.order(Answer(body=Sections(answer=many)), seed)
            first = answer.answer[0].rdata[-1]
            self.assertEqual(answer.answer, many[first:] + many[:first])

    def test_mail_exchangers(self) -> None:
        """Mail exchangers are shuffled for each query, so such an answer is not repeated."""
        mail = tuple(Record(NAME, MX, 1, 30, bytes((0, number)) + NAME) for number in range(3))
        answer = self.order(Answer(body=Sections(answer=mail), validity=ALWAYS))
        self.assertEqual((answer.validity.repeat, answer.validity.cacheable), (False, True))

    def test_nothing_to_order(self) -> None:
        """A lone record is passed as it is."""
        answer = Answer(body=Sections(answer=addresses(1)), validity=ALWAYS)
        self.assertIs(self.order(answer), answer)

    def test_preferred_networks(self) -> None:
        """Addresses of preferred networks are first, each of them equally often."""
        section = (*addresses(1, 2, 3), a_or_aaaa(NAME, 30, b"\x0a" + bytes(3)), a_or_aaaa(NAME, 30, bytes(16)))
        answer = self.order(
            Answer(body=Sections(answer=section), validity=ALWAYS), prefer=("192.0.2.0/31", "192.0.2.2/32")
        )
        self.assertEqual({record.rdata[-1] for record in answer.answer[:2]}, {1, 2})
        self.assertEqual(len(self.order(Answer(body=Sections(answer=section)), prefer=("2001:db8::/32",)).answer), 5)

    def test_no_address(self) -> None:
        """An A record of another length, as an upstream may send, is in no network."""
        section = (Record(NAME, A, 1, 30, b"\x01\x02\x03"), *addresses(1))
        answer = self.order(Answer(body=Sections(answer=section)), prefer=("192.0.2.0/24",))
        self.assertEqual([record.rdata[-1] for record in answer.answer], [1, 3])


class MessageTests(SynchronousTestCase):
    """Messages of an upstream, of which only octets are exchanged."""

    def order(self, answer: Answer, seed: int = 1) -> Answer:
        """The answer in another order."""
        return balanced(answer, Random(seed), ())

    def test_addresses_are_exchanged_in_place(self) -> None:
        """The message stays a message of the same size."""
        original = relayed(REQUEST, (cname(REQUEST.spelled, 30, NAME), *addresses(1, 2, 3)), validity=ALWAYS)
        seen = set()
        for seed in range(20):
            answer = self.order(original, seed)
            assert isinstance(answer.body, Relayed) and isinstance(original.body, Relayed)
            self.assertEqual((answer.body.slots, answer.rotate), (original.body.slots, ()))
            self.assertEqual(sorted(answer.answer[1:]), list(addresses(1, 2, 3)))
            seen.add(answer.answer)
        self.assertEqual(len(seen), 6)

    def test_sets_stay_apart(self) -> None:
        """Addresses are exchanged among those of one name and type only."""
        other = from_text("other.example.com")
        six = tuple(a_or_aaaa(NAME, 30, bytes(15) + bytes((number,))) for number in (7, 8))
        section = (*addresses(1, 2), *addresses(3, 4, owner=other), *six)
        for seed in range(10):
            answer = self.order(relayed(REQUEST, section, validity=ALWAYS), seed)
            self.assertEqual(sorted(answer.answer), sorted(section))
            self.assertEqual([(r.owner, r.rtype) for r in answer.answer], [(r.owner, r.rtype) for r in section])

    def test_ttl_stays(self) -> None:
        """What the cache says about the TTL is kept."""
        answer = self.order(relayed(REQUEST, addresses(1, 2), validity=ALWAYS).with_ttl(7))
        self.assertEqual([record.ttl for record in answer.answer], [7, 7])

    def test_aliases_behind_addresses(self) -> None:
        """A message with the alias last, or with mail exchangers, is taken apart and put in order."""
        section = (*addresses(1, 2), cname(NAME, 30, NAME))
        self.assertEqual(types(self.order(relayed(REQUEST, section))), [CNAME, A, A])
        mail = tuple(Record(NAME, MX, 1, 30, bytes((0, number)) + NAME) for number in range(3))
        answer = self.order(relayed(a_request("web.example.com", MX), mail, validity=ALWAYS))
        self.assertEqual(sorted(record.rdata[1] for record in answer.answer), [0, 1, 2])

    def test_many_addresses(self) -> None:
        """Thousands of addresses begin at a random place; records are not read one by one, whatever stands before and behind them."""
        many = tuple(a_or_aaaa(NAME, 30, number.to_bytes(4, "big")) for number in range(MOST_TAKEN_APART + 1))
        mail = tuple(Record(NAME, MX, 1, 30, bytes((0, number)) + NAME) for number in range(3))
        original = relayed(REQUEST, (cname(REQUEST.spelled, 30, NAME), *many, *mail), validity=ALWAYS)
        firsts = set()
        for seed in range(5):
            answer = self.order(original, seed)
            assert isinstance(answer.body, Relayed) and isinstance(original.body, Relayed)
            self.assertEqual((answer.body.slots, answer.rotate), (original.body.slots, ()))
            alias, *rest = answer.answer
            first = many.index(rest[0])
            self.assertEqual((alias.rtype, tuple(rest)), (CNAME, (*many[first:], *many[:first], *mail)))
            firsts.add(first)
        self.assertGreater(len(firsts), 1)

    def test_prefer_of_many(self) -> None:
        """Preferred addresses come first among hundreds; thousands are turned round, without a look at each."""
        for count, first in ((MOST_CHANGED, True), (MOST_CHANGED + 1, False)):
            many = tuple(a_or_aaaa(NAME, 30, number.to_bytes(4, "big")) for number in range(count))
            original = relayed(REQUEST, many, validity=ALWAYS)
            answer = balanced(original, Random(1), (ip_network("0.0.0.7/32"),))
            self.assertEqual(answer.answer[0].rdata == b"\0\0\0\7", first)
            self.assertEqual(sorted(answer.answer), list(many))

    def test_nothing_to_order(self) -> None:
        """A message without several addresses of one name is passed as it is."""
        for section in (addresses(1), (*addresses(1), *addresses(2, owner=from_text("x.test")))):
            answer = relayed(REQUEST, section, validity=ALWAYS)
            self.assertIs(self.order(answer), answer)

    def test_what_cannot_be_taken_apart(self) -> None:
        """A record whose rdata does not fit its type is passed on."""
        broken = Record(NAME, CNAME, 1, 30, b"\xc0\xff")
        answer = relayed(REQUEST, (*addresses(1, 2), broken))
        self.assertIs(self.order(answer), answer)
