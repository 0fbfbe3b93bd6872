# -*- test-case-name: tests.plugins.log.test_config -*-
"""The directive ``log``: which names and replies are logged, how many, and in which format."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TypeVar

from twisted.logger import Logger

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.guesses import nearest_hint
from kdns.corefile.values import BadValue, parse_duration, parse_int
from kdns.plugin.line_budget import LineBudget, held_lines
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.log.lines import COMBINED, COMMON, Form, JsonForm, TextForm
from kdns.plugins.log.observer import QueryLog, Ruling
from kdns.plugins.log.policy import Choice, Lot, Network
from kdns.wire.constants import rcode_number, rcode_text
from kdns.wire.names import ROOT, BadName, from_text

log = Logger(namespace="plugin/log")

CLASSES = ("all", "denial", "error", "success")
FORMATS = ("text", "json")
KINDS = ("name", "client", "rcode")
OPTIONS = ("class", "format", "only", "except", "slower", "sample", "budget")

SLOW = 1.0
"""A reply that took so many seconds is never sampled out, unless ``sample`` has another number."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """One use of ``log``."""

    names: tuple[bytes, ...] = (ROOT,)
    template: str = ""
    """Empty for the format's own."""

    classes: frozenset[str] = frozenset(CLASSES[1:])
    format: str = ""
    """Empty for the format of the process's other lines."""

    choice: Choice = field(default_factory=Choice)
    slower: float = 0.0
    sample: int = 1
    slow: float = SLOW
    budget: int = 0
    """Lines a second; 0: no limit."""


@dataclass(frozen=True, slots=True)
class Config:
    """All directives of a server block, in file order."""

    rules: tuple[Rule, ...]


class LogDirective:
    """The directive of the Corefile."""

    name = "log"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        return Config(tuple(_rule(tokens) for _ in tokens.invocations()))

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Watch the block's replies."""
        rulings = [_ruling(rule, builder.context) for rule in config.rules]
        builder.observe(QueryLog(rulings, builder.context.output))
        for ruling in rulings:
            if ruling.budget is not None:
                builder.run(ruling.budget)


def _ruling(rule: Rule, context: ServerContext) -> Ruling:
    return Ruling(
        names=rule.names,
        classes=rule.classes,
        form=_form(rule, context),
        choice=rule.choice,
        slower=rule.slower,
        clients=rule.choice.clients,
        lot=Lot(rule.sample, context.random, held_lines(context.registry, "log", "sample"))
        if rule.sample > 1
        else None,
        slow=rule.slow,
        budget=_budget(rule.budget, context) if rule.budget else None,
    )


def _form(rule: Rule, context: ServerContext) -> Form:
    if (rule.format or context.log_format) == "json":
        return JsonForm(rule.template or COMBINED, context.wall)
    return TextForm(rule.template or COMMON)


def _budget(lines: int, context: ServerContext) -> LineBudget:
    def say(held: int, errors: int) -> None:
        text = "{held} lines held back in 1s" + (", {errors} of them errors" if errors else "")
        log.warn(text + ": the budget is {budget} lines a second", held=held, errors=errors, budget=lines)

    # A tenth for errors, rounded up; of one line there is no part.
    reserve = -(-lines // 10) if lines > 1 else 0
    return LineBudget(lines, reserve, context.reactor, held_lines(context.registry, "log", "budget"), say)


# Reading


def _rule(tokens: Dispenser) -> Rule:
    words = tokens.remaining_args()
    template = ""
    # One word alone is a name, braces or not.
    if len(words) > 1 and "{" in words[-1]:
        template = words.pop().replace("{common}", COMMON).replace("{combined}", COMBINED)
    rule = Rule(tuple(_name(tokens, word) for word in words) or (ROOT,), template)
    classes: set[str] = set()
    seen: set[str] = set()
    for option in tokens.block():
        if option in ("class", "only", "except"):
            pass
        elif option in seen:
            raise tokens.error(f"{option} can only be used once for each log")
        seen.add(option)
        match option:
            case "class":
                classes.update(_known(tokens, word, CLASSES) for word in tokens.args(1, None))
            case "format":
                rule = replace(rule, format=_one_of(tokens, "format", FORMATS, tokens.word()))
            case "only" | "except":
                rule = replace(rule, choice=_choice(tokens, option, rule.choice))
            case "slower":
                rule = replace(rule, slower=_seconds(tokens, "slower", tokens.word()))
            case "sample":
                count, *slow = tokens.args(1, 2)
                rule = replace(rule, sample=_count(tokens, "sample", count))
                if slow:
                    rule = replace(rule, slow=_seconds(tokens, "sample", slow[0]))
            case "budget":
                rule = replace(rule, budget=_count(tokens, "budget", tokens.word()))
            case _:
                raise tokens.unknown_property(*OPTIONS)
    return rule if not classes or "all" in classes else replace(rule, classes=frozenset(classes))


def _name(tokens: Dispenser, word: str) -> bytes:
    try:
        return from_text(word)
    except BadName as error:
        raise tokens.plain_error(f"not a domain name: {word}") from error


def _known(tokens: Dispenser, word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise tokens.plain_error(f"invalid Class: {word}", hint=nearest_hint(word, known))
    return word


def _one_of(tokens: Dispenser, what: str, known: tuple[str, ...], word: str) -> str:
    if word not in known:
        wanted = " or ".join((", ".join(known[:-1]), known[-1]))
        raise tokens.error(f"{what} must be {wanted}, found '{word}'", hint=nearest_hint(word, known))
    return word


def _choice(tokens: Dispenser, option: str, choice: Choice) -> Choice:
    kind, *words = tokens.args(2, None)
    match _one_of(tokens, option, KINDS, kind):
        case "name":
            names = tuple(_name(tokens, word) for word in words)
            if option == "only":
                return replace(choice, only_names=choice.only_names + names)
            return replace(choice, except_names=choice.except_names + names)
        case "client":
            networks = tuple(_network(tokens, word) for word in words)
            if option == "only":
                return replace(choice, only_clients=choice.only_clients + networks)
            return replace(choice, except_clients=choice.except_clients + networks)
        case _:
            rcodes = frozenset(_rcode(tokens, word) for word in words)
            if option == "only":
                return replace(choice, only_rcodes=choice.only_rcodes | rcodes)
            return replace(choice, except_rcodes=choice.except_rcodes | rcodes)


def _network(tokens: Dispenser, word: str) -> Network:
    try:
        return ip_network(word, strict=False)
    except ValueError:
        raise tokens.error(f"not a network or address: {word}") from None


def _rcode(tokens: Dispenser, word: str) -> int:
    number = rcode_number(word)
    if number is None:
        known = (rcode_text(number) for number in range(24))
        raise tokens.error(f"unknown response code '{word}'", hint=nearest_hint(word, known))
    return number


def _seconds(tokens: Dispenser, option: str, word: str) -> float:
    try:
        seconds = parse_duration(word)
    except BadValue as error:
        raise tokens.error(str(error)) from None
    if seconds <= 0:
        raise tokens.error(f"{option} wants a duration above 0, found {word}")
    return seconds


def _count(tokens: Dispenser, option: str, word: str) -> int:
    try:
        count = parse_int(word)
    except BadValue as error:
        raise tokens.error(str(error)) from None
    if count < 1:
        raise tokens.error(f"{option} must be at least 1, found {word}")
    return count
