# -*- test-case-name: tests.plugins.test_errors -*-
"""
*errors*: log a line for each failed query, or one line for many similar failures.

A failure is a :class:`~kdns.core.failure.ResolutionFailed` from the chain; a query that no block takes is not one. When an upstream is down
every query to it fails, so lines are limited to a number a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.logger import Logger, LogLevel

from kdns.core.failure import RcodeOnly, ResolutionFailed
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.regexp import Regexp
from kdns.core.timing import Clock, Timer
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import format_duration, parse_duration, parse_int
from kdns.plugin.line_budget import LineBudget, held_lines
from kdns.plugin.replies import DROPPED
from kdns.plugin.seam import Block, BlockBuilder, Resource, ServerContext
from kdns.wire.constants import type_text
from kdns.wire.names import to_text

log = Logger(namespace="plugin/errors")

MOST_MATCHED = 4096
"""Characters of a failure's text that expressions see; matching time grows with the length of the text."""

BUDGET = 100
"""Lines a second by default. Nobody reads more, and a line costs as much as several queries."""

LEVELS: dict[str, Any] = {
    "warning": LogLevel.warn,
    "error": LogLevel.error,
    "info": LogLevel.info,
    "debug": LogLevel.debug,
}

SHOW_FIRST = "show_first"


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Failures that are counted instead of printed."""

    period: float
    """Seconds from the first failure to the summary."""

    expression: str
    level: str = "error"
    show_first: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """``errors [stdout] { stacktrace; consolidate DURATION REGEXP [LEVEL] [show_first]; budget LINES }``."""

    consolidations: tuple[Consolidation, ...] = ()
    stacktrace: bool = False
    """Accepted without effect: kdns always logs the traceback of an unexpected exception."""

    budget: int = BUDGET
    """Lines a second; 0: no limit."""


class ErrorsDirective:
    """The directive of the Corefile."""

    name = "errors"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """Read the directive; once per server block."""
        consolidations: list[Consolidation] = []
        stacktrace, budget = False, None
        for _ in tokens.invocations(once=True):
            for word in tokens.args(0, 1):
                if word != "stdout":
                    raise tokens.error(f"invalid log file: {word}")
            for option in tokens.block():
                match option:
                    case "stacktrace":
                        stacktrace = not tokens.args(0)
                    case "consolidate":
                        consolidations.append(_consolidation(tokens))
                    case "budget":
                        if budget is not None:
                            raise tokens.error("budget can only be used once")
                        budget = _lines(tokens)
                    case _:
                        raise tokens.unknown_property("stacktrace", "consolidate", "budget")
        return Config(tuple(consolidations), stacktrace, BUDGET if budget is None else budget)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Watch the block's replies."""
        summaries = tuple(Summary(each, builder.context.reactor) for each in config.consolidations)
        budget = _budget(config.budget, builder.context) if config.budget else None
        builder.observe(Errors(summaries, budget))
        if budget is not None:
            builder.run(budget)
        if summaries:
            builder.run(Summaries(summaries))


directive = ErrorsDirective()


def _consolidation(tokens: Dispenser) -> Consolidation:
    words = tokens.args(2, 4)
    try:
        period = parse_duration(words[0])
        Regexp(words[1])
    except ValueError as error:
        raise tokens.error(str(error)) from None
    level, show_first = "", False
    for word in words[2:]:
        if word == SHOW_FIRST:
            show_first = True
        elif word not in LEVELS:
            raise tokens.error(f"unknown option in consolidate: {word}")
        elif show_first:
            raise tokens.error("log level must come before show_first in consolidate")
        elif level:
            raise tokens.error("multiple log levels specified in consolidate")
        else:
            level = word
    return Consolidation(period, words[1], level or "error", show_first)


def _lines(tokens: Dispenser) -> int:
    word = tokens.word()
    try:
        lines = parse_int(word)
    except ValueError as error:
        raise tokens.error(str(error)) from None
    if lines < 0:
        raise tokens.error(f"budget must be at least 0, found {word}")
    return lines


def _budget(lines: int, context: ServerContext) -> LineBudget:
    def say(held: int, errors: int) -> None:
        log.error("{held} errors not shown in 1s: the budget is {budget} lines a second", held=held, budget=lines)

    return LineBudget(lines, 0, context.reactor, held_lines(context.registry, "errors", "budget"), say)


class Errors(Observer):
    """The observer of one server block."""

    repeats = True

    def __init__(self, summaries: tuple[Summary, ...] = (), budget: LineBudget | None = None) -> None:
        self._summaries = summaries
        self._budget = budget

    def alike(self, zone: bytes) -> bool:
        """Only failures are shown, and those are never repeated."""
        return True

    def finished(self, exchange: Exchange) -> None:
        """Print a failure, or count it for the summary of the first expression that matches."""
        failure = exchange.failure
        if failure is None or isinstance(failure, RcodeOnly) or exchange.zone == DROPPED:
            return
        for summary in self._summaries:
            if summary.fits(failure.text):
                summary.count(exchange, failure)
                return
        if self._budget is None or self._budget.admit(error=True):
            _print(LogLevel.error, exchange, failure)

    def repeat(self, exchange: Exchange) -> Repeat:
        """A failure is never repeated without asking the plugins."""
        return Repeat()


def _print(level: Any, exchange: Exchange, failure: ResolutionFailed) -> None:
    request = exchange.request
    log.emit(
        level,
        "{rcode} {qname} {qtype}: {text}",
        rcode=failure.rcode,
        qname=to_text(request.qname),
        qtype=type_text(request.qtype),
        text=failure.text,
    )


@dataclass(slots=True)
class Summary:
    """Failures that match one expression, counted in periods; a period begins with its first failure."""

    config: Consolidation
    clock: Clock
    _regexp: Regexp = field(init=False)
    _count: int = field(default=0, init=False)
    _end: Timer | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._regexp = Regexp(self.config.expression)

    def fits(self, text: str) -> bool:
        """Whether a failure with this text belongs here; none does after the end."""
        return not self._stopped and self._regexp.found_in(text[:MOST_MATCHED])

    def count(self, exchange: Exchange, failure: ResolutionFailed) -> None:
        """Count a failure."""
        self._count += 1
        if self._end is None:
            self._end = self.clock.callLater(self.config.period, self._ended)
            if self.config.show_first:
                _print(LEVELS[self.config.level], exchange, failure)

    def _ended(self) -> None:
        self._end = None
        count, self._count = self._count, 0
        if count > (1 if self.config.show_first else 0):
            log.emit(
                LEVELS[self.config.level],
                "{count} errors like '{expression}' occurred in last {period}",
                count=count,
                expression=self.config.expression,
                period=format_duration(self.config.period),
            )

    def stop(self) -> None:
        """Log the summary of the running period; later failures are printed one by one."""
        self._stopped = True
        if self._end is not None:
            self._end.cancel()
            self._ended()


class Summaries(Resource):
    """Ends running periods with the configuration."""

    def __init__(self, summaries: tuple[Summary, ...]) -> None:
        self._summaries = summaries

    def stop(self) -> None:
        """See :meth:`Summary.stop`."""
        for summary in self._summaries:
            summary.stop()
