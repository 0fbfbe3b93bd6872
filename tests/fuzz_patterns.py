"""
Fuzz targets for the languages inside a Corefile: regular expressions, templates, and expressions about a query.

An input is a text of the language. It is refused, or it runs on hostile data within its bounds: the processor time of one run is measured,
and must stay below what would hold up a reactor for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from kdns.core.expression import EnvironmentFunction, ExpressionError, ExpressionSyntaxError, compile_expression
from kdns.core.regexp import BadRegexp, Regexp
from kdns.plugins.template.language import GoInt, Struct, TemplateError, TemplateSyntaxError, TextMap, parse
from kdns.plugins.template.language.printing import MAX_TEXT
from kdns.plugins.template.record import BadRecord, record_from_text

MOST_SECONDS = 0.1
"""Processor time of one run. What is promised is 5 ms; this machine may be twenty times as busy as that."""

HOSTILE = tuple(piece * (1000 // len(piece)) for piece in ("a", "a.", "ab1-", "\\000", "x"))
"""Names as long as presentation form allows, of the kind that makes matching expensive."""

REGEXPS = (
    rb"^ip-(?P<a>[0-9]{1,3})-(?P<b>[0-9]+)[.](.*)[.]example[.]org[.]$",
    rb"(.*)[.](?:svc|pod)[.]cluster[.]local",
    rb"^(([a-z])+.)+[A-Z]([a-z])+$",
    rb"(?i)\bweb\d*\b|[[:alpha:]]{2,5}|\pL\x{41}\Qa.b\E",
)
TEMPLATES = (
    b"{{ .Name }} 60 IN A {{ .Group.a }}.{{ index .Match 1 | printf `%03d` }}",
    b"{{ range $i, $e := .Match }}{{ if eq $e `x` }}{{ break }}{{ else }}{{ $i }}={{ slice $e 0 1 }}{{ end }}{{ end }}",
    b"{{ define `t` }}[{{ . }}]{{ end }}{{ with $x := parseInt `ff` 16 32 }}{{ template `t` $x }}{{ end }}{{- /* c */ -}} x",
    b'{{ .Name }} 60 IN TXT "{{ .Name }}" ( a; b\n ) ; {{ .Type }}',
    b"{{ $x := print .Name .Name }}{{ $x = html $x | js | urlquery }}{{ len $x }}{{ and (lt 1 2) (ne .Type `A`) }}",
)
EXPRESSIONS = (
    b"any(split(name(), '.'), # == 'x') && len(name()) > 3 or name() matches '^a.*b$'",
    b"let x = 1..9; reduce(map(x, # * 2), #acc + #) % 7 == 3 ? 'a' : `b`",
    b"{'a': [1, 2.5, nil]}?.a[1:] ?? name() | upper() | replace('A', 'b')",
    b"filter(sortBy(split(name(), ''), #), {# not in ['a', 'b']}) | join('-')",
)

D = TypeVar("D")
T = TypeVar("T")

_FUNCTIONS = {"name": EnvironmentFunction((), "string", lambda subject: subject)}


def run_regexp(octets: bytes) -> None:
    """Compile a text, and search hostile names."""
    try:
        regexp = Regexp(octets.decode("utf-8", "replace"))
    except BadRegexp as error:
        assert str(error)
        return
    for name in HOSTILE:
        groups = _timed(regexp.search, name)
        assert groups is None or len(groups) == regexp.group_count + 1


def run_template(octets: bytes) -> None:
    """Parse a text, print it, render it, and read a record from what comes of it."""
    text = octets.decode("utf-8", "replace")
    try:
        template = parse("answer", text)
    except TemplateSyntaxError as error:
        assert str(error)
        return
    assert isinstance(str(template), str)
    for name in HOSTILE[:2]:
        try:
            made = _timed(template.render, _data(name))
            assert len(made) <= MAX_TEXT
            _timed(record_from_text, made)
        except (TemplateError, BadRecord) as error:
            assert str(error)


def _data(name: str) -> Struct:
    return Struct(
        "*template.templateData",
        {
            "Name": lambda: name,
            "Type": lambda: "A",
            "Match": lambda: [name, "x", name],
            "Group": lambda: TextMap({"0": name, "a": "1"}),
            "Number": lambda: GoInt(7, "uint16"),
        },
    )


def run_expression(octets: bytes) -> None:
    """Compile a text, and evaluate it."""
    try:
        expression = compile_expression(octets.decode("utf-8", "replace"), _FUNCTIONS)
    except ExpressionSyntaxError as error:
        assert str(error)
        return
    for name in HOSTILE[:3]:
        try:
            _timed(expression.evaluate, name)
        except ExpressionError as error:
            assert isinstance(str(error), str)


def _timed(run: Callable[[D], T], data: D) -> T:
    began = time.process_time()
    try:
        return run(data)
    finally:
        took = time.process_time() - began
        if took > MOST_SECONDS:
            raise AssertionError(f"took {took * 1000:.0f} ms")
