"""Tests of :mod:`kdns.plugins.template.data`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression.environment import Seen
from kdns.core.request import Request
from kdns.plugins.template.data import TemplateSubject, template_data
from kdns.plugins.template.language import parse
from kdns.wire.constants import ANY, CD, CH, CLIENT_SUBNET, COOKIE, DO, NSID, RD, TXT, A
from kdns.wire.query import Edns, pack_options
from tests.support import a_request

EDNS = Edns(
    1232,
    DO,
    0,
    pack_options(
        [
            (65001, b"\x01\x02"),
            (NSID, b""),
            (COOKIE, b"12345678"),
            (CLIENT_SUBNET, bytes.fromhex("000118000a0102")),
            (CLIENT_SUBNET, bytes.fromhex("0002200020010db8")),
        ]
    ),
)

FIELDS = [
    # text, what comes of it, what was looked at
    ("{{ .Name }} {{ .Zone }} {{ .Class }} {{ .Type }}", "www.a.test. a.test. IN A", Seen.QUESTION),
    ("{{ .Match }} {{ .Group }} {{ .Regex }}", "[www. www ] map[0:www. 1:www 2: n:www] ^(www)", Seen.QUESTION),
    ("{{ .Group.n }} {{ index .Group `1` }} {{ .Group.none }}", "www www <no value>", Seen.QUESTION),
    ("{{ .Var.v }} {{ .Var }}", "7 map[v:7]", Seen.QUESTION),
    ("{{ .Question.Qtype }} {{ .Question.Qclass }}", "1 1", Seen.QUESTION),
    ("{{ .Question.Name }}", "Www.a.test.", Seen.ELSE),
    ("{{ .Remote }}", "127.0.0.1", Seen.ELSE),
    ("{{ .Message.Id }} {{ printf `%T` .Message.Id }}", "4711 uint16", Seen.ELSE),
    (
        "{{ .Message.RecursionDesired }} {{ .Message.CheckingDisabled }} {{ .Message.Opcode }}",
        "true false 0",
        Seen.MESSAGE,
    ),
    ("{{ len .Message.Question }} {{ len .Message.Answer }} {{ .Message.Compress }}", "1 0 false", Seen.QUESTION),
    ("{{ len .Message.Extra }} {{ with .Message.IsEdns0 }}edns{{ else }}plain{{ end }}", "0 plain", Seen.MESSAGE),
    ("{{ .Meta `a/b` }}", "", Seen.ELSE),
    ("{{ range .Message.Question }}{{ .Qtype }}{{ end }}", "1", Seen.QUESTION),
]


class DataTests(SynchronousTestCase):
    """What templates see."""

    def rendered(self, text: str, request: Request, qtype: int = A) -> tuple[str, Seen]:
        """The text for a request, and what was looked at for it."""
        subject = TemplateSubject(request)
        subject.groups, subject.names = ("www.", "www", ""), {"n": 1}
        data = template_data(subject, "a.test.", qtype, "^(www)", {"v": 7})
        return parse("answer", text).render(data), subject.seen

    def test_fields(self) -> None:
        """Each field, and for whom the outcome holds when it was read."""
        request = a_request("Www.a.test")
        for text, wanted, seen in FIELDS:
            self.assertEqual(self.rendered(text, request), (wanted, seen), text)

    def test_branch_not_taken(self) -> None:
        """What no template reads changes nothing."""
        text = "{{ if eq .Type `A` }}x{{ else }}{{ .Remote }}{{ end }}"
        self.assertEqual(self.rendered(text, a_request("a.test"))[1], Seen.QUESTION)
        self.assertEqual(self.rendered(text, a_request("a.test", TXT))[1], Seen.ELSE)

    def test_whole_message(self) -> None:
        """To print a value is to read all of it."""
        self.assertEqual(self.rendered("{{ .Message }}", a_request("a.test"))[1], Seen.ELSE)
        self.assertEqual(self.rendered("{{ . }}", a_request("a.test"))[1], Seen.ELSE)

    def test_mnemonics(self) -> None:
        """Types and classes without a name are empty; a query for all types shows the template's."""
        self.assertEqual(self.rendered("[{{ .Type }}]", a_request("a.test", 65280))[0], "[]")
        self.assertEqual(self.rendered("[{{ .Type }}]", a_request("a.test", ANY), TXT)[0], "[TXT]")
        self.assertEqual(self.rendered("[{{ .Class }}]", a_request("a.test", qclass=CH))[0], "[CH]")
        self.assertEqual(self.rendered("[{{ .Class }}]", a_request("a.test", qclass=42))[0], "[]")

    def test_flags(self) -> None:
        """Flags of the header are true or false."""
        request = a_request("a.test", flags=RD | CD)
        text = "{{ .Message.RecursionDesired }}{{ .Message.CheckingDisabled }}{{ .Message.Response }}"
        self.assertEqual(self.rendered(text, request)[0], "truetruefalse")

    def test_edns(self) -> None:
        """The OPT of the query, with its options as Go prints them."""
        request = a_request("a.test", edns=EDNS)
        text = "{{ with .Message.IsEdns0 }}{{ .UDPSize }} {{ .Do }}{{ range .Option }} [{{ .Option }} {{ . }}]{{ end }}{{ end }}"
        wanted = "1232 true [65001 65001:0x0102] [3 ] [10 3132333435363738] [8 10.1.2.0/24/0] [8 [2001:db8::]/32/0]"
        self.assertEqual(self.rendered(text, request)[0], wanted)
        self.assertEqual(self.rendered("{{ len .Message.Extra }}", request)[0], "1")

    def test_metadata(self) -> None:
        """Values of metadata, at once or computed."""
        request = a_request("a.test", metadata={"a/b": "x", "a/c": lambda: "y"})
        self.assertEqual(self.rendered("{{ .Meta `a/b` }}{{ .Meta `a/c` }}", request)[0], "xy")

    def test_groups(self) -> None:
        """A group by name or number, for expressions."""
        subject = TemplateSubject(a_request("a.test"))
        subject.groups, subject.names = ("www.", "www"), {"n": 1, "0": 1}
        self.assertEqual(
            [subject.group(key) for key in ("n", 1, "1", "0", 5, "x", -1)], ["www", "www", "www", "www", "", "", ""]
        )
