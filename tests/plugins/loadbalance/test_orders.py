"""In which order records are given, and which orders take turns."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from random import Random

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import FOR_EVERYBODY, FOR_NOBODY, Answer, Scope, Validity
from kdns.plugins.loadbalance.orders import MOST_TURNS, balanced
from kdns.wire.constants import AAAA, CNAME, MX, SRV, TXT, A
from kdns.wire.message import Relayed
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, srv, txt
from tests.plugins.cache.upstream import relayed
from tests.support import a_request

NAME = from_text("web.example.com")
REQUEST = a_request("web.example.com")


def addresses(*last: int, owner: bytes = NAME) -> tuple[Record, ...]:
    """A records 192.0.2.*last*."""
    return tuple(a_or_aaaa(owner, 30, bytes((192, 0, 2, number))) for number in last)


def firsts(answer: Answer) -> list[int]:
    """The last octet of the first address of each form that takes turns."""
    forms = (answer, *answer.turns)
    return [next(r.rdata[-1] for r in form.sections()[0] if r.rtype in (A, AAAA)) for form in forms]


def types(answer: Answer) -> list[int]:
    """Types of the answer section."""
    return [record.rtype for record in answer.sections()[0]]


class RecordsTests(SynchronousTestCase):
    """Answers of records that kdns made."""

    def order(self, answer: Answer, seed: int = 1, prefer: tuple[str, ...] = ()) -> Answer:
        """The answer in another order, at 100 s."""
        return balanced(answer, Random(seed), tuple(ip_network(text) for text in prefer), 100.0)

    def test_sections_are_sorted(self) -> None:
        """Aliases first, then others, then addresses, then mail exchangers."""
        mail = Record(NAME, MX, 1, 30, b"\x00\x0a" + NAME)
        section = (*addresses(1), mail, txt(NAME, 30, b"x"), cname(NAME, 30, NAME))
        answer = self.order(Answer(answer=section, additional=section, authority=section))
        wanted = [CNAME, TXT, A, MX]
        for records in answer.sections():
            self.assertEqual([record.rtype for record in records], wanted)

    def test_service_records_keep_their_order(self) -> None:
        """SRV has an order of its own (RFC 2782); the addresses beside it are shuffled."""
        services = tuple(srv(NAME, 30, 0, 10, port, NAME) for port in range(8))
        seen = set()
        for seed in range(20):
            answer = self.order(Answer(answer=services, additional=addresses(1, 2, 3)), seed)
            self.assertEqual((answer.answer, types(answer)), (services, [SRV] * 8))
            seen.add(tuple(record.rdata for record in answer.additional))
        self.assertEqual(len(seen), 6)

    def test_each_address_is_first_equally_often(self) -> None:
        """An answer for everybody comes with as many orders as it has addresses."""
        for count in range(2, MOST_TURNS + 1):
            answer = self.order(Answer(answer=addresses(*range(count)), validity=FOR_EVERYBODY))
            self.assertEqual(sorted(firsts(answer)), list(range(count)))
            for form in (answer, *answer.turns):
                self.assertEqual(sorted(form.answer), list(addresses(*range(count))))
            self.assertEqual(answer.validity, FOR_EVERYBODY)

    def test_groups_of_different_size(self) -> None:
        """Two and three addresses take six turns, in which each is first as often as its neighbours."""
        answer = self.order(Answer(answer=addresses(1, 2), additional=addresses(3, 4, 5), validity=FOR_EVERYBODY))
        self.assertEqual(Counter(firsts(answer)), Counter({1: 3, 2: 3}))
        extra = Counter(form.additional[0].rdata[-1] for form in (answer, *answer.turns))
        self.assertEqual(extra, Counter({3: 2, 4: 2, 5: 2}))

    def test_many_addresses(self) -> None:
        """Of many addresses some orders are kept, and drawn anew after a second."""
        answer = self.order(Answer(answer=addresses(*range(100)), validity=FOR_EVERYBODY))
        self.assertEqual(len(set(firsts(answer))), MOST_TURNS)
        self.assertEqual((answer.validity.scope, answer.validity.until), (Scope.EVERYBODY, 101.0))

    def test_no_turns_for_what_is_given_once(self) -> None:
        """An answer that nobody will give again has one order, another one each time."""
        seen = set()
        for seed in range(40):
            answer = self.order(Answer(answer=addresses(1, 2, 3), validity=FOR_NOBODY), seed)
            self.assertEqual((answer.turns, answer.validity), ((), FOR_NOBODY))
            seen.add(tuple(record.rdata for record in answer.answer))
        self.assertEqual(len(seen), 6)
        self.assertEqual(self.order(Answer(answer=addresses(1, 2), validity=Validity())).turns, ())

    def test_nothing_to_order(self) -> None:
        """A lone record is passed as it is."""
        answer = Answer(answer=addresses(1), validity=FOR_EVERYBODY)
        self.assertIs(self.order(answer), answer)

    def test_preferred_networks(self) -> None:
        """Addresses of preferred networks are first, each of them equally often."""
        section = (*addresses(1, 2, 3), a_or_aaaa(NAME, 30, b"\x0a" + bytes(3)), a_or_aaaa(NAME, 30, bytes(16)))
        answer = self.order(Answer(answer=section, validity=FOR_EVERYBODY), prefer=("192.0.2.0/31", "192.0.2.2/32"))
        for form in (answer, *answer.turns):
            self.assertEqual({record.rdata[-1] for record in form.answer[:2]}, {1, 2})
        self.assertEqual(Counter(firsts(answer)), Counter({1: 3, 2: 3}))
        self.assertEqual(len(self.order(Answer(answer=section), prefer=("2001:db8::/32",)).answer), 5)

    def test_no_address(self) -> None:
        """An A record of another length, as an upstream may send, is in no network."""
        section = (Record(NAME, A, 1, 30, b"\x01\x02\x03"), *addresses(1))
        answer = self.order(Answer(answer=section), prefer=("192.0.2.0/24",))
        self.assertEqual([record.rdata[-1] for record in answer.answer], [1, 3])


class MessageTests(SynchronousTestCase):
    """Messages of an upstream, of which only octets are exchanged."""

    def order(self, answer: Answer, seed: int = 1) -> Answer:
        """The answer in another order, at 100 s."""
        return balanced(answer, Random(seed), (), 100.0)

    def test_addresses_are_exchanged_in_place(self) -> None:
        """The message stays a message of the same size, with each address first equally often."""
        original = relayed(REQUEST, (cname(REQUEST.spelled, 30, NAME), *addresses(1, 2, 3)), validity=FOR_EVERYBODY)
        answer = self.order(original)
        assert original.relayed is not None
        self.assertEqual(sorted(firsts(answer)), [1, 2, 3])
        for form in (answer, *answer.turns):
            assert isinstance(form.relayed, Relayed)
            self.assertEqual(form.relayed.slots, original.relayed.slots)
            self.assertEqual(sorted(form.sections()[0][1:]), list(addresses(1, 2, 3)))

    def test_sets_stay_apart(self) -> None:
        """Addresses are exchanged among those of one name and type only."""
        other = from_text("other.example.com")
        six = tuple(a_or_aaaa(NAME, 30, bytes(15) + bytes((number,))) for number in (7, 8))
        section = (*addresses(1, 2), *addresses(3, 4, owner=other), *six)
        answer = self.order(relayed(REQUEST, section, validity=FOR_EVERYBODY))
        for form in (answer, *answer.turns):
            self.assertEqual(sorted(form.sections()[0]), sorted(section))
            self.assertEqual([(r.owner, r.rtype) for r in form.sections()[0]], [(r.owner, r.rtype) for r in section])

    def test_ttl_and_flags_stay(self) -> None:
        """What the cache says about the TTL is said of every order."""
        answer = self.order(replace(relayed(REQUEST, addresses(1, 2), validity=FOR_EVERYBODY), ttl=7))
        self.assertEqual([form.ttl for form in (answer, *answer.turns)], [7, 7])

    def test_aliases_behind_addresses(self) -> None:
        """A message with the alias last, or with mail exchangers, is taken apart and put in order."""
        section = (*addresses(1, 2), cname(NAME, 30, NAME))
        self.assertEqual(types(self.order(relayed(REQUEST, section))), [CNAME, A, A])
        mail = tuple(Record(NAME, MX, 1, 30, bytes((0, number)) + NAME) for number in range(3))
        answer = self.order(relayed(a_request("web.example.com", MX), mail, validity=FOR_EVERYBODY))
        self.assertEqual(sorted(form.answer[0].rdata[1] for form in (answer, *answer.turns)), [0, 1, 2])

    def test_nothing_to_order(self) -> None:
        """A message without several addresses of one name is passed as it is."""
        for section in (addresses(1), (*addresses(1), *addresses(2, owner=from_text("x.test")))):
            answer = relayed(REQUEST, section, validity=FOR_EVERYBODY)
            self.assertIs(self.order(answer), answer)

    def test_what_cannot_be_taken_apart(self) -> None:
        """A record whose rdata does not fit its type is passed on."""
        broken = Record(NAME, CNAME, 1, 30, b"\xc0\xff")
        answer = relayed(REQUEST, (*addresses(1, 2), broken))
        self.assertIs(self.order(answer), answer)
