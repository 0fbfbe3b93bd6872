"""Tests of :mod:`kdns.core.expression.compiler`, and of its lexer and parser."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression import EnvironmentFunction, ExpressionError, ExpressionSyntaxError, Value, compile_expression

FUNCTIONS = {
    "name": EnvironmentFunction((), "string", lambda subject: subject),
    "size": EnvironmentFunction((), "int", len),
    "incidr": EnvironmentFunction(("string", "string"), "bool", lambda subject, address, net: address == net),
    "type": EnvironmentFunction((), "string", lambda subject: "A"),
}
VARIABLES = {"v": "int", "anything": "any"}

VALUES: list[tuple[str, Value]] = [
    ("1", 1),
    ("0xff + 0b11 + 0o17", 273),
    ("1_000", 1000),
    ("1.5e3", 1500.0),
    (".5", 0.5),
    ("'a' + \"b\" + `c`", "abc"),
    (r"'\x41\u0042\103\n'", "ABC\n"),
    ("`a\\n`", "a\\n"),
    ("true && !false and not false", True),
    ("false || true or false", True),
    ("1 + 2 * 3 ** 2", 19.0),
    ("2 ^ 3 ^ 2", 512.0),
    ("-2 ** 2", -4.0),
    ("7 / 2", 3.5),
    ("1 / 0", float("inf")),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("9223372036854775807 + 1", -9223372036854775808),
    ("1 + 1.5", 2.5),
    ("1 == 1.0", True),
    ("'a' != 'b'", True),
    ("nil == nil", True),
    ("'a' < 'b' && 2 >= 2", True),
    ("[1, 2] == [1, 2]", True),
    ("2 in [1, 2]", True),
    ("true in [1]", False),
    ("'a' in {a: 1}", True),
    ("'a' not in {'a': 1}", False),
    ("'abc' contains 'b'", True),
    ("'abc' not startsWith 'b'", True),
    ("'abc' endsWith 'bc'", True),
    ("'abc' matches '^a.c$'", True),
    ("name() matches '^' + 'x'", True),
    ("1..3", [1, 2, 3]),
    ("3..1", []),
    ("1 > 2 ? 'yes' : 'no'", "no"),
    ("true ? false ? 1 : 2 : 3", 2),
    ("anything ?? 'default'", "default"),
    ("anything?.a?.b", None),
    ("{a: {b: 2}}.a.b", 2),
    ("{'a': 1}['a']", 1),
    ("{('a' + 'b'): 1}.ab", 1),
    ("{}.nothing", None),
    ("[1, 2, 3][-1]", 3),
    ("[1, 2, 3][1:]", [2, 3]),
    ("'abc'[:2]", "ab"),
    ("let x = 5; let y = x + 1; x * y", 30),
    ("v + 1", 8),
    ("name()", "x.test."),
    ("size() > 3", True),
    ("type() == 'A'", True),
    ("incidr('a', 'a')", True),
    ("all([1, 2], {# > 0})", True),
    ("any(split(name(), '.'), # == 'test')", True),
    ("none([1], # > 1)", True),
    ("one([1, 2], # > 1)", True),
    ("filter([1, 2, 3], # != 2)", [1, 3]),
    ("map([1, 2], # * 2)", [2, 4]),
    ("map([{a: 1}], .a)", [1]),
    ("map(['a', 'b'], string(#index) + #)", ["0a", "1b"]),
    ("count([1, 2, 3], # % 2 == 1)", 2),
    ("count([true, false])", 1),
    ("find([1, 2, 3], # > 1)", 2),
    ("find([1], # > 1)", None),
    ("findIndex([1, 2, 3], # > 1)", 1),
    ("findLast([1, 2, 3], # > 1)", 3),
    ("findLastIndex([1, 2, 3], # < 1)", -1),
    ("sum([1, 2.5])", 3.5),
    ("sum(['a', 'bc'], len(#))", 3),
    ("reduce([1, 2, 3], #acc + #)", 6),
    ("reduce([1, 2], #acc + #, 10)", 13),
    ("groupBy(['a', 'bb', 'c'], string(len(#)))", {"1": ["a", "c"], "2": ["bb"]}),
    ("countBy(['a', 'bb', 'c'], string(len(#)))", {"1": 2, "2": 1}),
    ("sortBy([3, 1, 2], -#)", [3, 2, 1]),
    ("map(1..2, {let y = #; count(1..3, # > y)})", [2, 1]),
    ("name() | split('.') | first()", "x"),
    ("1 /* one */ + // and\n 2", 3),
]  # fmt: skip

MISTAKES = [
    ("", "unexpected token EOF"),
    ("1 +", "unexpected token EOF (1:3)\n | 1 +\n | ..^"),
    ("(true", "unexpected token EOF (1:5)\n | (true\n | ....^"),
    ("frob()", "unknown name frob (1:1)\n | frob()\n | ^"),
    ("1 +\n  frob", "unknown name frob (2:3)\n |   frob\n | ..^"),
    ("1 + 'a'", "invalid operation: + (mismatched types int and string) (1:3)\n | 1 + 'a'\n | ..^"),
    (
        "name == 'a'",
        "invalid operation: == (mismatched types func() string and string) (1:6)\n | name == 'a'\n | .....^",
    ),
    ("incidr('a')", "not enough arguments to call incidr (1:1)\n | incidr('a')\n | ^"),
    ("name(1)", "too many arguments to call name (1:1)\n | name(1)\n | ^"),
    (
        "incidr('a', 1)",
        "cannot use int as argument (type string) to call incidr (1:13)\n | incidr('a', 1)\n | ............^",
    ),
    ("'a' matches '('", "error parsing regexp: missing closing ): `(` (1:5)\n | 'a' matches '('\n | ....^"),
    ("not 1", "invalid operation: not (mismatched type int) (1:1)\n | not 1\n | ^"),
    ("-'a'", "invalid operation: - (mismatched type string) (1:1)\n | -'a'\n | ^"),
    ("1 ? 2 : 3", "non-bool expression (type int) used as condition (1:3)\n | 1 ? 2 : 3\n | ..^"),
    ("len(1)", "invalid argument for len (type int) (1:1)\n | len(1)\n | ^"),
    ("all(1, true)", "builtin all takes only array (got int) (1:1)\n | all(1, true)\n | ^"),
    ("all([1], 1)", "predicate should return boolean (got int) (1:1)\n | all([1], 1)\n | ^"),
    ("all([1])", "not enough arguments to call all (1:1)\n | all([1])\n | ^"),
    ("# > 1", "cannot use pointer accessor outside predicate (1:1)\n | # > 1\n | ^"),
    ("'a", "literal not terminated (1:1)\n | 'a\n | ^"),
    ("1 @ 2", "unrecognized character: U+0040 '@' (1:3)\n | 1 @ 2\n | ..^"),
    ("1 2", 'unexpected token Number("2") (1:3)\n | 1 2\n | ..^'),
    ("99999999999999999999", "integer literal is too large (1:1)\n | 99999999999999999999\n | ^"),
    ("let name = 1; 2", "cannot redeclare name (1:1)\n | let name = 1; 2\n | ^"),
    ("'a'.b", "type string has no field b (1:5)\n | 'a'.b\n | ....^"),
    ("[1]['a']", "cannot use string to get an element from array (1:4)\n | [1]['a']\n | ...^"),
]

FAILURES = [
    ("[1][5]", "index out of range: 5 (array length is 1)"),
    ("anything.a", "cannot fetch a from nil"),
    ("1 % 0", "integer divide by zero"),
    ("1..100000", "list of more than 1000 elements"),
    ("repeat('ab', 100000)", "text of more than 4096 characters"),
    ("map(1..100, {let y = #; count(1..90, # > y)})", "more than 4000 units of work"),
    ("map(1..100, repeat('ab', 2000))", "more than 4000 units of work"),
    ("let x = map(1..30, 1..30); [x, x]", "list of more than 1000 elements"),
    ("reduce(1..60, [#acc, #acc], [1])", "list of more than 1000 elements"),
    ("reduce([], #acc + #)", "reduce of empty array with no initial value"),
    ("any([1], anything)", "a truth value is wanted, found nil"),
    ("'a' matches repeat('a', 200)", "a computed pattern has at most 100 characters"),
]


class CompilerTests(SynchronousTestCase):
    """What expressions are worth."""

    def test_values(self) -> None:
        """Each part of the language means what expr-lang says."""
        for text, wanted in VALUES:
            value = compile_expression(text, FUNCTIONS, VARIABLES).evaluate("x.test.", {"v": 7, "anything": None})
            self.assertEqual((value, type(value)), (wanted, type(wanted)), text)

    def test_mistakes(self) -> None:
        """What does not fit together is refused before anything runs, with the place."""
        for text, wanted in MISTAKES:
            error = self.assertRaises(ExpressionSyntaxError, compile_expression, text, FUNCTIONS, VARIABLES)
            self.assertEqual(str(error), wanted, text)

    def test_failures(self) -> None:
        """What cannot be computed, or takes too much, fails when it is carried out."""
        for text, wanted in FAILURES:
            expression = compile_expression(text, FUNCTIONS, VARIABLES)
            error = self.assertRaises(ExpressionError, expression.evaluate, "x.test.", {"v": 7, "anything": None})
            self.assertEqual(str(error), wanted, text)

    def test_types(self) -> None:
        """The type of an expression is known where its parts tell it."""
        for text, wanted in (
            ("v + 1", "int"),
            ("v / 1", "float64"),
            ("anything + 1", "any"),
            ("name()", "string"),
            ("[1]", "array"),
        ):
            self.assertEqual(compile_expression(text, FUNCTIONS, VARIABLES).type, wanted, text)

    def test_depth(self) -> None:
        """An expression that nests too deep, or is too long, is refused."""
        for text in (
            "(" * 500 + "1" + ")" * 500,
            "-" * 500 + "1",
            "[" * 500,
            "1" + "+1" * 3000,
            "x ? 1 : " * 500 + "1",
        ):
            self.assertRaises(ExpressionSyntaxError, compile_expression, text, FUNCTIONS)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(
        st.lists(
            st.sampled_from(
                [
                    "1",
                    "0",
                    "2.5",
                    "'a'",
                    "name()",
                    "v",
                    "anything",
                    "+",
                    "-",
                    "*",
                    "/",
                    "%",
                    "**",
                    "==",
                    "<",
                    "in",
                    "..",
                    "?",
                    ":",
                    "(",
                    ")",
                    "[",
                    "]",
                    "{",
                    "}",
                    ",",
                    "#",
                    ".",
                    "and",
                    "not",
                    "len(",
                    "map(",
                    "filter(",
                    "split(",
                    "let",
                    "x",
                    "=",
                    ";",
                ]
            ),
            max_size=12,
        )
    )
    def test_any_words(self, words: list[str]) -> None:
        """Whatever words come together, an expression is refused, fails or has a value."""
        try:
            compile_expression(" ".join(words), FUNCTIONS, VARIABLES).evaluate("x.test.", {"v": 7, "anything": None})
        except (ExpressionSyntaxError, ExpressionError) as error:
            self.assertTrue(str(error))
