"""Tests of :mod:`kdns.core.expression.environment`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.expression import ExpressionError, compile_expression
from kdns.core.expression.environment import QUERY_FUNCTIONS, QuerySubject, Seen
from kdns.core.expression.values import Value
from kdns.core.request import Transport
from kdns.wire.constants import DO, RD
from kdns.wire.query import Edns
from tests.support import a_request

VALUES: list[tuple[str, Value, Seen]] = [
    ("name()", "www.a.test.", Seen.QUESTION),
    ("type()", "A", Seen.QUESTION),
    ("class()", "IN", Seen.QUESTION),
    ("do()", True, Seen.QUESTION),
    ("size()", 28, Seen.MESSAGE),
    ("opcode()", 4, Seen.MESSAGE),
    ("proto()", "udp", Seen.ELSE),
    ("bufsize()", 1232, Seen.ELSE),
    ("client_ip()", "10.0.0.1", Seen.ELSE),
    ("port()", "1234", Seen.ELSE),
    ("id()", 4711, Seen.ELSE),
    ("server_ip()", "127.0.0.1", Seen.ELSE),
    ("server_port()", "53", Seen.ELSE),
    ("metadata('a/b')", "x", Seen.ELSE),
    ("metadata('a/c')", "y", Seen.ELSE),
    ("metadata('a/d')", "", Seen.ELSE),
    ("incidr(client_ip(), '10.0.0.0/8')", True, Seen.ELSE),
    ("incidr('2001:db8::1', '10.0.0.0/8')", False, Seen.QUESTION),
    ("name() == 'x' && client_ip() == 'y'", False, Seen.QUESTION),
]


class EnvironmentTests(SynchronousTestCase):
    """What expressions know of a query."""

    def test_functions(self) -> None:
        """Each function, and for whom an outcome holds that it was called for."""
        request = a_request(
            "WWW.a.test",
            client="10.0.0.1",
            client_port=1234,
            flags=RD | 4 << 11,
            edns=Edns(1232, DO, 0, b""),
            metadata={"a/b": "x", "a/c": lambda: "y"},
        )
        for text, wanted, seen in VALUES:
            subject = QuerySubject(request)
            self.assertEqual(compile_expression(text, QUERY_FUNCTIONS).evaluate(subject), wanted, text)
            self.assertEqual(subject.seen, seen, text)

    def test_unnamed(self) -> None:
        """Types and classes without a name, and a stream's size."""
        subject = QuerySubject(a_request("a.test", 65280, qclass=42, transport=Transport.TCP))
        text = "type() + class() + proto() + string(bufsize())"
        self.assertEqual(compile_expression(text, QUERY_FUNCTIONS).evaluate(subject), "TYPE65280CLASS42tcp65535")

    def test_bad_networks(self) -> None:
        """What is no address or no network is a failure."""
        for text, wanted in (
            ("incidr('x', '10.0.0.0/8')", "invalid IP address: x"),
            ("incidr('10.0.0.1', 'x')", "invalid CIDR address: x"),
        ):
            expression = compile_expression(text, QUERY_FUNCTIONS)
            error = self.assertRaises(ExpressionError, expression.evaluate, QuerySubject(a_request("a.test")))
            self.assertEqual(str(error), wanted)
