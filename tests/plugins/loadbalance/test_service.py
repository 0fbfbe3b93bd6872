"""The plugin in a chain, and its weight file."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.degraded import Fault
from kdns.core.request import Request
from kdns.core.stamps import stand
from kdns.core.validity import ALWAYS, NOTHING
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import BlockBuilder, Keeper
from kdns.plugins.loadbalance import directive
from kdns.plugins.loadbalance.service import WeightFile
from kdns.wire.constants import AXFR, NXDOMAIN, TXT
from kdns.wire.message import MOST_CHANGED
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from tests.plugins.cache.upstream import relayed
from tests.support import a_house, a_request, built, now

NAME = from_text("www.example.com")
ADDRESSES = tuple(a_or_aaaa(NAME, 30, bytes((192, 0, 2, number))) for number in range(8))
REQUEST = a_request("www.example.com")


class Fixed(Link):
    """A link that always says the same."""

    name = "fixed"
    varies = NOTHING

    def __init__(self, answer: Reply) -> None:
        self._answer = answer

    def answer(self, request: Request, next: Next) -> Reply:
        """Say it."""
        return self._answer


class LinkTests(SynchronousTestCase):
    """What is put in order."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.context = a_house(self.clock)

    def ask(self, builder: BlockBuilder, answer: Reply, request: Request = REQUEST) -> Reply:
        """What the plugin makes of *answer*."""
        return chain([*builder.links, Fixed(answer)])(request)

    def test_every_reply_is_shuffled(self) -> None:
        """Addresses come in another order each time, now or later."""
        builder = built(directive, ".:53 {\n loadbalance\n}\n", self.context)
        answer = Answer(body=Sections(answer=ADDRESSES))
        seen = {now(self.ask(builder, answer)).answer for _ in range(10)}
        self.assertTrue(len(seen) > 5)
        later = self.ask(builder, succeed(answer))
        assert isinstance(later, Deferred)
        self.assertEqual(sorted(self.successResultOf(later).answer), list(ADDRESSES))

    def test_what_is_left_alone(self) -> None:
        """Errors, transfers and silence."""
        builder = built(directive, ".:53 {\n loadbalance\n}\n", self.context)
        for answer, request in (
            (Answer(NXDOMAIN, body=Sections(answer=ADDRESSES)), REQUEST),
            (Answer(body=Sections(answer=ADDRESSES)), a_request("www.example.com", AXFR)),
            (Answer(body=Sections(answer=ADDRESSES), silent=True), REQUEST),
        ):
            self.assertIs(self.ask(builder, answer, request), answer)

    def test_preferred_networks(self) -> None:
        """``prefer`` decides who is first."""
        builder = built(directive, ".:53 {\n loadbalance {\n prefer 192.0.2.4/32\n}\n}\n", self.context)
        for _ in range(5):
            self.assertEqual(now(self.ask(builder, Answer(body=Sections(answer=ADDRESSES)))).answer[0], ADDRESSES[4])


