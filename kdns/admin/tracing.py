# -*- test-case-name: tests.admin.test_tracing -*-
"""
A traced run of a chain: the real links, each wrapped so that what goes in and what comes out is seen.

The run is as real as a query, with three differences: observers that count or log queries do not see it, the answer table is left alone,
and lookups that a link makes inside are traced too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer, Reply
from kdns.core.chain import Link, Next, chain
from kdns.core.explaining import Note
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.plugin.seam import ServerContext
from kdns.server.blocks import Zones
from kdns.server.listener import MOST_INSIDE
from kdns.wire.constants import REFUSED, SERVFAIL, rcode_text, type_text
from kdns.wire.names import MalformedName, longest_zone, to_text
from kdns.wire.presentation import flag_texts
from kdns.wire.records import Record


class NotAsked(ResolutionFailed):
    """An upstream would be asked here, and the operator said not to."""

    def __init__(self) -> None:
        super().__init__("an upstream would be asked, and was not (--no-forward)")


@dataclass(slots=True)
class Step:
    """One link's part."""

    plugin: str
    notes: list[Note] = field(default_factory=list)
    did: str = "was not done when the answer came"
    seconds: float = 0.0
    """From its being asked to its answer, those behind it included."""

    upstream: str = ""
    """Who answered, when it asked others."""

    inside: list[Run] = field(default_factory=list)
    """Lookups that it made."""


@dataclass(slots=True)
class Run:
    """One lookup through one block."""

    qname: str
    qtype: str
    zone: str = ""
    view: str = ""
    """Name of the block's view, or empty."""

    zones: list[str] = field(default_factory=list)
    """All zones of the listener."""

    steps: list[Step] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    """Links that were not asked."""

    answer: Answer | None = None
    error: str = ""
    """Why there is no answer but a response code."""

    given_up: str = ""
    """Why its end was not waited for; whoever cancels says it beforehand."""

    foreseen: bool = True
    asked_upstream: bool = False
    held_back: bool = False
    """Whether an upstream was not asked because the operator said so."""

    @property
    def missing(self) -> list[str]:
        """What would have to be there for the name to have an answer."""
        return [note.text for step in self.steps for note in step.notes if note.missing]


class Tracer:
    """
    Runs requests through the blocks of a listener.

    :param forward: whether upstreams may be asked.
    """

    def __init__(self, context: ServerContext, label: str, zones: Zones, *, forward: bool = True) -> None:
        self.context = context
        self.label = label
        self._zones = zones
        self._forward = forward

    def ask(self, request: Request) -> tuple[Run, Request, Deferred[Run]]:
        """
        Trace a request.

        :return: the run, filled while it lasts; the request as its block saw it; and a Deferred that fires with the run at its end and
            never fails.
        """
        run = Run(to_text(request.spelled), type_text(request.qtype))
        run.zones = sorted(map(to_text, self._zones.blocks))
        done: Deferred[Run] = Deferred()
        chosen = self._zones.choose(request)
        if chosen is None:
            run.answer = Answer(REFUSED)
            run.error = self._nobody(request)
            done.callback(run)
            return run, request, done
        zone, block, asked, _ = chosen
        run.zone = to_text(zone)
        run.view = block.view
        if asked.metadata is None:
            asked = replace(asked, metadata={})  # plugins leave there what they did
        asked = replace(asked, zone=zone)
        traced = [Traced(self, run, link) for link in block.links]
        run.unreached = [link.name for link in block.links]
        reply: Any
        try:
            reply = chain(traced, block.last)(asked)
        except Exception:
            reply = Failure()
        if isinstance(reply, Deferred):
            reply.addBoth(partial(self._ended, run))
            done = Deferred(lambda _: reply.cancel())
            reply.addCallback(lambda _: done.callback(run))
        else:
            self._ended(run, reply)
            done.callback(run)
        return run, asked, done

    def _ended(self, run: Run, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Answer):
            run.answer = outcome
            return
        error = outcome.value
        if isinstance(error, ResolutionFailed):
            ede = (error.ede,) if error.ede is not None else ()
            run.answer = Answer(error.rcode, ede=ede)
            run.error = error.text
            run.held_back = run.held_back or isinstance(error, NotAsked)
            return
        run.answer = Answer(SERVFAIL)
        run.foreseen = isinstance(error, CancelledError)
        run.error = f"{type(error).__name__}: {outcome.getErrorMessage()}"
        if run.foreseen:
            run.error = run.given_up or "it was not waited for"

    def _nobody(self, request: Request) -> str:
        """Why no block takes a request."""
        zone = longest_zone(request.qname, frozenset(self._zones.blocks))
        if zone is None:
            return "the name is in no zone of this listener"
        if all(block.empty for block in self._zones.blocks[zone]):
            return f"the server block of {to_text(zone)} has no plugin that answers"
        return f"no server block of {to_text(zone)} takes it (view)"

    @property
    def may_forward(self) -> bool:
        """Whether upstreams may be asked."""
        return self._forward


