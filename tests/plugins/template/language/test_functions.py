"""Tests of :mod:`kdns.plugins.template.language.functions`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.template.language.errors import CallFailed
from kdns.plugins.template.language.functions import FUNCTIONS
from kdns.plugins.template.language.values import NO_VALUE, TextMap, Value

CALLS: list[tuple[str, list[Value], Value]] = [
    ("eq", [1, 1], True), ("eq", ["a", "b", "a"], True), ("eq", [None, None], True), ("eq", [None, 1], False),
    ("eq", [True, False], False),
    ("ne", [1, 2], True), ("lt", [1, 2], True), ("le", [2, 2], True), ("gt", ["b", "a"], True),
    ("ge", [1.5, 1.5], True), ("gt", [2, 2], False),
    ("not", [""], True), ("len", ["ab"], 2), ("len", ["\u00e9"], 2), ("len", [["a"]], 1), ("len", [{"a": 1}], 1),
    ("index", [["a", "b"], 1], "b"), ("index", [[["a"]], 0, 0], "a"), ("index", ["ab", 1], 98), ("index", [{"a": 1}, "a"], 1),
    ("index", [{"a": 1}, "b"], NO_VALUE), ("index", [TextMap({"a": "x"}), "b"], ""), ("index", ["ab"], "ab"),
    ("slice", ["abcd", 1, 3], "bc"), ("slice", ["abcd", 2], "cd"), ("slice", ["abcd"], "abcd"), ("slice", [["a", "b"], 1], ["b"]),
    ("print", [1, 2], "1 2"), ("printf", ["%d", 1], "1"), ("println", ["a"], "a\n"),
    ("html", ["<a href='x'>&\""], "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"), ("html", [1, 2], "1 2"),
    ("js", ["it's <\\\n"], "it\\'s \\u003C\\\\\\u000A"), ("urlquery", ["a b&c~"], "a+b%26c~"),
    ("parseInt", ["ff", 16, 32], 255), ("parseInt", ["0x1f", 0, 64], 31), ("parseInt", ["017", 0, 8], 15), ("parseInt", ["z", 36, 64], 35),
]  # fmt: skip

FAILURES: list[tuple[str, list[Value], str]] = [
    ("eq", [1], "missing argument for comparison"),
    ("eq", [1, "1"], "incompatible types for comparison"),
    ("eq", [[1], [1]], "non-comparable type"),
    ("lt", [1, "2"], "incompatible types for comparison"),
    ("lt", [True, False], "invalid type for comparison"),
    ("lt", [None, 1], "invalid type for comparison"),
    ("lt", [1], "wrong number of args: want 2 got 1"),
    ("len", [1], "len of type int"),
    ("len", [None], "len of nil pointer"),
    ("index", [], "wrong number of args: want at least 1 got 0"),
    ("index", [None], "index of untyped nil"),
    ("index", [["a"], -1], "index out of range: -1"),
    ("index", [["a"], "0"], "cannot index slice/array with type string"),
    ("index", [["a"], None], "cannot index slice/array with nil"),
    ("index", [{"a": 1}, 0], "value has type int; should be string"),
    ("index", [1, 0], "can't index item of type int"),
    ("slice", ["ab", 3], "index out of range: 3"),
    ("slice", ["ab", 2, 1], "invalid slice index: 2 > 1"),
    ("slice", ["ab", 0, 1, 2], "cannot 3-index slice a string"),
    ("slice", [1], "can't slice item of type int"),
    ("printf", [], "wrong number of args: want at least 1 got 0"),
    ("printf", [1], "wrong type for value; expected string; got int"),
    ("parseInt", ["gg", 16, 32], 'strconv.ParseUint: parsing "gg": invalid syntax'),
    ("parseInt", ["", 10, 32], 'strconv.ParseUint: parsing "": invalid syntax'),
    ("parseInt", ["-1", 10, 32], 'strconv.ParseUint: parsing "-1": invalid syntax'),
    ("parseInt", ["0x1", 16, 32], 'strconv.ParseUint: parsing "0x1": invalid syntax'),
    ("parseInt", ["1_0", 10, 32], 'strconv.ParseUint: parsing "1_0": invalid syntax'),
    ("parseInt", ["256", 10, 8], 'strconv.ParseUint: parsing "256": value out of range'),
    ("parseInt", ["1", 1, 8], 'strconv.ParseUint: parsing "1": invalid base 1'),
    ("parseInt", ["1", 10, 65], 'strconv.ParseUint: parsing "1": invalid bit size 65'),
    ("parseInt", [1, 10, 8], "wrong type for value; expected string; got int"),
    ("parseInt", ["1", "10", 8], "wrong type for value; expected int; got string"),
]


class FunctionTests(SynchronousTestCase):
    """The functions of templates."""

    def test_calls(self) -> None:
        """Each gives what Go's gives."""
        for name, args, wanted in CALLS:
            function = FUNCTIONS[name]
            assert function is not None
            self.assertEqual(function(args), wanted, (name, args))

    def test_failures(self) -> None:
        """What they do not take is refused in Go's words."""
        for name, args, wanted in FAILURES:
            function = FUNCTIONS[name]
            assert function is not None
            self.assertEqual(str(self.assertRaises(CallFailed, function, args)), wanted, (name, args))
