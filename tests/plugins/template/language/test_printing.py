"""Tests of :mod:`kdns.plugins.template.language.printing`: the forms are those that Go's fmt has."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.template.language.errors import CallFailed
from kdns.plugins.template.language.printing import formatted, printed, printed_line, shown
from kdns.plugins.template.language.values import NO_VALUE, GoInt, Struct, TextMap, Value, is_true, type_name

SHOWN: list[tuple[Value, str]] = [
    ("a", "a"), (1, "1"), (GoInt(7, "uint16"), "7"), (True, "true"), (None, "<nil>"), (NO_VALUE, "<no value>"),
    (1.5, "1.5"), (1.0, "1"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (1e-5, "1e-05"), (0.0001, "0.0001"),
    (float("inf"), "+Inf"), (float("nan"), "NaN"),
    (["a", 1, ["b"]], "[a 1 [b]]"), ({"b": 1, "a": "x"}, "map[a:x b:1]"), (TextMap({"a": "b"}), "map[a:b]"),
    (Struct("*t", {"A": lambda: 1, "B": lambda: "x"}), "&{1 x}"),
    ([Struct("t", {"A": lambda: 1})], "[{1}]"),
]  # fmt: skip

FORMS: list[tuple[str, list[Value], str]] = [
    (
        "%s-%q-%v-%x-%5s|%-5s|%05d|%c|%t|%%",
        ["a", "b", 3, 255, "r", "l", 42, 65, True],
        'a-"b"-3-ff-    r|l    |00042|A|true|%',
    ),
    ("%02x%02X", [10, 171], "0aAB"),
    ("%x %X % x", ["hi", "hi", "hi"], "6869 6869 68 69"),
    ("%#x %#o %O %#b", [255, 8, 8, 5], "0xff 010 0o10 0b101"),
    ("%+d % d %d", [5, 5, -5], "+5  5 -5"),
    ("%5d|%-5d|%05d|%5.3d|%.0d|", [42, 42, -42, 7, 0], "   42|42   |-0042|  007||"),
    ("%b %o", [5, 8], "101 10"),
    ("%U", [0x1F600], "U+1F600"),
    ("%q", [65], "'A'"),
    ("%q %+q %#q", ['a"\n\x01', "\u00e9", "a"], '"a\\"\\n\\x01" "\\u00e9" `a`'),
    ("%.2s|%5.1s|", ["abc", "xyz"], "ab|    x|"),
    ("%f %.2f %8.2f|%e %g", [1.5, 2.345, 2.5, 1500.0, 0.1], "1.500000 2.35     2.50|1.500000e+03 0.1"),
    ("%T %T %T %T", [1, "a", GoInt(1, "uint16"), ["a"]], "int string uint16 []string"),
    ("%v %v %v", [None, True, ["a", 1]], "<nil> true [a 1]"),
    ("%s %d", [["a", "b"], [1, 2]], "[a b] [1 2]"),
    ("%*d|%-*d|", [5, 42, 5, 42], "   42|42   |"),
    ("%[2]d %[1]d", [1, 2], "2 1"),
    ("%d", ["x"], "%!d(string=x)"),
    ("%s", [3], "%!s(int=3)"),
    ("%t", [1], "%!t(int=1)"),
    ("%s", [None], "%!s(<nil>)"),
    ("%z", [1], "%!z(int=1)"),
    ("%d", [], "%!d(MISSING)"),
    ("a", ["b", 1], "a%!(EXTRA string=b, int=1)"),
    ("%", [], "%!(NOVERB)"),
    ("%[5]d", [1], "%!d(BADINDEX)"),
    ("%*d", ["x", 1], "%!(BADWIDTH)1"),
    ("%99999999d", [1], "%!(BADWIDTH)1"),
]

SIMPLE_VALUES = st.one_of(st.integers(), st.text(max_size=5), st.floats(), st.booleans(), st.none())


class PrintingTests(SynchronousTestCase):
    """Values as text."""

    def test_values(self) -> None:
        """Values print as Go prints them."""
        for value, wanted in SHOWN:
            self.assertEqual(shown(value), wanted)

    def test_print(self) -> None:
        """A space stands between two values neither of which is text; println has one between all."""
        self.assertEqual(printed([1, 2, "a", "b", 3]), "1 2ab3")
        self.assertEqual(printed_line([1, "a", "b"]), "1 a b\n")

    def test_forms(self) -> None:
        """Directives of printf, with flags, widths and precisions, and what it says to those that do not fit."""
        for form, values, wanted in FORMS:
            self.assertEqual(formatted(form, values), wanted, form)

    def test_length(self) -> None:
        """A text does not become longer than any message."""
        self.assertRaises(CallFailed, formatted, "%60000d%60000d", [1, 2])
        self.assertRaises(CallFailed, printed, ["a" * 40000, "b" * 40000])

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(
        st.text(alphabet="%+-# 0123456789.*[]vTtbcdoqxXUeEfFgGspz\u00e9", max_size=20),
        st.lists(SIMPLE_VALUES, max_size=4),
    )
    def test_any_form(self, form: str, values: list[Value]) -> None:
        """Any form with any values gives a text, or is too long."""
        try:
            self.assertIsInstance(formatted(form, values), str)
        except CallFailed:
            pass

    def test_types(self) -> None:
        """Values have the names of Go's types."""
        types: list[tuple[Value, str]] = [
            (None, "<nil>"),
            (TextMap(), "map[string]string"),
            ({}, "map[string]interface {}"),
            ([1], "[]interface {}"),
            (1.5, "float64"),
        ]
        for value, wanted in types:
            self.assertEqual(type_name(value), wanted)

    def test_truth(self) -> None:
        """Zero, nil and what is empty or missing are false."""
        falses: list[Value] = [0, "", [], {}, None, NO_VALUE, False, 0.0]
        for value in falses:
            self.assertFalse(is_true(value), repr(value))
        truths: list[Value] = [1, "0", [0], {"a": 0}, True, Struct("t", {})]
        for value in truths:
            self.assertTrue(is_true(value), repr(value))
