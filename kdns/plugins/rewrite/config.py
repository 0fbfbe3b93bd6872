# -*- test-case-name: tests.plugins.rewrite.test_config -*-
"""``rewrite [continue|stop] FIELD ARGUMENTS...``: the words of the Corefile -> rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kdns.core.regexp import BadRegexp, Regexp, RegexpTooLong
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import quote
from kdns.plugins.rewrite.names import MatchKind, NameMatch, RegexChange, absolute, references
from kdns.plugins.rewrite.options import VARIABLES, Action, OptionData, SubnetPrefix, metadata_value
from kdns.plugins.rewrite.replies import CnameChange, RcodeChange, TtlChange
from kdns.plugins.rewrite.rules import (
    ClassRule,
    CnameRule,
    Entry,
    NameAnswer,
    NameRule,
    OptionRule,
    ReplyRule,
    Rule,
    SubnetRule,
    TypeRule,
)
from kdns.wire.constants import NSID, class_number, rcode_number, type_number

MAX_TTL = 0xFFFFFFFF
MAX_RCODE = 23

_KINDS = {kind.value: kind for kind in MatchKind}
_INTEGER = re.compile(r"0[xX][0-9A-Fa-f_]+|0[bB][01_]+|0[oO]?[0-7_]+|[0-9][0-9_]*")


@dataclass(frozen=True, slots=True)
class Config:
    """The rules of a block, in file order."""

    entries: tuple[Entry, ...]


class BadRule(ValueError):
    """Words are no rule; the text is CoreDNS's."""


def parse(tokens: Dispenser) -> Config:
    """Read all directives of a block."""
    entries: list[Entry] = []
    for _ in tokens.invocations():
        words = tokens.remaining_args()
        if len(words) < 2:
            words += _block(tokens)
        try:
            entries.append(entry(words))
        except BadRule as error:
            raise tokens.plain_error(str(error)) from None
    return Config(tuple(entries))


def _block(tokens: Dispenser) -> list[str]:
    """All words of an option block: they make one rule, whatever lines they stand on."""
    words: list[str] = []
    for word in tokens.block():
        words += [word, *tokens.remaining_args()]
    return words


def entry(words: list[str]) -> Entry:
    """
    The rule that words make.

    :raises BadRule: they make none.
    """
    if not words:
        raise BadRule("no rule type specified for rewrite")
    text = " ".join(words)
    stop = True
    first = words[0].lower()
    if first in ("continue", "stop"):
        if len(words) == 1:
            raise BadRule(f"{first} rule must begin with a rule type")
        stop = first == "stop"
        words = words[1:]
    parse_field = _FIELDS.get(words[0].lower())
    if words[0].lower() == "answer":
        raise BadRule("response rewrites must begin with a name rule")
    if parse_field is None:
        raise BadRule(f"invalid rule type {quote(first)}")
    return Entry(parse_field(words[1:]), stop, text)


def _regexp(text: str, wrong: Callable[[str], str], too_long: str = "") -> Regexp:
    try:
        return Regexp(text)
    except RegexpTooLong as error:
        raise BadRule(str(error).replace("too long:", f"too long{too_long}:")) from None
    except BadRegexp as error:
        raise BadRule(wrong(str(error))) from None


# name


def _name(words: list[str]) -> Rule:
    if len(words) < 2:
        raise BadRule("too few arguments for a name rule")
    if len(words) == 2:
        return NameRule(_name_match(MatchKind.EXACT, words[0]), absolute(words[1]), auto=True)
    kind = _KINDS.get(words[0].lower())
    if kind is None:
        raise BadRule(
            "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: "
            + words[0].lower()
        )
    match = _name_match(kind, words[1])
    replacement = absolute(words[2])
    if match.regexp is not None:
        _check_references(match.regexp, words[2])
    answers, auto = _answers(kind, words[3:])
    return NameRule(match, replacement, answers, auto or kind is MatchKind.EXACT)


def _name_match(kind: MatchKind, text: str) -> NameMatch:
    if kind is not MatchKind.REGEX:
        return NameMatch(kind, absolute(text))
    return NameMatch(kind, text, _regexp(text, lambda _: f"invalid regex matching pattern: {text}"))


def _check_references(regexp: Regexp, replacement: str) -> None:
    if references(replacement) > regexp.group_count:
        raise BadRule(
            f"the rewrite regex pattern ({replacement}) uses more subexpressions than its corresponding matching regex "
            f"pattern ({regexp.text})"
        )


