"""The weight file and what is drawn by it."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.loadbalance.weights import BadWeights, chosen_first, concerns, parse_weights
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa, cname

NAME = from_text("www.example.com")
ADDRESSES = tuple(a_or_aaaa(NAME, 30, bytes((192, 0, 2, number))) for number in (1, 2, 3))


class FileTests(SynchronousTestCase):
    """The syntax."""

    def test_names_and_addresses(self) -> None:
        """A name, then its addresses; comments and empty lines do not count."""
        text = "# shop\nWWW.example.com.\n192.0.2.1 3 # old\n2001:db8::1 255\n\nw2.example.com\n192.0.2.2 2\n"
        self.assertEqual(
            parse_weights(text, "w"),
            {
                NAME: {b"\xc0\x00\x02\x01": 3, bytes.fromhex("20010db8" + "0" * 23 + "1"): 255},
                from_text("w2.example.com"): {b"\xc0\x00\x02\x02": 2},
            },
        )

    def test_errors(self) -> None:
        """A file that makes no sense is refused in the words that operators know."""
        for text, error in (
            ("192.0.2.1 3", "missing domain name in weight file w"),
            ("a.test\n192.0.2.1 0", 'wrong weight value:"0" in weight file w'),
            ("a.test\n192.0.2.1 256", 'wrong weight value:"256" in weight file w'),
            ("a.test\n192.0.2.1 x", 'wrong weight value:"x" in weight file w'),
            ("a.test\nb.test 3", 'wrong IP address:"b.test" in weight file w'),
            ("a.test\n192.0.2.1 3 4 # x", 'could not parse weight line:"192.0.2.1 3 4" in weight file w'),
            ("a..test", 'wrong domain name:"a..test" in weight file w. (Maybe a missing weight value?)'),
            ("192.0.2.1", 'wrong domain name:"192.0.2.1" in weight file w. (Maybe a missing weight value?)'),
        ):
            self.assertEqual(str(self.assertRaises(BadWeights, parse_weights, text, "w")), error)


class DrawTests(SynchronousTestCase):
    """Which address is first."""

    def test_by_weight(self) -> None:
        """An address is first as often as its weight says; one without a weight has 1."""
        weights = {NAME: {ADDRESSES[0].rdata: 6, ADDRESSES[1].rdata: 3}}
        random = Random(1)
        drawn = Counter(chosen_first(ADDRESSES, weights, random)[0].rdata[-1] for _ in range(5000))
        self.assertTrue(2850 < drawn[1] < 3150 and 1380 < drawn[2] < 1620 and 430 < drawn[3] < 570, str(drawn))

    def test_only_the_first_changes(self) -> None:
        """The address drawn changes places with the first one; aliases stay where they are."""
        alias = cname(from_text("a.test"), 30, NAME)
        weights = {NAME: {ADDRESSES[2].rdata: 255}}
        self.assertEqual(
            chosen_first((alias, *ADDRESSES), weights, Random(3)), (alias, ADDRESSES[2], ADDRESSES[1], ADDRESSES[0])
        )
        self.assertEqual(chosen_first((alias, ADDRESSES[0]), weights, Random(3)), (alias, ADDRESSES[0]))

    def test_concerns(self) -> None:
        """Only answers with an address of a name in the file are drawn."""
        self.assertTrue(concerns(ADDRESSES, {NAME: {}}))
        self.assertFalse(concerns(ADDRESSES, {from_text("b.test"): {}}))
        self.assertFalse(concerns((cname(NAME, 30, NAME),), {NAME: {}}))
