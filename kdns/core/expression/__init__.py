"""
Expressions about a query, in the language of expr-lang: ``var`` and ``expr`` of *template*, ``expr`` of *view*.

:func:`compile_expression` reads and checks an expression once; :meth:`Expression.evaluate` carries it out, within bounds of work and size.
"""

from __future__ import annotations

from kdns.core.expression.compiler import Expression, Variables, compile_expression
from kdns.core.expression.errors import ExpressionError, ExpressionSyntaxError
from kdns.core.expression.values import EnvironmentFunction, Value

__all__ = [
    "EnvironmentFunction",
    "Expression",
    "ExpressionError",
    "ExpressionSyntaxError",
    "Value",
    "Variables",
    "compile_expression",
]
