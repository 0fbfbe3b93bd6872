"""How long answers hold, and what links vary by."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from math import inf
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.request import Request
from kdns.core.stamps import Stamp
from kdns.core.validity import (
    ALWAYS,
    EVERY_QUERY,
    FROM_UPSTREAM,
    NOTHING,
    ONCE,
    Audience,
    Validity,
    Varies,
    audience_of,
    by_client,
    by_data,
)
from tests.support import a_request, now

REQUEST = a_request("a.test")


class ValidityTests(SynchronousTestCase):
    """Until when, and on what."""

    def test_default(self) -> None:
        """An answer that says nothing is for one query: not repeated, not cached."""
        self.assertEqual(Answer().validity, ONCE)
        self.assertEqual((ONCE.repeat, ONCE.cacheable, ONCE.until), (False, False, inf))

    def test_narrowed(self) -> None:
        """The earlier end, and all stamps."""
        one, two = Stamp().ref(), Stamp().ref()
        narrowed = Validity(True, 10.0, (one,)).narrowed(until=20.0, stamps=(two,))
        self.assertEqual(narrowed, Validity(True, 10.0, (one, two)))
        self.assertEqual(ALWAYS.narrowed(until=5.0).until, 5.0)

    def test_cacheable(self) -> None:
        """An upstream is asked each time, and yet a cache may keep what it said."""
        self.assertEqual((FROM_UPSTREAM.repeat, FROM_UPSTREAM.cacheable), (False, True))
        self.assertTrue(ALWAYS.cacheable)

    def test_not_repeated(self) -> None:
        """What is not repeated may still be cached, as long as its data stands."""
        ref = Stamp().ref()
        self.assertEqual(Validity(True, 3.0, (ref,)).not_repeated(), Validity(False, inf, (ref,), True))
        self.assertFalse(ONCE.not_repeated().cacheable)


class Passes(Link):
    """Passes on, declaring what the test wants."""

    name = "passes"

    def __init__(self, varies: Varies | None = None) -> None:
        if varies is not None:
            self.varies = varies

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on."""
        return next(request)


class Answers(Link):
    """Says one thing, now or later."""

    name = "answers"
    varies = NOTHING

    def __init__(self, reply: Callable[[], Any]) -> None:
        self._reply = reply

    def answer(self, request: Request, next: Next) -> Reply:
        """Say it."""
        reply: Reply = self._reply()
        return reply


class NarrowingTests(SynchronousTestCase):
    """What passes through a link holds no longer than the link's declaration allows."""

    def test_undeclared(self) -> None:
        """A link that declares nothing narrows all that passes through it to one query."""
        for validity in (ALWAYS, FROM_UPSTREAM, Validity(True, 5.0)):
            answer = Answer(validity=validity)
            for varies in (None, EVERY_QUERY):
                ask = chain([Passes(varies), Answers(partial(replace, answer))])
                self.assertEqual(now(ask(REQUEST)).validity, ONCE)

    def test_undeclared_later(self) -> None:
        """That is so for answers that come later, too."""
        waiting: Deferred[Answer] = Deferred()
        reply = chain([Passes(), Answers(lambda: waiting)])(REQUEST)
        assert isinstance(reply, Deferred)
        waiting.callback(Answer(validity=ALWAYS))
        self.assertEqual(self.successResultOf(reply).validity, ONCE)

    def test_nothing(self) -> None:
        """A link that the question alone decides leaves what passes through as it is."""
        ask = chain([Passes(NOTHING), Answers(lambda: Answer(validity=ALWAYS))])
        self.assertEqual(now(ask(REQUEST)).validity, ALWAYS)

    def test_data(self) -> None:
        """A change of the data ends what was passed on, even one that comes while the link looks."""
        stamp = Stamp()
        before = stamp.ref()

        def changing() -> Answer:
            stamp.bump()
            return Answer(validity=ALWAYS)

        ask = chain([Passes(by_data(stamp)), Answers(changing)])
        self.assertEqual(now(ask(REQUEST)).validity.stamps, (before,))


class AudienceTests(SynchronousTestCase):
    """Which clients must be told apart."""

    def test_nobody(self) -> None:
        """Where no link looks at the client, all are the same."""
        self.assertIsNone(audience_of([NOTHING, EVERY_QUERY, by_data(Stamp())]))

    def test_groups(self) -> None:
        """Clients of one group in every link are alike."""
        audience = audience_of([by_client(lambda client: client.startswith("10.")), by_client(len)])
        assert audience is not None
        self.assertEqual(audience.of("10.0.0.1"), audience.of("10.0.0.2"))
        self.assertNotEqual(audience.of("10.0.0.1"), audience.of("192.0.2.1"))

    def test_asked_once(self) -> None:
        """A group is asked once for a client, and again after a change if it looks at data."""
        for data, times in ((False, 1), (True, 2)):
            asked: list[str] = []

            def group(client: str, asked: list[str] = asked) -> Hashable:
                asked.append(client)
                return 0

            audience = audience_of([by_client(group, data=data)])
            assert audience is not None
            audience.of("10.0.0.1")
            audience.of("10.0.0.1")
            Stamp().bump()
            audience.of("10.0.0.1")
            self.assertEqual(len(asked), times)

    def test_bounded(self) -> None:
        """It remembers a bounded number of clients."""
        asked: list[str] = []
        audience = Audience((asked.append,), False, most=2)
        for client in "abca":
            audience.of(client)
        self.assertEqual("".join(asked), "abca")
