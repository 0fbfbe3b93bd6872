# -*- test-case-name: tests.plugins.template.test_config -*-
"""``template CLASS TYPE [ZONES...] { ... }``: the words of the Corefile -> templates that were parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from kdns.core.expression import EnvironmentFunction, Expression, ExpressionSyntaxError, compile_expression
from kdns.core.expression.builtins import BUILTINS, PREDICATES
from kdns.core.expression.environment import QUERY_FUNCTIONS
from kdns.core.expression.lexer import WORD_OPERATORS
from kdns.core.regexp import BadRegexp, Regexp, RegexpTooLong
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import ServerKey, zones_or_keys
from kdns.corefile.values import quote
from kdns.plugins.template.language import Template, TemplateSyntaxError
from kdns.plugins.template.language import parse as parse_template
from kdns.wire.constants import ANY_CLASS, NOERROR, class_number, rcode_number, type_number
from kdns.wire.names import ROOT

EXPRESSION_FUNCTIONS = QUERY_FUNCTIONS | {
    "group": EnvironmentFunction(("any",), "string", lambda subject, key: subject.group(key)),
}
"""The functions of ``var`` and ``expr``."""

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = frozenset({"true", "false", "nil", *WORD_OPERATORS, *BUILTINS, *PREDICATES, *EXPRESSION_FUNCTIONS})


class Section(Enum):
    """A section of the reply, and the option that fills it."""

    ANSWER = "answer"
    ADDITIONAL = "additional"
    AUTHORITY = "authority"


@dataclass(frozen=True, slots=True)
class RecordTemplate:
    """
    One record to be.

    :ivar shown: the template in its normal form, for metrics.
    """

    section: Section
    template: Template
    shown: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``var NAME EXPRESSION``."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class TemplateConfig:
    """One ``template``."""

    qclass: int
    qtype: int
    zones: tuple[bytes, ...]
    """In wire form, the longest first."""

    matches: tuple[Regexp, ...]
    records: tuple[RecordTemplate, ...] = ()
    """In the order in which they are made: answers, additional, authority."""

    rcode: int = NOERROR
    ede: tuple[int, str] | None = None
    variables: tuple[Variable, ...] = ()
    conditions: tuple[Expression, ...] = ()
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose names go on where nothing matched."""

    class_text: str = "IN"
    type_text: str = "A"


Config = tuple[TemplateConfig, ...]
"""All templates of a block, in file order."""


def parse(tokens: Dispenser, keys: Iterable[ServerKey]) -> Config:
    """Read all directives of a block."""
    keys = tuple(keys)
    return tuple([_template(tokens, keys) for _ in tokens.invocations()])


def _template(tokens: Dispenser, keys: tuple[ServerKey, ...]) -> TemplateConfig:
    class_word = tokens.expect_arg()
    qclass = ANY_CLASS if class_word == "ANY" else class_number(class_word)
    if qclass is None or class_word != class_word.upper() or class_word.startswith("CLASS"):
        raise tokens.error(f"invalid query class {class_word}")
    type_word = tokens.expect_arg()
    qtype = type_number(type_word)
    if qtype is None or type_word != type_word.upper() or type_word.startswith("TYPE"):
        raise tokens.error(f"invalid RR class {type_word}")
    zones = _zones(tokens, tokens.remaining_args(), keys)
    matches: list[Regexp] = []
    records: dict[Section, list[RecordTemplate]] = {section: [] for section in Section}
    rcode = NOERROR
    ede: tuple[int, str] | None = None
    variables: list[Variable] = []
    conditions: list[Expression] = []
    fallthrough: tuple[bytes, ...] = ()
    for option in tokens.block():
        match option:
            case "match":
                matches += [_regexp(tokens, word) for word in tokens.args(1, None)]
            case "answer" | "additional" | "authority":
                section = Section(option)
                records[section] += _records(tokens, section, tokens.args(1, None))
            case "rcode":
                rcode = _rcode(tokens)
            case "ederror":
                ede = _ede(tokens)
            case "var":
                words = tokens.args(2, None)
                variables.append(_variable(tokens, variables, words[0], " ".join(words[1:])))
            case "expr":
                text = " ".join(tokens.args(1, None))
                conditions.append(_expression(tokens, variables, text, ""))
            case "fallthrough":
                words = tokens.remaining_args()
                fallthrough = _zones(tokens, words, ()) if words else (ROOT,)
            case "upstream":
                tokens.remaining_args()
            case _:
                raise tokens.arg_error()
    return TemplateConfig(
        qclass,
        qtype,
        zones,
        tuple(matches) or (Regexp(".*"),),
        tuple(
            [each for section in (Section.ANSWER, Section.ADDITIONAL, Section.AUTHORITY) for each in records[section]]
        ),
        rcode,
        ede,
        tuple(variables),
        tuple(conditions),
        fallthrough,
        class_word,
        type_word,
    )


def _zones(tokens: Dispenser, words: list[str], keys: tuple[ServerKey, ...]) -> tuple[bytes, ...]:
    zones = tokens.convert(lambda _: zones_or_keys(words, keys), "")
    return tuple(sorted({zone.name for zone in zones}, key=len, reverse=True))


def _regexp(tokens: Dispenser, text: str) -> Regexp:
    try:
        return Regexp(text)
    except RegexpTooLong as error:
        raise tokens.error(str(error)) from None
    except BadRegexp as error:
        raise tokens.error(f"could not parse regex: {text}, {error}") from None


def _records(tokens: Dispenser, section: Section, words: list[str]) -> list[RecordTemplate]:
    made: list[RecordTemplate] = []
    for word in words:
        try:
            template = parse_template(section.value, word)
        except TemplateSyntaxError as error:
            raise tokens.error(
                f"could not compile template: {words[-1]}, {error}", hint=f"column {error.column} of the template"
            ) from None
        made.append(RecordTemplate(section, template, str(template)))
    return made


def _rcode(tokens: Dispenser) -> int:
    (word,) = tokens.args(1)
    number = 4 if word == "NOTIMPL" else rcode_number(word)
    if number is None or word != word.upper():
        raise tokens.error(f"unknown rcode {word}")
    return number


def _ede(tokens: Dispenser) -> tuple[int, str]:
    words = tokens.args(1, 2)
    digits = words[0]
    reason = ""
    if not (digits.isascii() and digits.isdigit()):
        reason = "invalid syntax"
    elif len(digits.lstrip("0")) > 5 or int(digits) > 0xFFFF:
        reason = "value out of range"
    if reason:
        text = f"strconv.ParseUint: parsing {quote(digits)}: {reason}"
        raise tokens.error(f"error parsing extended DNS error code {words[-1]}, {text}")
    return int(digits), words[1] if len(words) > 1 else ""


def _variable(tokens: Dispenser, known: list[Variable], name: str, text: str) -> Variable:
    if not _VARIABLE.fullmatch(name):
        raise tokens.error(f"invalid variable name {quote(name)}")
    if name in _RESERVED or any(variable.name == name for variable in known):
        raise tokens.error(f"variable name {quote(name)} is reserved")
    return Variable(name, _expression(tokens, known, text, f"{name}, "))


def _expression(tokens: Dispenser, known: list[Variable], text: str, shown: str) -> Expression:
    try:
        types = {variable.name: variable.expression.type for variable in known}
        return compile_expression(text, EXPRESSION_FUNCTIONS, types)
    except ExpressionSyntaxError as error:
        raise tokens.error(f"could not compile expression: {shown}{error}") from None
