# -*- test-case-name: tests.checking.test_patterns -*-
"""Surprises of *rewrite* and *template*: rules that are never tried, expressions that fit no name, replies that clients do not take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from kdns.checking.findings import Finding, warning
from kdns.core.regexp import Regexp
from kdns.corefile.errors import Place
from kdns.corefile.tree import Directive
from kdns.wire.names import to_text

MOST_STATES = 1000
"""States of an expression with counts; without counts only few of many states are ever active together."""

LONGEST_NAME = 1009
"""Characters of a name in presentation form: 250 bytes, each an escape of four, and dots."""

SECONDS_A_STEP = 9e-9
"""Measured with ``(((a?){30}){30})b``, where all states are active."""

_COUNT = re.compile(r"\{\d+(,\d*)?\}")
_ENDS_WITHOUT_DOT = re.compile(r"[A-Za-z0-9_-]\$$")


def rewrites(use: Directive | None, config: Any) -> Iterator[Finding]:
    """
    What is surprising about rules.

    :param config: :class:`kdns.plugins.rewrite.config.Config`, or None.
    """
    if use is None or config is None:
        return
    from kdns.plugins.rewrite.names import MatchKind  # the plugin is imported where a Corefile uses it
    from kdns.plugins.rewrite.rules import NameRule, ReplyRule

    places = _uses(use)
    ended: Place | None = None
    for entry, place in zip(config.entries, places, strict=True):
        rule = entry.rule
        if ended is not None:
            text = f"this rule is never tried: the one in line {ended.line} fires for every query and ends the list"
            yield warning(place, "rewrite", text, entry.text, "write rewrite continue there, or put it last")
        elif entry.stop and _always_fires(rule):
            ended = place
        if isinstance(rule, (NameRule, ReplyRule)):
            yield from _expression(place, "rewrite", rule.match.regexp)
        if isinstance(rule, NameRule) and rule.match.kind is not MatchKind.EXACT and not rule.auto and not rule.answers:
            text = "replies have the new name as their owner, and many clients take them for no answer"
            yield warning(place, "rewrite", text, entry.text, "add answer auto")


def templates(use: Directive | None, config: Any, behind: str) -> Iterator[Finding]:
    """
    What is surprising about templates.

    :param config: :data:`kdns.plugins.template.config.Config`, or None.
    :param behind: a plugin that is asked after them; empty without one.
    """
    if use is None or config is None:
        return
    for template, place in zip(config, _uses(use), strict=True):
        for regexp in template.matches:
            yield from _expression(place, "template", regexp)
        choosy = template.conditions or any(regexp.text != ".*" for regexp in template.matches)
        if behind and choosy and not template.fallthrough:
            zones = " ".join(map(to_text, template.zones))
            text = f"names of {zones} that it does not fit are SERVFAIL: without fallthrough {behind} is not asked"
            yield warning(place, "template", text, suggestion="add fallthrough")


def _uses(use: Directive) -> Sequence[Place]:
    """Where each use of a directive begins."""
    return [token.place for token in use.tokens if token.starts_line and token.text == use.name]


def _always_fires(rule: Any) -> bool:
    from kdns.plugins.rewrite.options import Action
    from kdns.plugins.rewrite.rules import CnameRule, OptionRule, SubnetRule

    if isinstance(rule, OptionRule):
        return rule.action is not Action.REPLACE and rule.variable is None
    return isinstance(rule, CnameRule) or (isinstance(rule, SubnetRule) and rule.action in (Action.SET, Action.UNSET))


def _expression(place: Place, directive: str, regexp: Regexp | None) -> Iterator[Finding]:
    if regexp is None:
        return
    text = regexp.text
    if _ENDS_WITHOUT_DOT.search(text) is not None and "|" not in text:
        yield warning(place, directive, "the expression fits no name: names end in a dot", text, f"{text[:-1]}[.]$")
    if _COUNT.search(text) is not None and regexp.size > MOST_STATES:
        cost = max(regexp.size * LONGEST_NAME * SECONDS_A_STEP * 1000, 1)
        said = f"the expression has {regexp.size} states: a long name can take it {cost:.0f} ms, in which nobody is answered"
        yield warning(
            place, directive, said, text, "counts inside counts multiply: write * where the number does not matter"
        )
