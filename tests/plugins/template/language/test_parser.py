"""Tests of :mod:`kdns.plugins.template.language.parser`, and of its lexer and literals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.template.language import Struct, TemplateError, TemplateSyntaxError, parse

NORMAL_FORMS = [
    # as written, as Go prints it
    ("plain", "plain"),
    ("{{ .Name }} 60 IN A x", "{{.Name}} 60 IN A x"),
    ("{{.}}{{ $ }}{{ $.Name }}", "{{.}}{{$}}{{$.Name}}"),
    ("a {{- .B -}}\n c", "a{{.B}}c"),
    ("a {{- /* no */ -}} b", "ab"),
    ("{{/* no */}}b", "b"),
    ('{{ index  .Match   1|printf "%s" }}', '{{index .Match 1 | printf "%s"}}'),
    ("{{ (index .Match 1).X }}", "{{(index .Match 1).X}}"),
    ("{{ len (index .Match (len .X)) }}", "{{len (index .Match (len .X))}}"),
    ("{{ $x := 1 }}{{ $x = 2 }}{{ $x }}", "{{$x := 1}}{{$x = 2}}{{$x}}"),
    ("{{ $x := 1 }}{{ print $x }}", "{{$x := 1}}{{print $x}}"),
    ("{{ if .A }}a{{ else if .B }}b{{ else }}c{{ end }}", "{{if .A}}a{{else}}{{if .B}}b{{else}}c{{end}}{{end}}"),
    ("{{ with $y := .A }}{{ $y }}{{ else with .B }}b{{ end }}", "{{with $y := .A}}{{$y}}{{else}}{{with .B}}b{{end}}{{end}}"),
    ("{{ range $i , $e := .A }}{{ break }}{{ else }}x{{ end }}", "{{range $i, $e := .A}}{{break}}{{else}}x{{end}}"),
    ("{{ range .A }}{{ continue }}{{ end }}", "{{range .A}}{{continue}}{{end}}"),
    ('{{ define "t" }}[{{ . }}]{{ end }}{{ template "t" . }}', '{{template "t" .}}'),
    ('{{ template "t" }}{{ block "t" .A }}x{{ end }}', '{{template "t"}}{{template "t" .A}}'),
    ("{{ print 'a' 0x1F -1 1.5e3 true nil `r` }}", "{{print 'a' 0x1F -1 1.5e3 true nil `r`}}"),
    ("{{\n.Name\n}}", "{{.Name}}"),
    ("}}", "}}"),
]  # fmt: skip

MISTAKES = [
    ("{{ .Name", 1, 1, "unclosed action"),
    ("a\n b{{ .Name", 2, 3, "unclosed action"),
    ("{{ frob .Name }}", 1, 4, 'function "frob" not defined'),
    ("{{ if .Name }}x", 1, 16, "unexpected EOF"),
    ("{{ end }}", 1, 4, "unexpected {{end}}"),
    ("{{ else }}", 1, 4, "unexpected {{else}}"),
    ("{{ if }}x{{ end }}", 1, 7, "missing value for if"),
    ("{{ }}", 1, 4, "missing value for command"),
    ("{{ if .A }}{{ else }}{{ else }}{{ end }}", 1, 25, "expected end; found {{else}}"),
    ("{{ $x }}", 1, 4, 'undefined variable "$x"'),
    ("{{ $x = 1 }}", 1, 4, 'undefined variable "$x"'),
    ("{{ if $x := 1 }}{{ end }}{{ $x }}", 1, 29, 'undefined variable "$x"'),
    ("{{ break }}", 1, 4, "{{break}} outside {{range}}"),
    ("{{ range .A }}{{ define `x` }}{{ end }}", 1, 18, "unexpected {{define}}"),
    ("{{ define `x` }}{{ end }}{{ define `x` }}{{ end }}", 1, 36, 'multiple definition of template "x"'),
    ("{{ template x }}", 1, 13, 'unexpected "x" in template clause'),
    ("{{ .A | }}", 1, 7, "missing command after |"),
    ("{{ .A | 1 }}", 1, 9, "non executable command in pipeline stage 2"),
    ("{{ 1 2 }}", 1, 4, "can't give argument to non-function 1"),
    ("{{ nil }}", 1, 4, "nil is not a command"),
    ("{{ (.A }}", 1, 8, "unclosed left paren"),
    ("{{ .A) }}", 1, 6, "unexpected right paren"),
    ('{{ "a }}', 1, 4, "unterminated quoted string"),
    ("{{ `a }}", 1, 4, "unterminated raw quoted string"),
    ("{{ 'a }}", 1, 4, "unterminated character constant"),
    ("{{ 'ab' }}", 1, 4, "malformed character constant"),
    ('{{ "\\q" }}', 1, 4, "invalid syntax"),
    ("{{ 1x }}", 1, 4, 'bad number syntax: "1x"'),
    ("{{ 99999999999999999999 }}", 1, 4, "integer overflow: 99999999999999999999"),
    ("{{ .A@ }}", 1, 4, "bad character U+0040 '@'"),
    ("{{ @ }}", 1, 4, "unexpected U+0040 '@' in command"),
    ("{{ : }}", 1, 4, "expected :="),
    ("{{/* a }}", 1, 1, "unclosed comment"),
    ("{{/* a */ b }}", 1, 1, "comment ends before closing delimiter"),
    ("{{ .A.B`x` }}", 1, 6, "bad character U+0060 '`'"),
    ("{{ print`x` }}", 1, 4, "bad character U+0060 '`'"),
    ("{{ print (1)(2) }}", 1, 13, 'unexpected "(" in operand'),
]  # fmt: skip

WORDS = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    "if",
    "else",
    "end",
    "with",
    "range",
    "define",
    "template",
    "block",
    "break",
    "continue",
    ".",
    ".A",
    "$",
    "$x",
    ":=",
    "=",
    "|",
    "(",
    ")",
    ",",
    "1",
    "'a'",
    "`a`",
    '"%s"',
    "nil",
    "true",
    "print",
    "index",
    "len",
    "slice",
    "eq",
    "/*",
    "*/",
    "text",
]


class ParserTests(SynchronousTestCase):
    """What is a template, and what Go calls it."""

    def test_normal_form(self) -> None:
        """A template prints as Go prints it, and what it prints means the same."""
        for text, wanted in NORMAL_FORMS:
            self.assertEqual(str(parse("answer", text)), wanted, text)
            if "define" not in text and "block" not in text:
                self.assertEqual(str(parse("answer", wanted)), wanted)

    def test_mistakes(self) -> None:
        """What is no template is refused in Go's words, with its line and column."""
        for text, line, column, reason in MISTAKES:
            error = self.assertRaises(TemplateSyntaxError, parse, "answer", text)
            self.assertEqual((error.line, error.column, error.reason), (line, column, reason), text)
            self.assertEqual(str(error), f"template: answer:{line}: {reason}")

    def test_depth(self) -> None:
        """A template that nests too deep is refused."""
        for text in (
            "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
            "{{ if 1 }}" * 500 + "{{ end }}" * 500,
            "{{ if 1 }}" + "{{ else if 1 }}" * 500,
        ):
            self.assertRaises(TemplateSyntaxError, parse, "answer", text)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(WORDS), max_size=20))
    def test_any_words(self, words: list[str]) -> None:
        """Whatever words come together, a template is refused, fails or makes a text."""
        data = Struct("*data", {"A": lambda: ["x", "y"]})
        for text in (" ".join(words), "".join(words)):
            try:
                self.assertIsInstance(parse("answer", text).render(data), str)
            except (TemplateSyntaxError, TemplateError) as error:
                self.assertTrue(str(error))
