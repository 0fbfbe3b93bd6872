"""What expressions depend on is read off their functions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression.builtins import BUILTINS
from kdns.core.expression.environment import QUERY_FUNCTIONS
from kdns.core.validity import EVERY_QUERY, NOTHING, Varies
from kdns.plugins.view.dependence import CLIENT, LISTENER, QUESTION, SERVER, varies_of

CLIENTS = ("10.1.0.1", "10.2.0.1", "192.0.2.1", "2001:db8::1")


class DependenceTests(SynchronousTestCase):
    """Expressions and what they vary by."""

    def groups(self, *expressions: str) -> list[object]:
        """The groups of the clients."""
        group = varies_of(expressions, False).client
        assert group is not None
        return [group(client) for client in CLIENTS]

    def test_question(self) -> None:
        """Functions of the question, and of nothing, need no groups."""
        for text in ("true", "type() == 'A' && name() endsWith '.test.'", "do() || size() > 40 || opcode() == 0 || class() == 'CH'",
                     "incidr('10.0.0.1', '10.0.0.0/8')", "len(name()) > 3 && any(split(name(), '.'), # == 'a')"):  # fmt: skip
            self.assertEqual(varies_of([text], False), NOTHING, text)
        self.assertEqual(varies_of([], False), NOTHING)

    def test_listener(self) -> None:
        """The transport and the port are the listener's, and its address where it has one of its own."""
        for text in ("proto() == 'tcp'", "bufsize() > 1232", "server_port() == '53'"):
            self.assertEqual(varies_of([text], False), Varies(transport=True), text)
        self.assertEqual(varies_of(["server_ip() == '10.0.0.1'"], True), Varies(transport=True))
        self.assertEqual(varies_of(["server_ip() == '10.0.0.1'"], False), EVERY_QUERY)

    def test_every_query(self) -> None:
        """What is no part of a key of the answer table is asked for each query, also where it is not reached."""
        for text in (
            "port() == '53'",
            "id() == 1",
            "metadata('a/b') == 'x'",
            "true || id() == 1",
            "let x = port(); x == '1'",
        ):
            self.assertEqual(varies_of(["true", text], True), EVERY_QUERY, text)

    def test_declared_labels(self) -> None:
        """A label whose plugin declares what it depends on needs nothing here; one that is computed may be any."""
        declared = ("geoip/",)
        self.assertEqual(varies_of(["metadata('geoip/country/code') == 'DE'"], False, declared), NOTHING)
        for text in ("metadata('geoip') == ''", "metadata('trace/traceid') == ''", "metadata('geoip/' + type()) == ''"):
            self.assertEqual(varies_of([text], False, declared), EVERY_QUERY, text)

    def test_networks(self) -> None:
        """Clients are of one group if they are in the same of the networks that are compared."""
        nets = "incidr(client_ip(), '10.0.0.0/8') || !incidr(client_ip(), '10.2.0.0/16')"
        self.assertEqual(self.groups(nets), [1, 3, 0, 0])
        self.assertEqual(
            self.groups("incidr(client_ip(), '10.0.0.0/8')", "incidr(client_ip(), '2001:db8::/32')"), [1, 1, 0, 2]
        )
        self.assertEqual(self.groups("client_ip() | incidr('10.0.0.0/8')"), [1, 1, 0, 0])

    def test_addresses(self) -> None:
        """Any other use of the address makes a group of each."""
        for text in ("client_ip() == '10.1.0.1'", "incidr(client_ip(), name())", "let x = client_ip(); incidr(x, '10.0.0.0/8')",
                     "incidr(client_ip(), '10.0.0.0/8') && client_ip() != '10.1.0.1'"):  # fmt: skip
            self.assertEqual(self.groups(text), list(CLIENTS), text)

    def test_no_network(self) -> None:
        """What is no network is an error for every client alike."""
        self.assertEqual(varies_of(["incidr(client_ip(), 'x')"], False), NOTHING)

    def test_all_functions_are_known(self) -> None:
        """Each function of a query is of one kind; those that are of none are asked for each query."""
        known = QUESTION | LISTENER | {SERVER, CLIENT}
        self.assertLessEqual(known, set(QUERY_FUNCTIONS))
        self.assertEqual(set(QUERY_FUNCTIONS) - known, {"port", "id", "metadata"})

    def test_functions_of_the_language(self) -> None:
        """None of them depends on more than its arguments: there is no time and no chance."""
        self.assertFalse(set(BUILTINS) & {"now", "date", "random", "rand"})
