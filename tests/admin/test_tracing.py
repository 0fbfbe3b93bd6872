# -*- test-case-name: tests.admin.test_tracing -*-
"""A traced run of small links of every behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.tracing import Run, Tracer, differences
from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next
from kdns.core.explaining import Note
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, EVERY_QUERY, NOTHING
from kdns.plugin.seam import Filter
from kdns.server.blocks import ServedBlock, Zones
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import AA, NXDOMAIN, RA
from kdns.wire.names import ROOT, from_text
from kdns.wire.records import a_or_aaaa
from tests.server.support import a_house
from tests.support import a_request

RECORDS = tuple(a_or_aaaa(from_text("web."), 30, bytes((10, 0, 0, number))) for number in (1, 2))
ANSWER = Answer(flags=AA, body=Sections(answer=RECORDS), validity=ALWAYS)


class Does(Link):
    """A link that does as a function says."""

    varies = NOTHING

    def __init__(self, name: str, does: Any) -> None:
        self.name = name
        self.does = does

    def answer(self, request: Request, next: Next) -> Any:
        """Do it."""
        return self.does(request, next)


class Telling(Does):
    """A link with something to say."""

    def explain(self, request: Request) -> Sequence[Note]:
        """Before."""
        return [Note("before"), Note("there is no such thing", missing=True)]

    def explain_passed(self, request: Request, came: Answer) -> Sequence[Note]:
        """After."""
        return [Note(f"came {came.answer_count()}")]


def passes(request: Request, next: Next) -> Any:
    """Pass it on."""
    return next(request)


class TracingTests(SynchronousTestCase):
    """What is seen of each link."""

    def setUp(self) -> None:
        """A context."""
        self.context = a_house(MemoryReactor())

    def traced(self, *links: Any, forward: bool = True) -> tuple[Run, Deferred[Run]]:
        """Run a request through links."""
        zones = Zones()
        zones.add(ROOT, ServedBlock(lambda request: ANSWER, links=links, last=links[-1].name))
        run, _, done = Tracer(self.context, "dns://:53", zones, forward=forward).ask(a_request("web"))
        return run, done

    def did(self, *links: Any) -> list[str]:
        """What each did."""
        run, done = self.traced(*links)
        self.successResultOf(done)
        return [step.did for step in run.steps]

    def test_passed_and_answered(self) -> None:
        """Who passes on and who answers are told apart, and who was not asked is named."""
        run, done = self.traced(Does("a", passes), Does("b", lambda request, next: ANSWER), Does("c", passes))
        self.assertIs(self.successResultOf(done), run)
        self.assertEqual(
            [(step.plugin, step.did) for step in run.steps],
            [("a", "passed it on, and left the answer as it came"), ("b", "answered NOERROR, 2 records in 0.00 ms")],
        )
        self.assertEqual((run.unreached, run.answer, run.zone), (["c"], ANSWER, "."))

    def test_changed(self) -> None:
        """What a link changes is named."""

        def changes(request: Request, next: Next) -> Any:
            came = next(request)
            assert isinstance(came, Answer)
            reversed = replace(came, rcode=NXDOMAIN, flags=RA, body=Sections(came.answer[::-1]), ede=((3, "old"),))
            return reversed.with_ttl(5)

        (first, _) = self.did(Does("a", changes), Does("b", lambda request, next: ANSWER))
        self.assertEqual(
            first,
            "passed it on, and changed the answer: NOERROR became NXDOMAIN, aa taken away, ra set, records in another order,"
            " TTL 30 became 5, Extended DNS Error 3 added (old)",
        )
        self.assertEqual(differences(ANSWER, replace(ANSWER, body=Sections(answer=RECORDS[:1]))), ["other records"])

    def test_later(self) -> None:
        """What comes later is seen as what comes at once, with the time that it took."""
        waiting: Deferred[Answer] = Deferred()

        async def slow(request: Request, next: Next) -> Answer:
            return await next(request)

        run, done = self.traced(Does("a", slow), Does("b", lambda request, next: waiting))
        self.assertNoResult(done)
        self.assertEqual(run.steps[1].did, "was not done when the answer came")
        self.context.reactor.advance(0.25)
        waiting.callback(ANSWER)
        self.successResultOf(done)
        self.assertEqual(run.steps[1].did, "answered NOERROR, 2 records in 250 ms")

    def test_failures(self) -> None:
        """A failure is told by whose it is, and those it passes by are no part of it."""

        def fails(request: Request, next: Next) -> Any:
            raise ResolutionFailed("no upstream", 2, (22, "nobody"))

        run, done = self.traced(Does("a", passes), Does("b", fails))
        self.successResultOf(done)
        self.assertEqual(
            [step.did for step in run.steps],
            ["passed it on, and left the failure as it came", "failed: no upstream"],
        )
        assert run.answer is not None
        self.assertEqual((run.answer.rcode, run.answer.ede, run.error), (2, ((22, "nobody"),), "no upstream"))

    def test_mistakes(self) -> None:
        """An exception that nobody foresaw is told by name."""
        run, done = self.traced(Does("a", lambda request, next: 1 // 0))
        self.successResultOf(done)
        self.assertEqual(run.error, "ZeroDivisionError: integer division or modulo by zero")
        self.assertFalse(run.foreseen)

    def test_nobody(self) -> None:
        """A chain that ends without an answer says so."""
        run, done = self.traced(Does("a", passes))
        self.successResultOf(done)
        self.assertEqual(run.error, "plugin/a: no next plugin found")

    def test_notes(self) -> None:
        """A link's own words are in its step, before and after it is asked; those that name what is missing are collected."""
        run, done = self.traced(Telling("a", passes), Does("b", lambda request, next: ANSWER))
        self.successResultOf(done)
        self.assertEqual([note.text for note in run.steps[0].notes], ["before", "there is no such thing", "came 2"])
        self.assertEqual(run.missing, ["there is no such thing"])

    def test_broken_notes(self) -> None:
        """A mistake in a link's words hides nothing."""
        link = Telling("a", lambda request, next: ANSWER)
        link.explain = lambda request: request.nothing  # type: ignore[method-assign,attr-defined]  # broken
        run, done = self.traced(link)
        self.successResultOf(done)
        self.assertIs(run.answer, ANSWER)
        self.assertEqual(
            [note.text for note in run.steps[0].notes],
            ["cannot say more: AttributeError: 'Request' object has no attribute 'nothing'"],
        )

    def test_in_the_background(self) -> None:
        """Who answers and asks on for itself is told apart from who waits."""

        def both(request: Request, next: Next) -> Any:
            next(request)
            return ANSWER

        waiting: Deferred[Answer] = Deferred()
        (first, _) = self.did(Does("a", both), Does("b", lambda request, next: waiting))
        self.assertEqual(first, "answered NOERROR, 2 records, and asked on in the background")

    def test_inside(self) -> None:
        """What a link looks up inside is traced, and nobody else is told of it; a circle ends."""

        def alias(request: Request, next: Next) -> Any:
            return ANSWER if request.inside else request.server.resolve(request.about(from_text("target.")))

        run, done = self.traced(Does("a", alias))
        self.successResultOf(done)
        (inner,) = run.steps[0].inside
        self.assertEqual((inner.qname, inner.answer), ("target.", ANSWER))
        run, done = self.traced(Does("a", lambda request, next: request.server.resolve(request.about(request.spelled))))
        self.assertEqual(getattr(self.successResultOf(done).answer, "rcode", None), 2)

    def test_held_back(self) -> None:
        """A link that would ask others is not asked when the operator says so."""
        link = Does("a", lambda request, next: ANSWER)
        link.asks_others = lambda request: True  # type: ignore[method-assign]  # as forward has it
        run, done = self.traced(link, forward=False)
        self.successResultOf(done)
        self.assertEqual((run.held_back, run.asked_upstream), (True, False))
        run, done = self.traced(link)
        self.successResultOf(done)
        self.assertEqual((run.held_back, run.asked_upstream, run.answer), (False, True, ANSWER))

    def test_cancelled(self) -> None:
        """Giving up ends what is under way, and the run is there all the same."""
        dropped: list[Any] = []
        waiting: Deferred[Answer] = Deferred(dropped.append)
        run, done = self.traced(Does("a", lambda request, next: waiting))
        run.given_up = "it took too long"
        done.cancel()
        self.assertEqual(dropped, [waiting])
        self.assertEqual((run.error, run.steps[0].did), ("it took too long", "was still waiting when it was given up"))
        self.assertIs(self.successResultOf(done), run)
        assert run.answer is not None
        self.assertEqual(run.answer.rcode, 2)

    def test_no_block(self) -> None:
        """A name that no block takes is refused."""
        zones = Zones()
        zones.add(from_text("example.org"), ServedBlock(lambda request: ANSWER))
        run, _, done = Tracer(self.context, "dns://:53", zones).ask(a_request("web"))
        self.successResultOf(done)
        self.assertEqual((run.error, run.zones), ("the name is in no zone of this listener", ["example.org."]))
        for settings, wanted in (
            ({"empty": True}, "the server block of . has no plugin that answers"),
            ({"filters": (Filter(lambda request: False, EVERY_QUERY),)}, "no server block of . takes it (view)"),
        ):
            zones = Zones()
            zones.add(ROOT, ServedBlock(lambda request: ANSWER, **settings))
            self.assertEqual(Tracer(self.context, "dns://:53", zones).ask(a_request("web"))[0].error, wanted)

    def test_view(self) -> None:
        """Of several blocks for a zone the one that takes the name is named by its view."""
        zones = Zones()
        never = (Filter(lambda request: False, EVERY_QUERY),)
        zones.add(ROOT, ServedBlock(lambda request: ANSWER, filters=never, view="never"))
        link = Does("a", lambda request, next: ANSWER)
        zones.add(ROOT, ServedBlock(lambda request: ANSWER, view="inside", links=(link,), last="a"))
        run, _, done = Tracer(self.context, "dns://:53", zones).ask(a_request("web"))
        self.successResultOf(done)
        self.assertEqual((run.zone, run.view), (".", "inside"))