class Inside:
    """The server as a traced link sees it: what it looks up inside is traced as well."""

    def __init__(self, tracer: Tracer, step: Step, run: Run) -> None:
        self.label = tracer.label
        self._tracer = tracer
        self._step = step
        self._run = run

    def resolve(self, request: Request) -> Reply:
        """See :class:`kdns.core.request.Server`."""
        if request.inside > MOST_INSIDE:
            return Answer(SERVFAIL)
        run, _, done = self._tracer.ask(request)
        self._step.inside.append(run)

        def result(run: Run) -> Answer:
            self._run.asked_upstream |= run.asked_upstream
            self._run.held_back |= run.held_back
            assert run.answer is not None
            return run.answer

        if done.called:
            return result(run)
        return done.addCallback(result)


class Traced(Link):
    """A link that tells what it is asked and what it answers."""

    def __init__(self, tracer: Tracer, run: Run, link: Link) -> None:
        self.name = link.name
        self.varies = link.varies
        self._tracer = tracer
        self._run = run
        self._link = link
        self._clock = tracer.context.clock

    def answer(self, request: Request, next: Next) -> Any:
        """See :class:`kdns.core.chain.Link`."""
        run, link = self._run, self._link
        step = Step(self.name)
        run.steps.append(step)
        if self.name in run.unreached:
            run.unreached.remove(self.name)
        self._say(step, link.explain, request)
        others = link.asks_others(request)
        if others:
            if not self._tracer.may_forward:
                step.did = "would ask an upstream; it was not asked (--no-forward)"
                run.held_back = True
                raise NotAsked
            run.asked_upstream = True
        began = self._clock()
        passed = _Passed(list(step.notes) if others else None)
        inside = replace(request, server=Inside(self._tracer, step, run))
        try:
            reply = link.answer(inside, partial(self._onward, passed, next))
        except Exception:
            self._ended(step, passed, request, began, Failure())
            raise
        if isinstance(reply, Answer):
            self._ended(step, passed, request, began, reply)
            return reply
        waiting = reply if isinstance(reply, Deferred) else Deferred.fromCoroutine(reply)
        return waiting.addBoth(partial(self._ended, step, passed, request, began))

    def _onward(self, passed: _Passed, next: Next, request: Request) -> Reply:
        passed.asked = True
        try:
            reply = next(request)
        except Exception as error:
            passed.failed = error
            raise
        if isinstance(reply, Answer):
            passed.came = reply
            return reply

        def keep(outcome: Any) -> Any:
            if isinstance(outcome, Failure):
                passed.failed = outcome.value
            else:
                passed.came = outcome
            return outcome

        return reply.addBoth(keep)

    def _ended(self, step: Step, passed: _Passed, request: Request, began: float, outcome: Any) -> Any:
        step.seconds = self._clock() - began
        upstream = (request.metadata or {}).get(f"{self.name}/upstream")
        if isinstance(upstream, str) and isinstance(outcome, Answer):
            step.notes.append(Note(f"answered by {upstream}"))
            step.upstream = upstream
        if passed.came is not None:
            self._say(step, self._link.explain_passed, request, passed.came)
        if passed.before is not None:
            after = Step(self.name)
            self._say(after, self._link.explain, request)
            news = [note for note in after.notes if note not in passed.before]
            step.notes += [Note(f"afterwards: {note.text.strip()}", note.missing) for note in news]
        step.did = _words(passed, outcome)
        if not passed.asked and not isinstance(outcome, Failure):
            step.did += f" in {milliseconds(step.seconds)}"
        return outcome

    def _say(self, step: Step, explain: Callable[..., Sequence[Note]], *arguments: Any) -> None:
        try:
            step.notes += explain(*arguments)
        except Exception as error:  # a mistake in words must not hide what really happened
            step.notes.append(Note(f"cannot say more: {type(error).__name__}: {error}"))


