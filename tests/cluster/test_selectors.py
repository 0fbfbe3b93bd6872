"""Label selectors."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.selectors import SelectorError, parse

MATCHING = [
    ("", {}, True),
    ("app=web", {"app": "web"}, True),
    ("app==web", {"app": "web"}, True),
    ("app=web", {"app": "db"}, False),
    ("app=web", {}, False),
    ("app!=web", {"app": "db"}, True),
    ("app!=web", {}, True),
    ("app!=web", {"app": "web"}, False),
    ("app", {"app": ""}, True),
    ("app", {}, False),
    ("!app", {}, True),
    ("! app", {"app": "web"}, False),
    ("app in (web, db)", {"app": "db"}, True),
    ("app in (web,db)", {"app": "x"}, False),
    ("app in ()", {"app": ""}, True),
    ("app in (,a)", {"app": ""}, True),
    ("app notin (web)", {"app": "db"}, True),
    ("app notin (web)", {}, True),
    ("app notin (web)", {"app": "web"}, False),
    ("app=web,tier!=back", {"app": "web"}, True),
    ("app=web,tier!=back", {"app": "web", "tier": "back"}, False),
    ("app=", {"app": ""}, True),
    ("app=,x", {"app": "", "x": "1"}, True),
    ("kubernetes.io/name=a.b_c-d", {"kubernetes.io/name": "a.b_c-d"}, True),
    ("in=in", {"in": "in"}, True),
    ("n>5", {"n": "6"}, True),
    ("n>5", {"n": "5"}, False),
    ("n<5", {"n": "-1"}, True),
    ("n<5", {"n": "many"}, False),
    ("n<5", {}, False),
]

BROKEN = [
    ("a in b", "unable to parse requirement: found 'b' expected: '('"),
    ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ("=a", "unable to parse requirement: found '=', expected: identifier"),
    ("a,", "found '', expected: identifier after ','"),
    ("a,,b", "found ',', expected: identifier after ','"),
    ("!", "unable to parse requirement: found '', expected: identifier"),
    ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
    ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
    ("a is b", "unable to parse requirement: found 'is', expected: in, notin, =, ==, !=, gt, lt"),
    ("a=(", "unable to parse requirement: found '(', expected: identifier"),
    ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
]


class SelectorTests(SynchronousTestCase):
    """What selectors select, and what is none."""

    def test_matching(self) -> None:
        """Each form of requirement."""
        for text, labels, expected in MATCHING:
            self.assertIs(parse(text).matches(labels), expected, f"{text!r} on {labels}")

    def test_texts_of_errors(self) -> None:
        """The words that operators know, with the whole selector in front."""
        for text, reason in BROKEN:
            error = self.assertRaises(SelectorError, parse, text)
            self.assertEqual(str(error), f'couldn\'t parse the selector string "{text}": {reason}')

    def test_keys_and_values_are_checked(self) -> None:
        """What could never be a label is refused, not silently matched by nothing."""
        for text in (
            "-a=b",
            "a/b/c=d",
            "/a=b",
            "Upper/a=b",
            "a=" + "v" * 64,
            "k" * 64,
            "a=-v",
            "n>x",
            "n<99999999999999999999",
        ):
            self.assertRaises(SelectorError, parse, text)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.text(alphabet='ab!=<>,() in"\\\u00e9\n', max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text is a selector or a SelectorError."""
        try:
            selector = parse(text)
        except SelectorError:
            return
        selector.matches({"a": "b"})
