"""The test kit for plugins: it passes what is right and finds what is wrong."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.stamps import Stamp
from kdns.core.validity import Validity
from kdns.plugin import (
    ALWAYS,
    EVERY_QUERY,
    NOTHING,
    Answer,
    Block,
    BlockBuilder,
    Dispenser,
    Link,
    Next,
    Reply,
    Request,
    Varies,
    by_client,
    by_data,
    records,
)
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import REFUSED
from kdns.wire.records import a_or_aaaa

Says = Callable[[Request, Next], Reply]


class Programmed(Link):
    """A link that does as a function says."""

    name = "programmed"

    def __init__(self, says: Says, varies: Varies | None) -> None:
        self._says = says
        if varies is not None:
            self.varies = varies

    def answer(self, request: Request, next: Next) -> Reply:
        """Do it."""
        return self._says(request, next)


class Directive:
    """A directive for :class:`Programmed`; *inner* puts it behind the cache."""

    name = "programmed"

    def __init__(self, make: Callable[[], Says], varies: Varies | None = None, inner: bool = False) -> None:
        self.before = "forward" if inner else "cache"
        self._make = make
        self._varies = varies

    def parse(self, tokens: Dispenser, block: Block) -> None:
        """Take no words."""
        for _ in tokens.invocations(once=True):
            tokens.args(0)

    def build(self, config: None, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(Programmed(self._make(), self._varies))


def bench(make: Callable[[], Says], varies: Varies | None = None, inner: bool = False) -> PluginBench:
    """A bench for a programmed link."""
    return PluginBench(Directive(make, varies, inner), "programmed")


def refusing() -> Says:
    """Refuse one client, pass everything else on."""

    def answer(request: Request, next: Next) -> Reply:
        return Answer(REFUSED, validity=ALWAYS) if request.client == "10.0.0.1" else next(request)

    return answer


def counting() -> Says:
    """Answer with a number that goes up."""
    count = 0

    def answer(request: Request, next: Next) -> Reply:
        nonlocal count
        count += 1
        return Answer(body=records([a_or_aaaa(request.spelled, 30, bytes((10, 0, 0, count)))]), validity=ALWAYS)

    return answer


def dropping() -> Says:
    """Leave out the last of the addresses that come from behind."""

    def answer(request: Request, next: Next) -> Reply:
        reply = next(request)
        assert isinstance(reply, Answer)
        last = reply.answer[-1]
        return reply.mapped(lambda record: None if record == last else record)

    return answer


class SafeTests(SynchronousTestCase):
    """A plugin that declares nothing, or the truth, is right behind and in front of everything that repeats answers."""

    def test_by_client(self) -> None:
        """One that looks at the client is never bypassed, declared or not."""
        group = by_client(lambda client: client == "10.0.0.1")
        for varies in (None, EVERY_QUERY, group):
            for inner in (False, True):
                bench(refusing, varies, inner).check_repeats(
                    ["a.test", "B.test"], clients=["10.0.0.1", "127.0.0.1", "::1"]
                )

    def test_counting(self) -> None:
        """One that counts is asked for every query, behind a cache too."""
        for inner in (False, True):
            bench(counting, None, inner).check_repeats(["a.test"])

    def test_data(self) -> None:
        """One whose data changes says so by a stamp, whether it answers or passes on."""
        for inner in (False, True):
            stamp, names = Stamp(), set[bytes]()

            def make(names: set[bytes] = names) -> Says:
                def answer(request: Request, next: Next) -> Reply:
                    return Answer(REFUSED, validity=ALWAYS) if request.qname in names else next(request)

                return answer

            def change(names: set[bytes] = names, stamp: Stamp = stamp) -> None:
                names.symmetric_difference_update((b"\x01a\x04test\x00", b"\x01b\x04test\x00"))
                stamp.bump()

            change()
            bench(make, by_data(stamp), inner).check_repeats(["a.test", "b.test", "c.test"], change=change)

    def test_changed_records(self) -> None:
        """One that leaves out records does so for each reply."""
        addresses = [a_or_aaaa(b"\x01a\x04test\x00", 30, bytes((10, 0, 0, last))) for last in (1, 2, 3)]
        answer = Answer(body=records(addresses), validity=ALWAYS, rotate=())
        for varies in (None, NOTHING):
            found = PluginBench(Directive(dropping, varies), "programmed", lambda request: answer)
            found.check_repeats(["a.test"])
            self.assertEqual(len(found.ask("a.test").answer), 2)


class WrongTests(SynchronousTestCase):
    """A plugin that declares what is not so is found out."""

    def test_client(self) -> None:
        """One that looks at the client and says that it does not."""
        for inner in (False, True):
            self.assertRaises(AssertionError, bench(refusing, NOTHING, inner).check_repeats, ["a.test"])

    def test_counting(self) -> None:
        """One that counts and says that the question decides."""
        for inner in (False, True):
            self.assertRaises(AssertionError, bench(counting, NOTHING, inner).check_repeats, ["a.test"])

    def test_forgotten_stamp(self) -> None:
        """One whose data changes without a word."""
        names: set[bytes] = set()

        def make() -> Says:
            return lambda request, next: Answer(REFUSED, validity=Validity(True)) if names else next(request)

        found = bench(make, NOTHING)
        self.assertRaises(AssertionError, found.check_repeats, ["a.test"], change=lambda: names.add(b"x"))


class BenchTests(SynchronousTestCase):
    """What else the kit does."""

    def test_ask(self) -> None:
        """The plugin alone, in front of an upstream."""
        found = bench(refusing)
        self.assertEqual(found.ask("a.test", client="10.0.0.1").rcode, REFUSED)
        self.assertEqual(len(found.ask("a.test", "TXT").answer), 1)
        self.assertEqual([request.qtype for request in found.upstream.asked], [16])

    def test_error(self) -> None:
        """What a directive refuses, with its place."""
        self.assertIn("Corefile:2", bench(refusing).error("programmed more"))
        self.assertRaises(AssertionError, bench(refusing).error, "programmed")
