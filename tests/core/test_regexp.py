"""Tests of :mod:`kdns.core.regexp`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.regexp import MAX_LENGTH, BadRegexp, Regexp, RegexpTooLong

MEANINGS: list[tuple[str, list[str], list[str]]] = [
    # expression, texts it finds itself in, texts it does not
    ("", ["", "x"], []),
    ("^read udp .* i/o timeout$", ["read udp 10.0.0.2:4->8.8.8.8:53: i/o timeout"], ["x read udp a i/o timeout", "timeout"]),
    ("a.c", ["abc", "xacc!a\tc"], ["a\nc", "ac"]),
    ("(?s)a.c", ["a\nc"], ["ac"]),
    ("^b$", ["b"], ["b\n", "a\nb"]),
    ("(?m)^b$", ["a\nb\nc"], ["ab"]),
    ("(?i)web", ["WEB", "wEb"], ["wb"]),
    ("a(?i)b|c", ["aB", "C"], ["AB"]),
    ("(a(?i)b)c", ["aBc"], ["aBC"]),
    ("(?i:a)b", ["Ab"], ["AB"]),
    ("(?i)a(?-i)b", ["Ab"], ["AB"]),
    ("x*?y", ["y", "xxy"], ["x"]),
    ("^(?U)a+", ["aa"], ["b"]),
    ("a{2}", ["aa"], ["aba"]),
    ("^a{1,2}$", ["a", "aa"], ["aaa", ""]),
    ("a{,2}", ["a{,2}"], ["aa"]),
    ("a{x", ["a{x"], ["a"]),
    (r"^\d+$", ["42"], ["٤٢", ""]),
    (r"\D", ["a"], ["1"]),
    (r"^\s$", [" ", "\t"], ["\v", "\u00a0"]),
    (r"^\w$", ["a", "_"], ["é", "-"]),
    (r"\bweb\b", ["a web b"], ["webs"]),
    (r"\Aa\z", ["a"], ["a\n", "ba"]),
    (r"\Qa.b*\E", ["a.b*"], ["axb"]),
    (r"^\Qab\E+$", ["abbb"], ["abab"]),
    (r"\Qa.b", ["a.b"], ["axb"]),
    (r"\x41\x{42}\103\t", ["ABC\t"], ["ABC"]),
    (r"\.\-\/", [".-/"], ["a-/"]),
    ("[a-c]", ["b"], ["d", "-"]),
    ("[^a-c]", ["d", "\n"], ["b"]),
    ("[]a]", ["]", "a"], ["b"]),
    ("[^]a]", ["b"], ["]"]),
    ("[a-]", ["-"], ["b"]),
    ("[[]", ["["], ["]"]),
    ("[a&&b]", ["&"], ["c"]),
    (r"[\d.]", ["7", "."], ["a"]),
    (r"[^\D]", ["7"], ["a"]),
    ("[[:alpha:]_]", ["x", "_"], ["1"]),
    ("[[:^digit:]]", ["x"], ["1"]),
    (r"(?i)[a-c]", ["B"], ["D"]),
    ("(?P<first>a)(?<second>b)", ["ab"], ["a"]),
    ("(?P<1st>a)", ["a"], ["b"]),
    ("(?:ab)+c", ["ababc"], ["c"]),
    ("(|a)b", ["b", "ab"], ["a"]),
    ("(?:^)*a", ["a"], ["b"]),
]  # fmt: skip

ERRORS = [
    ("[", "missing closing ]: `[`"),
    ("a[bc", "missing closing ]: `[bc`"),
    ("[b-a]", "invalid character class range: `b-a`"),
    ("[[:frob:]]", "invalid character class range: `[:frob:]`"),
    ("(", "missing closing ): `(`"),
    ("a(b", "missing closing ): `a(b`"),
    ("(?", "invalid or unsupported Perl syntax: `(?`"),
    ("a)", "unexpected ): `a)`"),
    ("*", "missing argument to repetition operator: `*`"),
    ("a|+", "missing argument to repetition operator: `+`"),
    ("(?i)*", "missing argument to repetition operator: `*`"),
    ("a**", "invalid nested repetition operator: `**`"),
    ("a*+", "invalid nested repetition operator: `*+`"),
    ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
    ("a{1001}", "invalid repeat count: `{1001}`"),
    ("a{2,1}", "invalid repeat count: `{2,1}`"),
    ("\\", "trailing backslash at end of expression: ``"),
    (r"(a)\1", r"invalid escape sequence: `\1`"),
    (r"\q", r"invalid escape sequence: `\q`"),
    (r"[\q]", r"invalid escape sequence: `\q`"),
    (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
    ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
    ("a(?!b)", "invalid or unsupported Perl syntax: `(?!`"),
    ("(?<=a)b", "invalid or unsupported Perl syntax: `(?<=`"),
    ("(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
    ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
]


class RegexpTests(SynchronousTestCase):
    """What expressions find."""

    def test_meaning(self) -> None:
        """An expression means what Go says, where Python's own syntax differs too."""
        for text, found, missed in MEANINGS:
            regexp = Regexp(text)
            for sample in found:
                self.assertTrue(regexp.found_in(sample), (text, sample))
                self.assertIsNotNone(regexp.search(sample), (text, sample))
            for sample in missed:
                self.assertFalse(regexp.found_in(sample), (text, sample))
                self.assertIsNone(regexp.search(sample), (text, sample))

    def test_groups(self) -> None:
        """Groups keep their names and numbers; one that took no part is empty."""
        regexp = Regexp("(?P<a>x)(y)(?:z)(?<b>w)(v)?")
        self.assertEqual(regexp.search("-xyzw-"), ("xyzw", "x", "y", "w", ""))
        self.assertEqual(regexp.group_names, {"a": 1, "b": 3})
        self.assertEqual(regexp.group_count, 4)
        self.assertLess(regexp.size, Regexp("(x{10}){10}").size)

    def test_lazy(self) -> None:
        """The flag U swaps greedy and lazy."""
        for text, wanted in (("a+?", "a"), ("a+", "aaa"), ("(?U)a+", "a"), ("(?U)a+?", "aaa")):
            self.assertEqual(Regexp(text).search("aaa"), (wanted,), text)

    def test_beyond_ascii(self) -> None:
        """Text is matched character by character, and text that is no Unicode is matched too."""
        self.assertEqual(Regexp("^.(.)$").search("\u00e9\u4e16"), ("\u00e9\u4e16", "\u4e16"))
        self.assertTrue(Regexp(r"^\p{Greek}$").found_in("\u03b1"))
        self.assertTrue(Regexp(r"^x.y$").found_in("x\udc80y"))
        self.assertRaises(BadRegexp, Regexp, "x\udc80")

    def test_errors(self) -> None:
        """What RE2 does not take is refused in Go's words."""
        for text, wanted in ERRORS:
            error = self.assertRaises(BadRegexp, Regexp, text)
            self.assertEqual(str(error), f"error parsing regexp: {wanted}", text)

    def test_bounds(self) -> None:
        """An expression that is too long or too large is refused; depth alone is no harm."""
        error = self.assertRaises(RegexpTooLong, Regexp, "\u00e9" * (MAX_LENGTH // 2) + "a")
        self.assertEqual(str(error), "regex pattern too long: 10001 > 10000")
        Regexp("a" * MAX_LENGTH)
        self.assertTrue(Regexp("(" * 4000 + ")" * 4000).found_in("x"))
        error = self.assertRaises(BadRegexp, Regexp, r"\pL{1000}")
        self.assertEqual(str(error), r"error parsing regexp: expression too large: `\pL{1000}`")

    def test_linear(self) -> None:
        """An expression that takes a backtracking engine longer than the universe lasts is answered, in any length of text."""
        regexp = Regexp(r"^(([a-z])+.)+[A-Z]([a-z])+$")
        self.assertFalse(regexp.found_in("a" * 1000))
