"""What is answered, and what goes on to the next plugin."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.failure import RcodeOnly
from kdns.core.request import Request
from kdns.core.stamps import stand
from kdns.core.validity import ALWAYS, FROM_UPSTREAM, NOTHING
from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import BlockBuilder, Keeper
from kdns.plugins.hosts import directive
from kdns.wire.constants import AA, AAAA, MX, PTR, SERVFAIL, TXT, A
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa, ptr
from tests.support import a_house, a_request, built, now

ELSEWHERE = Answer(source="elsewhere", validity=FROM_UPSTREAM)

LINES = """
        10.0.0.1 host.test alias.test
        10.0.0.2 host.test
        2001:db8::1 host.test
        10.0.0.4 *.wild.test
        ttl 60
"""


class Elsewhere(Link):
    """The next plugin."""

    name = "elsewhere"
    varies = NOTHING

    def answer(self, request: Request, next: Next) -> Reply:
        """Say where it came from."""
        return ELSEWHERE


class HostsTests(SynchronousTestCase):
    """Answers from lines in the Corefile."""

    def setUp(self) -> None:
        self.context = a_house(Clock())
        self.path = os.path.abspath(self.mktemp())
        with open(self.path, "w"):
            pass

    def site(self, *options: str, zones: str = "", kept: Keeper | None = None) -> BlockBuilder:
        """A block with the lines and options."""
        lines = LINES + "\n".join(options)
        return built(directive, f".:53 {{\n    hosts {self.path} {zones} {{\n{lines}\n}}\n}}\n", self.context, kept)

    def ask(self, builder: BlockBuilder, qname: str, qtype: int = A) -> Answer:
        """What the chain says."""
        return now(chain([*builder.links, Elsewhere()])(a_request(qname, qtype)))

    def test_addresses(self) -> None:
        """Addresses of the type asked for, with the name in lower case, for everybody."""
        answer = self.ask(self.site(), "HOST.test")
        name = from_text("host.test")
        self.assertEqual((answer.rcode, answer.flags, answer.source), (0, AA, "hosts"))
        self.assertEqual(answer.answer, tuple(a_or_aaaa(name, 60, bytes((10, 0, 0, last))) for last in (1, 2)))
        self.assertTrue(answer.validity.repeat)
        self.assertEqual(len(self.ask(self.site(), "host.test", AAAA).answer), 1)
        self.assertEqual(self.ask(self.site(), "any.wild.test").answer[0].owner, from_text("any.wild.test"))

    def test_other_types(self) -> None:
        """A known name has no other records, and that is the answer."""
        for options in ((), ("fallthrough",)):
            for qname, qtype in (("alias.test", AAAA), ("host.test", TXT), ("host.test", MX)):
                answer = self.ask(self.site(*options), qname, qtype)
                self.assertEqual((answer.answer, answer.authority, answer.flags), ((), (), AA))

    def test_fallthrough_unsupported(self) -> None:
        """With the option other types than A and AAAA go on, where unknown names do."""
        builder = self.site("fallthrough test", "fallthrough_unsupported")
        self.assertEqual(self.ask(builder, "host.test", TXT).source, "elsewhere")
        self.assertEqual(self.ask(builder, "alias.test", AAAA).source, "hosts")
        other = self.site("fallthrough example.com", "fallthrough_unsupported")
        self.assertEqual(self.ask(other, "host.test", TXT).source, "hosts")

    def test_unknown_names(self) -> None:
        """Without ``fallthrough`` they end here, with SERVFAIL that nobody need be told of."""
        error = self.assertRaises(RcodeOnly, self.ask, self.site(), "nope.test")
        self.assertEqual(error.rcode, SERVFAIL)
        self.assertEqual(self.ask(self.site("fallthrough"), "nope.test").source, "elsewhere")
        part = self.site("fallthrough test")
        self.assertEqual(self.ask(part, "nope.test").source, "elsewhere")
        self.assertRaises(RcodeOnly, self.ask, part, "www.example.com")

    def test_what_went_on_holds_until_the_name_is_known_here(self) -> None:
        """An answer from behind depends on the name not being here."""
        builder = self.site("fallthrough")
        answer = self.ask(builder, "nope.test")
        self.assertTrue(stand(answer.validity.stamps))
        self.assertEqual((answer.validity.repeat, answer.validity.cacheable), (False, True))
        for resource in builder.resources:
            resource.stop()
        self.assertFalse(stand(answer.validity.stamps))

    def test_reverse(self) -> None:
        """Reverse names are answered in and out of the zones, and go on when unknown."""
        name = "1.0.0.10.in-addr.arpa"
        for zones in ("", "test"):
            builder = self.site(zones=zones)
            wanted = tuple(ptr(from_text(name), 60, from_text(host)) for host in ("host.test", "alias.test"))
            self.assertEqual(self.ask(builder, name, PTR).answer, wanted)
            self.assertEqual(self.ask(builder, "9.0.0.10.in-addr.arpa", PTR).source, "elsewhere")
            self.assertEqual(self.ask(builder, "host.test", PTR).source, "elsewhere")
        self.assertEqual(self.ask(self.site("no_reverse"), name, PTR).source, "elsewhere")
        self.assertRaises(RcodeOnly, self.ask, self.site(), name, A)

    def test_zones(self) -> None:
        """What is outside the zones does not concern it."""
        answer = self.ask(self.site(zones="example.com"), "host.test")
        self.assertIs(answer, ELSEWHERE)
        self.assertNotEqual(ELSEWHERE.validity, ALWAYS)

    def test_files(self) -> None:
        """A file that is not there is warned of, one that cannot be looked at is an error."""
        folder = self.mktemp()
        os.mkdir(folder)
        for path, text in (
            ("/nonexistent/hosts", "File does not exist: /nonexistent/hosts"),
            (folder, f'Hosts file "{folder}" is a directory'),
        ):
            with capturedLogs() as events:
                built(directive, f".:53 {{\n    hosts {path}\n}}\n", self.context)
            self.assertEqual([formatEvent(event) for event in events], [text])
        error = self.assertRaises(
            CorefileError, built, directive, f".:53 {{\n    hosts {self.path}/x\n}}\n", self.context
        )
        self.assertEqual(str(error), f"plugin/hosts: unable to access hosts file '{self.path}/x': Not a directory")

    def test_the_same_hosts_are_kept(self) -> None:
        """A new configuration takes the tables over, so that stamps given out go on to count."""
        kept = Keeper()
        first, second, third = (self.site(*options, kept=kept) for options in ((), (), ("fallthrough",)))
        self.assertIs(first.resources[0], second.resources[0])
        self.assertIsNot(first.resources[0], third.resources[0])
