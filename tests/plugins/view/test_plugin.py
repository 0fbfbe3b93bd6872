"""A block takes the queries that its expressions are true of."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Request, Transport
from kdns.plugins.view import directive
from kdns.plugins.view.plugin import ViewConfig
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import CH, DO
from kdns.wire.query import Edns

AT = "Corefile:{} - Error during parsing: "
ERRORS = {
    "view": AT.format(2) + "Wrong argument count or unexpected line ending after 'view'",
    "view a b": AT.format(2) + "Wrong argument count or unexpected line ending after 'b'",
    "view a\nview b": "this plugin can only be used once per Server Block",
    "view a {\nfrob\n}": AT.format(3) + "unknown property 'frob'",
    "view a {\nexpr\n}": "unexpected token EOF",
    "view a {\nexpr 1 +\n}": "unexpected token EOF (1:3)\n | 1 +\n | ..^",
    "view a {\nexpr frob()\n}": "unknown name frob (1:1)\n | frob()\n | ^",
    "view a {\nexpr name() + 1\n}": "invalid operation: + (mismatched types string and int) (1:8)\n | name() + 1\n | .......^",
    "view a {\nexpr incidr('10.0.0.1')\n}": "not enough arguments to call incidr (1:1)\n | incidr('10.0.0.1')\n | ^",
}


class ViewTests(SynchronousTestCase):
    """Expressions about queries."""

    def passes(self, text: str, request: Request) -> bool:
        """Whether a view of one expression takes a query."""
        (one,) = PluginBench(directive, f"view v {{\nexpr {text}\n}}").builder.filters
        return one.passes(request)

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's and in the language's words."""
        bench = PluginBench(directive, "view a")
        for text, wanted in ERRORS.items():
            self.assertEqual(bench.error(text), f"plugin/view: {wanted}", text)

    def test_config(self) -> None:
        """Words of a line are one expression."""
        bench = PluginBench(directive, "view v {\nexpr type() == 'A'\nexpr true\n}")
        self.assertEqual(bench.config, ViewConfig("v", ("type() == 'A'", "true")))
        self.assertEqual(bench.builder.view, "v")

    def test_functions(self) -> None:
        """Each function tells of the query what its name says."""
        edns = Edns(1400, DO, 0, b"")
        request = a_request(
            "WWW.example.ORG", "MX", client="192.0.2.7", client_port=4000, qclass=CH, edns=edns, transport=Transport.TLS
        )
        for text in (
            "type() == 'MX'", "name() == 'www.example.org.'", "class() == 'CH'", "proto() == 'tcp'", "client_ip() == '192.0.2.7'",
            "port() == '4000'", "id() == 4711", "opcode() == 0", "do()", "bufsize() == 65535", "server_ip() == '127.0.0.1'",
            "server_port() == '53'", "size() > 20", "incidr(client_ip(), '192.0.2.0/24')", "metadata('a/b') == ''",
        ):  # fmt: skip
            self.assertTrue(self.passes(text, request), text)
            self.assertFalse(self.passes(f"not ({text})", request), text)

    def test_not_true(self) -> None:
        """Only true is true: neither another value, nor an error while the expression is carried out."""
        request = a_request("www.test")
        for text in ("1 + 1", "name()", "incidr(client_ip(), 'x')", "incidr('x', '10.0.0.0/8')", "[1][5] == 1"):
            self.assertFalse(self.passes(text, request), text)

    def test_all(self) -> None:
        """All expressions must be true; none at all are."""
        request = a_request("www.test")
        for lines, wanted in (
            ("", True),
            ("expr true\nexpr type() == 'A'", True),
            ("expr true\nexpr type() == 'MX'", False),
        ):
            (one,) = PluginBench(directive, f"view v {{\n{lines}\n}}").builder.filters
            self.assertIs(one.passes(request), wanted, lines)

    def test_metadata(self) -> None:
        """The view's name is a label of metadata; other labels of the block are seen by its expressions."""
        request = a_request("www.test", metadata={"a/b": "x", "a/c": lambda: "y"})
        self.assertTrue(self.passes("metadata('a/b') + metadata('a/c') == 'xy'", request))
        (source,) = PluginBench(directive, "view v").builder.metadata_sources
        source(request)
        assert request.metadata is not None
        self.assertEqual(request.metadata["view/name"], "v")

    def test_repeated(self) -> None:
        """Answer table and cache keep apart what the view tells apart."""
        clients = ("10.1.0.1", "10.2.0.1", "192.0.2.1", "2001:db8::1")
        for text in ("incidr(client_ip(), '10.1.0.0/16')", "client_ip() == '10.1.0.1'", "proto() == 'tcp'", "type() == 'A'",
                     "id() % 2 == 1", "port() == '1'", "server_ip() == '127.0.0.1'"):  # fmt: skip
            bench = PluginBench(directive, f"view v {{\nexpr {text}\n}}")
            bench.check_repeats(["www.test", "x.test"], qtypes=("A", "TXT"), clients=clients)