def _answers(kind: MatchKind, words: list[str]) -> tuple[tuple[NameAnswer, ...], bool]:
    """What stands behind TO: explicit changes, and whether ``auto`` is among them."""
    name = kind.value
    if not words:
        return (), False
    if len(words) == 1:
        raise BadRule(f"invalid arguments for {name} rule")
    if words[0].lower() != "answer":
        raise BadRule(f"exceeded the number of arguments for a non-answer rule argument for {name} rule")
    answers: list[NameAnswer] = []
    auto = False
    at = 0
    while at < len(words):
        if words[at].lower() == "answer":
            at += 1
            if at >= len(words):
                raise BadRule(f"type missing for answer rule for {name} rule")
        part = words[at].lower()
        at += 1
        if part == "auto":
            auto = True
        elif part in ("name", "value"):
            if len(words) - at < 2:
                raise BadRule(f"{part} answer rule for {name} rule: 2 arguments required")
            source, replacement = words[at], words[at + 1]
            at += 2
            regexp = _answer_regexp(source, replacement, f"{part} answer rule for {name} rule: ")
            answers.append(NameAnswer(part == "value", RegexChange(regexp, absolute(replacement))))
        else:
            raise BadRule(f"invalid type {quote(part)} for answer rule for {name} rule")
    if auto and any(not answer.value for answer in answers):
        raise BadRule("auto name answer rule cannot be combined with explicit name anwer rules")
    return tuple(answers), auto


def _answer_regexp(source: str, replacement: str, head: str) -> Regexp:
    try:
        regexp = _regexp(source, lambda _: f"invalid regex matching pattern: {source}")
        _check_references(regexp, replacement)
    except BadRule as error:
        raise BadRule(head + str(error)) from None
    return regexp


# type, class


def _type(words: list[str]) -> Rule:
    old, new = _pair("type", words, lambda word: None if word.startswith("TYPE") else type_number(word))
    return TypeRule(old, new)


def _class(words: list[str]) -> Rule:
    old, new = _pair("class", words, lambda word: None if word.startswith("CLASS") else class_number(word))
    return ClassRule(old, new)


def _pair(field: str, words: list[str], read: Callable[[str], int | None]) -> tuple[int, int]:
    if len(words) != 2:
        raise BadRule(f"{field} rules must have exactly two arguments")
    numbers: list[int] = []
    for word in words:
        number = read(word.upper())
        if number is None:
            raise BadRule(f"invalid {field} {quote(word.upper())}")
        numbers.append(number)
    return numbers[0], numbers[1]


# ttl, rcode, cname


def _match(field: str, words: list[str], count: int) -> tuple[NameMatch, list[str]]:
    """The names that a rule is about, and the words behind; *count* of them are wanted."""
    if len(words) <= count:
        raise BadRule(f"too few ({len(words)}) arguments for a {field} rule")
    kind = MatchKind.EXACT
    if len(words) > count + 1:
        found = _KINDS.get(words[0].lower())
        if found is None:
            raise BadRule(f"{field} rule supports only exact, prefix, suffix, substring, and regex name matching")
        kind = found
        words = words[1:]
    text, rest = words[0], words[1:]
    if kind is not MatchKind.REGEX:
        return NameMatch(kind, absolute(text)), rest
    wrong = f"invalid regex pattern in a {field} rule: {text}"
    return NameMatch(kind, text, _regexp(text, lambda _: wrong, f" in a {field} rule")), rest


def _ttl(words: list[str]) -> Rule:
    match, rest = _match("ttl", words, 1)
    if len(rest) > 1:
        raise BadRule("invalid TTL '' for a ttl rule")
    least, most = _ttl_range(rest[0])
    return ReplyRule(match, TtlChange(least, most))


def _ttl_range(text: str) -> tuple[int, int]:
    wrong = BadRule(f"invalid TTL '{text}' for a ttl rule")
    low, dash, high = text.partition("-")
    if (not low and not high) or any(part and not (part.isascii() and part.isdigit()) for part in (low, high)):
        raise wrong
    if len(low) > 10 or len(high) > 10:
        raise wrong
    least = int(low) if low else 0
    most = least if not dash else int(high) if high else 0x7FFFFFFF
    if max(least, most) > MAX_TTL or least > most:
        raise wrong
    return least, most


def _rcode(words: list[str]) -> Rule:
    match, rest = _match("rcode", words, 2)
    if len(rest) > 2:
        raise BadRule("invalid matching RCODE '' for a rcode rule")
    old, new = (_rcode_number(word, part) for word, part in zip(rest, ("matching", "replacement"), strict=True))
    return ReplyRule(match, RcodeChange(old, new))


