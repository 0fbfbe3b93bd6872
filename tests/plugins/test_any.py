"""ANY is answered with one record, and nothing else is touched."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Request
from kdns.plugins.any import directive
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import CH, HINFO, IN
from kdns.wire.names import spelled_from_text
from kdns.wire.records import Record

SAID = b"\x0dANY obsoleted\x0cSee RFC 8482"


class AnyTests(SynchronousTestCase):
    """One block with nothing but the plugin in front of an upstream."""

    def setUp(self) -> None:
        self.bench = PluginBench(directive, "any")

    def test_any(self) -> None:
        """One HINFO record of class IN for every name and class, in the client's spelling and without AA."""
        for qname, qclass in (("WwW.example.org.", IN), (".", IN), ("a.test.", CH)):
            answer = self.bench.ask(qname, "ANY", qclass=qclass)
            wanted = Record(spelled_from_text(qname), HINFO, IN, 8482, SAID)
            self.assertEqual((answer.rcode, answer.flags, answer.sections()), (0, 0, ((wanted,), (), ())))

    def test_others(self) -> None:
        """Other types go on."""
        self.assertNotEqual(self.bench.ask("a.test.", "A").source, "any")

    def test_repeated(self) -> None:
        """The reply holds for everyone."""
        self.bench.check_repeats(["a.test", "b.test"], qtypes=("ANY", "A", "HINFO"))

    def test_explain(self) -> None:
        """An explanation says why the records of the name are not shown."""
        (link,) = self.bench.builder.links
        asked: list[Request] = [a_request("a.test", qtype) for qtype in ("ANY", "A")]
        self.assertEqual([len(link.explain(request)) for request in asked], [1, 0])
