"""
The language of *template*: what templates of Corefiles use of Go's text/template.

A core of pure functions: :func:`parse` makes a :class:`Template` of a text once, :meth:`Template.render` makes text of it and of data.
"""

from __future__ import annotations

from kdns.plugins.template.language.errors import TemplateError, TemplateSyntaxError
from kdns.plugins.template.language.evaluator import MAX_STEPS, Budget, Template
from kdns.plugins.template.language.parser import parse_template
from kdns.plugins.template.language.values import NO_VALUE, GoInt, Struct, TextMap, Value

__all__ = [
    "MAX_STEPS",
    "NO_VALUE",
    "Budget",
    "GoInt",
    "Struct",
    "Template",
    "TemplateError",
    "TemplateSyntaxError",
    "TextMap",
    "Value",
    "parse",
]


def parse(name: str, text: str) -> Template:
    """
    Make a template of a text.

    :param name: how errors call it.
    :raises TemplateSyntaxError: the text is no template, or nests too deep.
    """
    return Template(name, text, parse_template(name, text))
