"""Tests of :mod:`kdns.core.expression.builtins`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression import ExpressionError, Value, compile_expression

VALUES: list[tuple[str, Value]] = [
    ("trim('  a ')", "a"),
    ("trim('__a__', '_')", "a"),
    ("trimPrefix('abc', 'a')", "bc"),
    ("trimSuffix('abc', 'c')", "ab"),
    ("upper('a') + lower('B')", "Ab"),
    ("split('a.b.c', '.')", ["a", "b", "c"]),
    ("split('a.b.c', '.', 2)", ["a", "b.c"]),
    ("split('abc', '')", ["a", "b", "c"]),
    ("splitAfter('a.b', '.')", ["a.", "b"]),
    ("replace('a-b-c', '-', '.')", "a.b.c"),
    ("repeat('ab', 2)", "abab"),
    ("join(['a', 'b'], '-') + join(['c'])", "a-bc"),
    ("indexOf('abcb', 'b')", 1),
    ("lastIndexOf('abcb', 'b')", 3),
    ("hasPrefix('ab', 'a') && hasSuffix('ab', 'b')", True),
    ("len('abc') + len([1]) + len({a: 1})", 5),
    ("int('12') + int(3.9)", 15),
    ("float('1.5') + float(1)", 2.5),
    ("string(1.0) + string(true) + string(nil) + string([1, 'a']) + string({b: 1})", "1true<nil>[1 a]map[b:1]"),
    ("string(1e21) + string(0.00001) + string(100000.0)", "1e+211e-05100000"),
    ("abs(-3)", 3),
    ("ceil(1.2) + floor(1.8) + round(2.5) + round(-2.5)", 3.0),
    ("max(1, [3, 2]) - min(4, 2)", 1),
    ("first([1, 2]) + last([1, 2])", 3),
    ("first([])", None),
    ("take([1, 2, 3], 2)", [1, 2]),
    ("keys({b: 1, a: 2})", ["a", "b"]),
    ("values({b: 1, a: 2})", [2, 1]),
    ("sort([3, 1])", [1, 3]),
    ("sort([1, 3], 'desc')", [3, 1]),
    ("reverse([1, 2])", [2, 1]),
    ("uniq([1, 1, 'a', [1], [1]])", [1, "a", [1]]),
    ("concat([1], [2], [3])", [1, 2, 3]),
    ("flatten([1, [2, [3]]])", [1, 2, 3]),
    ("get({a: 1}, 'a')", 1),
    ("get([1], 5)", None),
    ("bitand(6, 3)", 2),
    ("bitor(6, 3)", 7),
    ("bitxor(6, 3)", 5),
    ("bitnand(6, 3)", 4),
    ("bitnot(0)", -1),
    ("bitshl(1, 4) + bitshl(1, 70)", 16),
    ("bitshr(-16, 2)", -4),
    ("bitushr(-1, 60)", 15),
    ("toJSON({a: [1]})", '{\n  "a": [\n    1\n  ]\n}'),
    ("fromJSON('{\"a\": 1}').a", 1.0),
    ("toBase64('a') + fromBase64('YQ==')", "YQ==a"),
]

FAILURES = [
    "int('x')",
    "int('1' + repeat('0', 50))",
    "float('x')",
    "sort([1, 'a'])",
    "sort([1], 'up')",
    "max([])",
    "bitshl(1, -1)",
    "fromJSON('{')",
    "fromBase64('*')",
    "repeat('a', -1)",
    "join([1])",
    "replace(repeat('a', 1000), 'a', repeat('b', 1000))",
    "fromJSON(repeat('[', 4000))",
]


class BuiltinTests(SynchronousTestCase):
    """The functions that every expression has."""

    def test_values(self) -> None:
        """Each gives what expr-lang's gives."""
        for text, wanted in VALUES:
            value = compile_expression(text, {}).evaluate(None)
            self.assertEqual((value, type(value)), (wanted, type(wanted)), text)

    def test_failures(self) -> None:
        """What they do not take fails cleanly."""
        for text in FAILURES:
            self.assertRaises(ExpressionError, compile_expression(text, {}).evaluate, None)
