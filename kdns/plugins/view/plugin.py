# -*- test-case-name: tests.plugins.view.test_plugin -*-
"""``view NAME { expr EXPRESSION... }``: a filter of a server block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdns.core.expression import Expression, ExpressionError, ExpressionSyntaxError, compile_expression
from kdns.core.expression.environment import QUERY_FUNCTIONS, QuerySubject
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.capabilities import declared_labels
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.view.dependence import varies_of

LABEL = "view/name"
"""The label of metadata that holds the view's name."""


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """What a ``view`` says."""

    name: str
    expressions: tuple[str, ...] = ()
    """All must be true; none at all are."""


class Conditions:
    """
    Expressions that must all be true of a query.

    :raises ExpressionSyntaxError: one is none.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = [compiled(text) for text in expressions]

    def hold(self, request: Request) -> bool:
        """Whether they are; one that cannot be carried out, or has another value than true, is not."""
        subject = QuerySubject(request)
        try:
            return all(expression.evaluate(subject) is True for expression in self._expressions)
        except ExpressionError:
            return False


def compiled(text: str) -> Expression:
    """
    An expression about a query.

    :raises ExpressionSyntaxError: the text is none.
    """
    return compile_expression(text, QUERY_FUNCTIONS)


class ViewDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "view"

    def parse(self, tokens: Dispenser, block: Block) -> ViewConfig:
        """``view NAME { expr EXPRESSION... }``, once in a server block; ``expr`` may be repeated."""
        config = ViewConfig("")
        for _ in tokens.invocations(once=True):
            name = tokens.word()
            expressions: list[str] = []
            for option in tokens.block():
                if option != "expr":
                    raise tokens.unknown_property("expr")
                text = " ".join(tokens.remaining_args())
                try:
                    compiled(text)
                except ExpressionSyntaxError as error:
                    raise tokens.plain_error(str(error)) from error
                expressions.append(text)
            config = ViewConfig(name, tuple(expressions))
        return config

    def build(self, config: ViewConfig, builder: BlockBuilder) -> None:
        """Name the block and filter its queries."""
        conditions = Conditions(config.expressions)
        builder.view = config.name
        declared = declared_labels(builder.links)
        builder.filter(conditions.hold, varies_of(config.expressions, bool(builder.binds), declared))

        def named(request: Request) -> None:
            if request.metadata is not None:
                request.metadata[LABEL] = config.name

        builder.metadata_from(named)


directive = ViewDirective()
