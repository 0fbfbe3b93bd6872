# -*- test-case-name: tests.plugins.template.test_resolver -*-
"""The link of *template*: answers made of templates, and the targets of their CNAMEs looked up."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from kdns.core.answer import Answer, records
from kdns.core.chain import Link, Next, Reply, then
from kdns.core.explaining import Note
from kdns.core.expression.environment import Seen
from kdns.core.failure import RcodeOnly, ResolutionFailed
from kdns.core.fast_path import Effect
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, ONCE, Validity, Varies
from kdns.plugins.template.choice import (
    ConditionFailed,
    Matched,
    NotMatched,
    PassOn,
    RecordFailed,
    choose,
    make_records,
)
from kdns.plugins.template.config import Config, Section, TemplateConfig
from kdns.plugins.template.data import TemplateSubject, class_shown, type_shown
from kdns.plugins.template.metrics import TemplateMetrics
from kdns.wire.constants import AA, AAAA, ANY, ANY_CLASS, CNAME, IN, SERVFAIL, TC, A
from kdns.wire.names import MalformedName, is_subdomain, to_text
from kdns.wire.records import Record


class TemplateLink(Link):
    """A link of the chain that answers by templates."""

    name = "template"
    varies = Varies()  # each answer says what was looked at for it

    def __init__(
        self,
        config: Config,
        metrics: TemplateMetrics,
        view: str,
        block_zones: tuple[bytes, ...],
        declared: tuple[str, ...] = (),
    ) -> None:
        """
        :param block_zones: the zones of the server block.
        :param declared: see :class:`kdns.core.expression.environment.QuerySubject`.
        """
        self._declared = declared
        self._config = config
        self._block_zones = block_zones
        self._metrics = metrics
        self._view = view

    def answer(self, request: Request, next: Next) -> Reply:
        """
        See :class:`kdns.core.chain.Link`.

        :raises RcodeOnly: a template takes the query, and nothing of it fits.
        :raises ResolutionFailed: a template fails.
        """
        subject = TemplateSubject(request, self._declared)
        try:
            choice = choose(self._config, subject)
        except ConditionFailed as error:
            raise ResolutionFailed(str(error)) from None
        match choice:
            case PassOn():
                reply = next(request)
                return reply if subject.seen is Seen.QUESTION else then(reply, _narrowed, subject.seen)
            case NotMatched():
                raise RcodeOnly(f"no template of {self._config.index(choice.config) + 1} fits")
        return self._matched(choice, subject)

    def _matched(self, matched: Matched, subject: TemplateSubject) -> Reply:
        request = subject.request
        config = matched.config
        labels = (
            request.server.label,
            matched.zone,
            self._view,
            class_shown(request),
            type_shown(request, config.qtype),
        )
        count = self._metrics.match(labels)
        count.inc()
        if config.rcode == SERVFAIL:
            raise RcodeOnly("the template says SERVFAIL")
        try:
            made = make_records(matched, subject)
        except RecordFailed as error:
            self._metrics.failure(labels, error.record.section.value, error.record.shown, error.rendered).inc()
            raise ResolutionFailed(str(error)) from None
        answer = Answer(
            config.rcode,
            AA,
            records(made[Section.ANSWER], made[Section.AUTHORITY], made[Section.ADDITIONAL]),
            ede=() if config.ede is None else (config.ede,),
            validity=_validity(subject.seen),
            source=self.name,
            charges=(count,),
        )
        return self._followed(answer, request)

    def _followed(self, answer: Answer, request: Request) -> Reply:
        """The answer with what the targets of its CNAMEs lead to, for those who ask for addresses."""
        if request.qtype not in (A, AAAA):
            return answer
        owners = {request.qname, *(record.owner.lower() for record in answer.answer)}
        targets = [record.rdata for record in answer.answer if record.rtype == CNAME]
        targets = [target for target in dict.fromkeys(targets) if target.lower() not in owners]
        reply: Reply = answer
        for target in targets:
            reply = then_ask(reply, partial(_look_up, request, target))
        return reply

    def fast_effect(self, server: str, zone: bytes) -> Effect:
        """Nothing for types that no template of the whole block is about."""
        return Effect(not_types=frozenset(config.qtype for config in self._of_types()))

    def fast_sources(self) -> dict[bytes, None]:
        """The zones of the other templates."""
        of_types = self._of_types()
        others = [config for config in self._config if config.qclass in (IN, ANY_CLASS) and config not in of_types]
        return {zone: None for config in others for zone in config.zones}

    def _of_types(self) -> list[TemplateConfig]:
        """Templates of one type for all names of the block: other types of these names need not come here."""
        return [
            config
            for config in self._config
            if config.qtype != ANY
            and config.qclass in (IN, ANY_CLASS)
            and any(is_subdomain(zone, one) for zone in self._block_zones for one in config.zones)
        ]

    def explain(self, request: Request) -> list[Note]:
        """The template that answers, and with what; or why none does."""
        subject = TemplateSubject(request, self._declared)
        try:
            choice = choose(self._config, subject)
        except ConditionFailed as error:
            return [Note(f"a condition cannot be computed: {error}", missing=True)]
        match choice:
            case PassOn():
                return [Note("no template is for this name, class and type; the next plugin is asked")]
            case NotMatched():
                return [
                    Note(
                        f"{_shown(choice.config)}: nothing of it fits the name, and there is no fallthrough",
                        missing=True,
                    )
                ]
        notes = [Note(f"{_shown(choice.config)}: the name matches {choice.regexp}")]
        try:
            make_records(choice, subject)
        except RecordFailed as error:
            notes.append(Note(f"the {error.record.section.value} {error.record.shown} fails: {error}", missing=True))
        if subject.seen is Seen.ELSE:
            notes.append(Note("the answer depends on the client or its connection: it is made for each query"))
        return notes


def then_ask(reply: Reply, ask: partial[Reply]) -> Reply:
    """Go on with the answer, now if it is there already, else when it comes."""
    if isinstance(reply, Answer):
        return ask(reply)
    return reply.addCallback(ask)


def _look_up(request: Request, target: bytes, answer: Answer) -> Reply:
    return then(request.server.resolve(request.about(target)), partial(_joined, answer))


def _joined(answer: Answer, inner: Answer) -> Answer:
    """An answer with the records that the look-up of one of its targets found, whatever its response code."""
    # The look-up is logged and counted each time, so the finished reply is not repeated without it.
    cache = answer.validity.cacheable and inner.validity.cacheable
    validity = Validity(stamps=answer.validity.stamps + inner.validity.stamps, cache=cache)
    try:
        found = () if inner.silent else inner.answer
    except MalformedName:
        found = ()
    here = answer.answer
    body = records((*here, *_new(found, here)), answer.authority, answer.additional)
    return replace(answer, flags=answer.flags | inner.flags & TC, body=body, validity=validity)


def _new(found: tuple[Record, ...], known: tuple[Record, ...]) -> list[Record]:
    """Records that are not there yet: CNAMEs of templates may lead round in a circle."""
    return [record for record in found if record not in known]


def _validity(seen: Seen) -> Validity:
    match seen:
        case Seen.QUESTION:
            return ALWAYS
        case Seen.MESSAGE:
            # The table knows the whole query; a cache does not.
            return Validity(True, cache=False)
    return ONCE


def _narrowed(answer: Answer, seen: Seen) -> Answer:
    """An answer of the next plugin, which was asked because of what was looked at."""
    if seen is Seen.ELSE:
        return answer.once()
    return answer.with_validity(replace(answer.validity, cache=False))


def _shown(config: TemplateConfig) -> str:
    zones = " ".join(map(to_text, config.zones))
    return f"template {config.class_text} {config.type_text} {zones}"