@dataclass(slots=True)
class _Passed:
    """What a link had of those behind it."""

    before: list[Note] | None = None
    """What it said before it asked others; None when it asks none."""

    asked: bool = False
    came: Answer | None = None
    failed: BaseException | None = None


def milliseconds(seconds: float) -> str:
    """A time in words."""
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def _words(passed: _Passed, outcome: Any) -> str:
    if isinstance(outcome, Failure):
        if passed.failed is not None and outcome.value is passed.failed:
            return (
                "passed it on"
                if isinstance(outcome.value, NotAsked)
                else "passed it on, and left the failure as it came"
            )
        if outcome.check(CancelledError):
            return "was still waiting when it was given up"
        text = outcome.value.text if isinstance(outcome.value, ResolutionFailed) else outcome.getErrorMessage()
        return f"failed: {text}"
    if not isinstance(outcome, Answer):
        return f"answered with {outcome!r}, which is no answer"
    if not passed.asked:
        return f"answered {summary(outcome)}"
    if passed.came is None:
        return f"answered {summary(outcome)}, and asked on in the background"
    if passed.came is outcome:
        return "passed it on, and left the answer as it came"
    changes = differences(passed.came, outcome)
    if not changes:
        return "passed it on, and left the answer as it came"
    return f"passed it on, and changed the answer: {', '.join(changes)}"


def summary(answer: Answer) -> str:
    """An answer in a few words."""
    if answer.silent:
        return "with silence"
    rcode = rcode_text(answer.rcode)
    count = answer.answer_count()
    if answer.rcode == 0 and not count:
        return "NOERROR without records (NODATA)"
    return f"{rcode}, {count} record{'s' if count != 1 else ''}" if count else rcode


def differences(before: Answer, after: Answer) -> list[str]:
    """What a link changed, in words; what no client can see is left out."""
    found = []
    if before.rcode != after.rcode:
        found.append(f"{rcode_text(before.rcode)} became {rcode_text(after.rcode)}")
    if gone := flag_texts(before.flags & ~after.flags):
        found.append(f"{' '.join(gone)} taken away")
    if new := flag_texts(after.flags & ~before.flags):
        found.append(f"{' '.join(new)} set")
    try:
        old_sections, new_sections = before.sections(), after.sections()
    except MalformedName:
        return found
    plain = [[_without_ttl(record) for record in section] for section in old_sections]
    changed = [[_without_ttl(record) for record in section] for section in new_sections]
    if plain != changed:
        same = [sorted(section) for section in plain] == [sorted(section) for section in changed]
        found.append("records in another order" if same else "other records")
    old_ttl, new_ttl = _ttl(old_sections), _ttl(new_sections)
    if old_ttl != new_ttl and None not in (old_ttl, new_ttl):
        found.append(f"TTL {old_ttl} became {new_ttl}")
    for code, text in after.ede[len(before.ede) :]:
        found.append(f"Extended DNS Error {code} added ({text})" if text else f"Extended DNS Error {code} added")
    return found


def _without_ttl(record: Record) -> Record:
    return record._replace(ttl=0)


def _ttl(sections: Sequence[Sequence[Record]]) -> int | None:
    return min((record.ttl for section in sections for record in section), default=None)
