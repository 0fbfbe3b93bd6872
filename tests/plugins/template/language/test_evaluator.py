"""Tests of :mod:`kdns.plugins.template.language.evaluator`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.template.language import Budget, GoInt, Struct, TemplateError, TextMap, parse

QUESTION = Struct("dns.Question", {"Name": lambda: "X.test.", "Qtype": lambda: GoInt(1, "uint16")})
DATA = Struct(
    "*template.templateData",
    {
        "Name": lambda: "x.test.",
        "Match": lambda: ["x.", "x", "y"],
        "Group": lambda: TextMap({"0": "x.", "n": "x"}),
        "Var": lambda: {"v": 7, "none": None},
        "Question": lambda: QUESTION,
        "Empty": list,
    },
    {"Meta": lambda label: f"<{label}>" if label else ""},
)

TEXTS = [
    ("a{{ .Name }}b", "ax.test.b"),
    ("{{ .Group.n }}{{ .Group.nothere }}{{ index .Group `nothere` }}", "x<no value>"),
    ("{{ .Var.v }}{{ .Var.none }}{{ .Var.nothere }}", "7<no value><no value>"),
    ("{{ .Question.Name }} {{ .Question.Qtype }}", "X.test. 1"),
    ("{{ .Meta `a/b` }}{{ .Meta `` }}{{ `c` | .Meta }}", "<a/b><c>"),
    ("{{ if .Match }}yes{{ else }}no{{ end }}", "yes"),
    ("{{ if .Empty }}yes{{ else if eq .Name `x.test.` }}other{{ end }}", "other"),
    ("{{ with .Empty }}yes{{ else with .Group.n }}{{ . }}{{ end }}", "x"),
    ("{{ with 1 }}{{ $.Name }}{{ end }}", "x.test."),
    ("{{ range .Match }}[{{ . }}]{{ end }}", "[x.][x][y]"),
    ("{{ range $e := .Match }}[{{ $e }}]{{ end }}", "[x.][x][y]"),
    ("{{ range $i, $e := .Match }}{{ $i }}={{ $e }};{{ end }}", "0=x.;1=x;2=y;"),
    ("{{ range $k, $v := .Group }}{{ $k }}={{ $v }};{{ end }}", "0=x.;n=x;"),
    ("{{ range 3 }}{{ . }}{{ end }}{{ range 0 }}x{{ else }}none{{ end }}", "012none"),
    ("{{ range .Match }}{{ if eq . `x` }}{{ continue }}{{ end }}{{ . }}{{ end }}", "x.y"),
    ("{{ range .Match }}{{ . }}{{ if eq . `x` }}{{ break }}{{ end }}{{ end }}!", "x.x!"),
    ("{{ $x := `a` }}{{ range .Match }}{{ $x = . }}{{ end }}{{ $x }}", "y"),
    ("{{ $x := `a` }}{{ if true }}{{ $x := `b` }}{{ end }}{{ $x }}", "a"),
    ("{{ define `t` }}[{{ . }}]{{ end }}{{ template `t` .Name }}{{ template `t` }}", "[x.test.][<no value>]"),
    ("{{ block `u` .Name }}<{{ . }}>{{ end }}", "<x.test.>"),
    ("{{ .Match | len | printf `%02d` }}", "03"),
    ("{{ (index .Match 1) }}{{ (.Question).Name }}", "xX.test."),
    ("{{ and 1 0 (index .Match 9) }}{{ or 0 `x` (index .Match 9) }}", "0x"),
    ("{{ and 1 2 }}{{ or 0 `` }}{{ 3 | and 1 }}", "23"),
    ("{{ 'a' }} {{ 1.50 }} {{ 0x10 }} {{ true }} {{ print nil }}", "97 1.5 16 true <nil>"),
    ('{{ `\u00e9` }}{{ "\\xff" }}', "\u00e9\udcff"),
]

FAILURES = [
    ("{{ .Foo }}", "1:3", "<.Foo>: can't evaluate field Foo in type *template.templateData"),
    ("a\n{{ .Name.Foo }}", "2:3", "<.Name.Foo>: can't evaluate field Foo in type string"),
    ("{{ index .Match 9 }}", "1:3", "<index .Match 9>: error calling index: index out of range: 9"),
    ("{{ lt 1 `2` }}", "1:3", "<lt 1 `2`>: error calling lt: incompatible types for comparison"),
    ("{{ .Name 1 }}", "1:3", "<.Name>: Name has arguments but cannot be invoked as function"),
    ("{{ .Group.n 1 }}", "1:3", "<.Group.n>: n is not a method but has arguments"),
    ("{{ .Meta }}", "1:3", "<.Meta>: wrong number of args for Meta: want 1 got 0"),
    ("{{ .Meta 1 }}", "1:3", "<.Meta>: wrong type for value; expected string; got int"),
    ("{{ . 1 }}", "1:3", "<. 1>: can't give argument to non-function ."),
    ("{{ range .Name }}{{ end }}", "1:9", "<.Name>: range can't iterate over x.test."),
    ("{{ range $i, $e := 3 }}{{ end }}", "1:9", "<$i, $e := 3>: can't use 3 to iterate over more than one variable"),
    ("{{ template `t` }}", "1:3", '<{{template `t`}}>: template "t" not defined'),
    ("{{ and }}", "1:3", "<and>: wrong number of args for and: want at least 1 got 0"),
    ("{{ .Group.nothere.x }}", "1:3", "<.Group.nothere.x>: can't evaluate field x: no value"),
    ("{{ printf `x` | index .Match }}", "1:16", "<index .Match>: error calling index: cannot index slice/array with type string"),
]  # fmt: skip

HUNGRY = [
    "{{ range 1000000 }}{{ . }}{{ end }}",
    "{{ range 1000000 }}{{ end }}",
    "{{ define `t` }}{{ template `t` }}{{ end }}{{ template `t` }}",
    "{{ define `t` }}{{ template `t` }}{{ template `t` }}{{ end }}{{ template `t` }}",
    "{{ $x := `aaaaaaaa` }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}",
    "{{ $x := printf `%60000d` 1 }}{{ range 100 }}{{ $x }}{{ end }}",
    "{{ $x := printf `%60000d` 1 }}{{ range 1000 }}{{ html $x }}{{ end }}",
    "{{ $x := printf `%60000d` 1 }}{{ range 1000 }}{{ slice $x 1 }}{{ end }}",
    "{{ range 100 }}{{ range 100 }}{{ range 100 }}{{ end }}{{ end }}{{ end }}",
]


class EvaluatorTests(SynchronousTestCase):
    """What templates make of data."""

    def test_texts(self) -> None:
        """Each part of the language does what Go's does."""
        for text, wanted in TEXTS:
            self.assertEqual(parse("answer", text).render(DATA), wanted, text)

    def test_failures(self) -> None:
        """What cannot be carried out fails in Go's words, with the place."""
        for text, place, wanted in FAILURES:
            error = self.assertRaises(TemplateError, parse("answer", text).render, DATA)
            self.assertEqual(str(error), f'template: answer:{place}: executing "answer" at {wanted}', text)

    def test_bounds(self) -> None:
        """A template that would take for ever, or make a text without end, fails soon."""
        for text in HUNGRY:
            self.assertRaises(TemplateError, parse("answer", text).render, DATA)

    def test_shared_budget(self) -> None:
        """Templates of one reply share a budget."""
        template = parse("answer", "{{ .Name }}")
        budget = Budget(9)
        for _ in range(4):
            template.render(DATA, budget)
        self.assertRaises(TemplateError, template.render, DATA, budget)
