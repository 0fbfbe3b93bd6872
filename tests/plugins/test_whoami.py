"""Clients are told who they are."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import chain
from kdns.core.request import Request, Transport
from kdns.corefile.errors import CorefileError
from kdns.plugins.whoami import directive
from kdns.wire.constants import AA, IN, SRV, TXT, A
from kdns.wire.names import spelled_from_text
from kdns.wire.records import Record, a_or_aaaa
from tests.support import a_house, a_request, built, now, parsed


class WhoamiTests(SynchronousTestCase):
    """What the reply holds."""

    def ask(self, request: Request) -> Answer:
        """Ask a chain of nothing else."""
        return now(chain(built(directive, ".:53 {\n whoami\n}\n", a_house(Clock())).links)(request))

    def test_address_port_and_transport(self) -> None:
        """The client's address and port are additional records, in the client's spelling."""
        answer = self.ask(a_request("Example.ORG", client="192.0.2.7", client_port=5353))
        self.assertEqual((answer.rcode, answer.flags, answer.answer, answer.authority), (0, AA, (), ()))
        self.assertEqual(
            answer.additional,
            (
                Record(spelled_from_text("Example.ORG"), A, IN, 0, b"\xc0\x00\x02\x07"),
                Record(spelled_from_text("_udp.Example.ORG"), SRV, IN, 0, b"\x00\x00\x00\x00\x14\xe9\x00"),
            ),
        )

    def test_ipv6_over_tcp(self) -> None:
        """An IPv6 client is shown as AAAA, and a stream as TCP whatever it carries."""
        answer = self.ask(a_request(".", TXT, client="2001:db8::1", transport=Transport.TLS))
        self.assertEqual(answer.additional[0], a_or_aaaa(b"\x00", 0, bytes.fromhex("20010db8" + "0" * 23 + "1")))
        self.assertEqual(answer.additional[1].owner, b"\x04_tcp\x00")

    def test_a_name_too_long_for_a_label_more(self) -> None:
        """A name that cannot take another label has no SRV record."""
        name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
        self.assertEqual(len(self.ask(a_request(name)).additional), 1)

    def test_it_holds_for_nobody_else(self) -> None:
        """Neither the answer table nor a cache may repeat it."""
        holds = self.ask(a_request("a.test")).validity
        self.assertEqual((holds.repeat, holds.cacheable), (False, False))

    def test_arguments_are_refused(self) -> None:
        """There is nothing to set."""
        place = (
            "plugin/whoami: Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after "
        )
        for words, text in (("whoami x", place + "'x'"), ('whoami ""', place + "''")):
            error = self.assertRaises(CorefileError, parsed, directive, f".:53 {{\n    {words}\n}}\n")
            self.assertEqual(str(error), text)
        self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    whoami {\n  x\n }\n}\n")
        self.assertRaises(CorefileError, parsed, directive, ".:53 {\n    whoami\n    whoami\n}\n")