def _rcode_number(word: str, part: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= 4 and int(word) <= MAX_RCODE:
        return int(word)
    number = rcode_number(word)
    if number is None:
        raise BadRule(f"invalid {part} RCODE '{word}' for a rcode rule")
    return number


def _cname(words: list[str]) -> Rule:
    if not 2 <= len(words) <= 3:
        raise BadRule(f"too few ({len(words)}) arguments for a cname rule")
    kind = MatchKind.EXACT
    if len(words) == 3:
        found = _KINDS.get(words[0].lower())
        if found is None:
            raise BadRule(f"unknown cname rewrite type: {words[0]}")
        kind = found
        words = words[1:]
    source, replacement = words
    if kind is MatchKind.EXACT:
        return CnameRule(CnameChange(NameMatch(kind, absolute(source)), absolute(replacement)))
    regexp = None
    if kind is MatchKind.REGEX:
        regexp = _regexp(source, lambda error: f"invalid cname rewrite regex pattern: {error}", " in a cname rule")
    text = source if regexp is not None else source.lower()
    return CnameRule(CnameChange(NameMatch(kind, text, regexp), replacement.lower()))


# edns0


def _edns0(words: list[str]) -> Rule:
    if len(words) < 2:
        raise BadRule("too few arguments for an EDNS0 rule")
    kind, verb, rest = words[0].lower(), words[1].lower(), words[2:]
    try:
        action = Action(verb)
    except ValueError:
        raise BadRule(f"invalid action: {quote(verb)}") from None
    revert = False
    if rest and rest[-1].lower() == "revert" and action is not Action.UNSET:
        revert = True
    match kind:
        case "local":
            return _local(action, rest, revert)
        case "nsid":
            if action is Action.UNSET and rest:
                raise BadRule("nsid unset action requires exactly one argument")
            if len(rest) > 1 or (rest and not revert):
                raise BadRule("EDNS0 NSID rules can accept no more than one arg")
            return OptionRule(action, NSID, revert=revert)
        case "subnet":
            return _subnet(action, rest, revert)
    raise BadRule(f"invalid rule type {quote(kind)}")


def _local(action: Action, words: list[str], revert: bool) -> Rule:
    if action is Action.UNSET:
        if len(words) != 1:
            raise BadRule("local unset action requires exactly two arguments")
        return OptionRule(action, _unsigned(words[0], 16))
    if len(words) - revert != 2:
        raise BadRule("EDNS0 local rules require three or four args")
    code, text = _unsigned(words[0], 16), words[1]
    if text.startswith("{") and text.endswith("}"):
        variable = VARIABLES.get(text) or _metadata(text)
        if variable is None:
            raise BadRule(f"unsupported variable name {quote(text)}")
        return OptionRule(action, code, variable=variable, variable_name=text, revert=revert)
    return OptionRule(action, code, _data(text), revert=revert)


def _metadata(text: str) -> OptionData | None:
    label = text[1:-1]
    if "/" not in label.strip("/"):
        return None
    return metadata_value(label)


def _data(text: str) -> bytes:
    if not text.startswith("0x"):
        return text.encode()
    digits = text[2:]
    for digit in digits:
        if digit not in "0123456789abcdefABCDEF":
            raise BadRule(f"encoding/hex: invalid byte: U+{ord(digit):04X} '{digit}'")
    if len(digits) % 2:
        raise BadRule("encoding/hex: odd length hex string")
    return bytes.fromhex(digits)


def _subnet(action: Action, words: list[str], revert: bool) -> Rule:
    if action is Action.UNSET:
        if words:
            raise BadRule("subnet unset action requires exactly one argument")
        return SubnetRule(action, SubnetPrefix(0, 0))
    if len(words) - revert != 2:
        raise BadRule("EDNS0 subnet rules require three or four args")
    ipv4, ipv6 = _unsigned(words[0], 8), _unsigned(words[1], 8)
    for bits, most, family in ((ipv4, 32, "IPv4"), (ipv6, 128, "IPv6")):
        if bits > most:
            raise BadRule(f"invalid {family} bit mask length {bits}")
    return SubnetRule(action, SubnetPrefix(ipv4, ipv6), revert)


def _unsigned(text: str, bits: int) -> int:
    """A number as Go's ``strconv.ParseUint`` reads it with base 0."""
    digits = text.replace("_", "")
    value: int | None = None
    if len(text) < 100 and _INTEGER.fullmatch(text) and not re.search("__|_$|^_", text):
        try:
            value = int("0o" + digits[1:] if re.fullmatch("0[0-7]+", digits) else digits, 0)
        except ValueError:
            value = None
    if value is None:
        raise BadRule(f"strconv.ParseUint: parsing {quote(text)}: invalid syntax")
    if value >= 1 << bits:
        raise BadRule(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return value


_FIELDS: dict[str, Callable[[list[str]], Rule]] = {
    "name": _name,
    "type": _type,
    "class": _class,
    "ttl": _ttl,
    "rcode": _rcode,
    "cname": _cname,
    "edns0": _edns0,
}
