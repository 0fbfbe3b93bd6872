# -*- test-case-name: tests.plugins.template.test_choice -*-
"""
Which template answers a query, and the records that it makes. A core: values in, values out.

What an outcome holds for follows from what was looked at on the way, by all templates that were tried:
:attr:`~kdns.core.expression.environment.QuerySubject.seen` of the subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from kdns.core.expression import ExpressionError, Value
from kdns.core.request import Request
from kdns.plugins.template.config import RecordTemplate, Section, TemplateConfig
from kdns.plugins.template.data import TemplateSubject, template_data
from kdns.plugins.template.language import MAX_STEPS, Budget, TemplateError
from kdns.plugins.template.record import BadRecord, record_from_text
from kdns.wire.constants import ANY, ANY_CLASS
from kdns.wire.names import is_subdomain, to_text
from kdns.wire.records import Record

CHARACTERS_A_STEP = 4
"""To read a record of so many characters costs as much as a step of a template."""


@dataclass(frozen=True, slots=True)
class Matched:
    """
    A template that answers.

    :ivar zone: the zone of it that the name is in, as text.
    """

    config: TemplateConfig
    zone: str
    regexp: str
    variables: dict[str, Value]


@dataclass(frozen=True, slots=True)
class NotMatched:
    """A template takes the query, and nothing of it fits: there is no answer."""

    config: TemplateConfig


@dataclass(frozen=True, slots=True)
class PassOn:
    """No template takes the query."""


class ConditionFailed(Exception):
    """A variable or condition could not be computed."""


class RecordFailed(Exception):
    """
    A record could not be made.

    :ivar record: the template of the record.
    :ivar rendered: whether its text was made, and is no record.
    """

    def __init__(self, record: RecordTemplate, rendered: bool, reason: str) -> None:
        super().__init__(reason)
        self.record = record
        self.rendered = rendered


def choose(templates: Sequence[TemplateConfig], subject: TemplateSubject) -> Matched | NotMatched | PassOn:
    """
    The first template that takes the query and has an expression and conditions that fit.

    :raises ConditionFailed: one of those that were tried could not be computed.
    """
    request = subject.request
    for config in templates:
        zone = _zone(config.zones, request.qname)
        if zone is None or not _fits(config, request):
            continue
        matched = _matched(config, zone, subject)
        if matched is not None:
            return matched
        if _zone(config.fallthrough, request.qname) is None:
            return NotMatched(config)
    return PassOn()


@lru_cache(1024)
def zone_text(zone: bytes) -> str:
    """A zone of the Corefile as text; there are few, and each query needs one."""
    return to_text(zone)


def _fits(config: TemplateConfig, request: Request) -> bool:
    """Whether class and type fit; ANY, of either side, fits everything."""
    return (config.qclass in (ANY_CLASS, request.qclass) or request.qclass == ANY_CLASS) and (
        config.qtype in (ANY, request.qtype) or request.qtype == ANY
    )


def _zone(zones: tuple[bytes, ...], qname: bytes) -> bytes | None:
    return next((zone for zone in zones if is_subdomain(qname, zone)), None)


def _matched(config: TemplateConfig, zone: bytes, subject: TemplateSubject) -> Matched | None:
    for regexp in config.matches:
        groups = regexp.search(subject.name)
        if groups is None:
            continue
        subject.groups, subject.names = groups, regexp.group_names
        variables: dict[str, Value] = {}
        try:
            for variable in config.variables:
                variables[variable.name] = variable.expression.evaluate(subject, variables)
            for condition in config.conditions:
                if condition.evaluate(subject, variables) is not True:
                    return None
        except ExpressionError as error:
            raise ConditionFailed(str(error)) from None
        return Matched(config, zone_text(zone), regexp.text, variables)
    return None


def make_records(matched: Matched, subject: TemplateSubject) -> dict[Section, list[Record]]:
    """
    Render the records of a template; a text without a record adds none.

    :raises RecordFailed: one cannot be made.
    """
    config = matched.config
    data = template_data(subject, matched.zone, config.qtype, matched.regexp, matched.variables)
    budget = Budget()
    made: dict[Section, list[Record]] = {section: [] for section in Section}
    for template in config.records:
        try:
            text = template.template.render(data, budget)
            if not budget.spend(len(text) // CHARACTERS_A_STEP):
                raise TemplateError(f"more than {MAX_STEPS} steps")
            record = record_from_text(text)
        except TemplateError as error:
            raise RecordFailed(template, False, str(error)) from None
        except BadRecord as error:
            raise RecordFailed(template, True, str(error)) from None
        if record is not None:
            made[template.section].append(record)
    return made