class WeightedTests(LinkTests):
    """``weighted``."""

    def weighted(self, text: str, kept: Keeper | None = None) -> BlockBuilder:
        """A block whose weight file says *text*."""
        self.path = os.path.abspath("weights")
        with open(self.path, "w") as file:
            file.write(text)
        corefile = f".:53 {{\n loadbalance weighted {self.path}\n}}\n"
        builder = built(directive, corefile, self.context, kept)
        for resource in builder.resources:
            resource.start()
            self.addCleanup(resource.stop)
        return builder

    def test_weights_decide(self) -> None:
        """An answer with a weighted address holds for nobody else, since each query draws anew."""
        builder = self.weighted("www.example.com\n192.0.2.3 255\n")
        for answer in (
            Answer(body=Sections(answer=ADDRESSES), validity=ALWAYS),
            relayed(REQUEST, ADDRESSES, validity=ALWAYS),
        ):
            drawn = [now(self.ask(builder, answer)) for _ in range(40)]
            self.assertTrue(sum(form.answer[0] == ADDRESSES[3] for form in drawn) > 30)
            self.assertTrue(all(not form.validity.repeat and form.rotate is None for form in drawn))

    def test_other_names_take_turns(self) -> None:
        """Names without weights are as with ``round_robin``, until the file changes."""
        builder = self.weighted("a.test\n192.0.2.3 255\n")
        answer = now(self.ask(builder, Answer(body=Sections(answer=ADDRESSES), validity=ALWAYS)))
        self.assertEqual((answer.validity.repeat, answer.rotate), (True, ()))
        self.assertTrue(stand(answer.validity.stamps))
        with open(self.path, "w") as file:
            file.write("www.example.com\n192.0.2.3 255\n")
        self.clock.advance(30)
        self.assertFalse(stand(answer.validity.stamps))
        again = now(self.ask(builder, Answer(body=Sections(answer=ADDRESSES), validity=ALWAYS)))
        self.assertFalse(again.validity.repeat)

    def test_many(self) -> None:
        """An answer of very many records is turned round, and none is looked at for its weight."""
        builder = self.weighted("www.example.com\n192.0.2.3 255\n")
        many = tuple(a_or_aaaa(NAME, 30, number.to_bytes(4, "big")) for number in range(MOST_CHANGED + 1))
        answer = now(self.ask(builder, relayed(REQUEST, many, validity=ALWAYS)))
        self.assertEqual((answer.validity.repeat, answer.rotate), (True, ()))

    def test_other_types(self) -> None:
        """Only A, AAAA and SRV are weighted."""
        builder = self.weighted("www.example.com\n192.0.2.3 255\n")
        request = a_request("www.example.com", TXT)
        answer = now(self.ask(builder, Answer(body=Sections(additional=ADDRESSES), validity=ALWAYS), request))
        self.assertEqual((answer.rotate, answer.additional), (None, ADDRESSES))

    def test_a_file_that_went_bad(self) -> None:
        """The weights known stay, and the operator is told; a file that did not change is not read."""
        builder = self.weighted("www.example.com\n192.0.2.3 255\n")
        (file,) = builder.resources
        assert isinstance(file, WeightFile)
        before = dict(file.weights)
        self.clock.advance(30)
        with open(self.path, "w") as bad:
            bad.write("192.0.2.3 255\n")
        with capturedLogs() as events:
            self.clock.advance(30)
        self.assertEqual(file.weights, before)
        self.assertIn("missing domain name in weight file", formatEvent(events[0]))
        (state,) = self.context.degraded
        self.assertEqual((state.name, state.kind), (f"weight file {self.path}", Fault.WEIGHT_FILE))
        with capturedLogs() as events:
            self.clock.advance(30)
        self.assertEqual(events, [])
        with open(self.path, "w") as good:
            good.write("www.example.com\n192.0.2.3 25\n")
        with capturedLogs() as events:
            self.clock.advance(30)
        self.assertEqual(list(self.context.degraded), [])
        self.assertIn("in order again", "".join(str(formatEvent(event)) for event in events))

    def test_a_file_that_is_bad_from_the_start(self) -> None:
        """Nothing starts with it."""
        self.assertRaises(SetupError, self.weighted, "192.0.2.3 255\n")

    def test_a_file_that_comes_later(self) -> None:
        """The start goes on without it, with a warning, and it is read when it is there; if nobody looks again, nothing starts."""
        path = os.path.abspath("later")
        with capturedLogs() as events:
            builder = built(directive, f".:53 {{\n loadbalance weighted {path}\n}}\n", self.context)
            (file,) = builder.resources
            assert isinstance(file, WeightFile)
            file.start()
        self.addCleanup(file.stop)
        text = "Failed to open weight file:weight file open error. Will try again in 30s"
        self.assertEqual([formatEvent(event) for event in events], [text])
        with open(path, "w") as late:
            late.write("www.example.com\n192.0.2.3 255\n")
        self.clock.advance(30)
        self.assertEqual(len(file.weights), 1)
        folder = WeightFile(os.path.abspath("."), 30.0, self.context)
        self.assertIn("is a directory", str(self.assertRaises(SetupError, folder.start)))
        once = WeightFile(os.path.abspath("never"), 0.0, self.context)
        self.assertEqual(str(self.assertRaises(SetupError, once.start)), "plugin/loadbalance: weight file open error")

    def test_the_same_file_is_kept(self) -> None:
        """A new configuration takes the weights over, so that stamps given out go on to count."""
        kept = Keeper()
        first = self.weighted("", kept)
        second = built(
            directive, f".:53 {{\n loadbalance weighted {self.path} {{\n reload 30s\n}}\n}}\n", self.context, kept
        )
        self.assertIs(first.resources[0], second.resources[0])
