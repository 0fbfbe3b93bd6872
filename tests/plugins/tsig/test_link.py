"""Signed queries get signed replies, with and without what keeps replies in front; dnspython signs and checks."""

from __future__ import annotations

import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.tsig
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.fast_path import NO_EFFECT
from kdns.core.reply import PADDED, PADDED_SIZE
from kdns.core.request import Transport
from kdns.plugins.tsig import directive
from kdns.plugins.tsig.link import TsigLink
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AXFR
from kdns.wire.names import ROOT, from_text
from tests.conformance.world import MemoryWorld, placed

NAME = dns.name.from_text("key.test.")
SECRET = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk="
KEYRING = {NAME: dns.tsig.Key(NAME, b64decode(SECRET), "hmac-sha256.")}

WORLD = f"""
.:{{{{PORT}}}} {{
    tsig signed.test {{
        secret key.test. {SECRET}
        require TXT
    }}
    cache 30
    hosts {{
        192.0.2.1 a.signed.test
        192.0.2.2 a.plain.test
        fallthrough
    }}
    template IN TXT {{
        answer "{{{{ .Name }}}} 60 IN TXT {"x" * 240}"
    }}
    forward . {{{{UPSTREAM}}}}
}}
"""


class WorldTests(SynchronousTestCase):
    """A server with a cache behind *tsig* and the answer table in front."""

    def setUp(self) -> None:
        self.world = MemoryWorld(WORLD)
        self.world.start()
        # dnspython signs and checks with the time of this machine.
        self.patch(time, "time", self.world.reactor.seconds)

    def tearDown(self) -> None:
        self.assertEqual(self.world.stop(), [])

    def ask(self, qname: str, qtype: str, *, signed: bool, proto: str = "udp", **about: Any) -> dns.message.Message:
        """The reply to a query; the signature of one to a signed query is checked."""
        query = dns.message.make_query(qname, qtype, **about)
        if signed:
            query.use_tsig(KEYRING)
        message = query.to_wire()
        reply, _ = self.world.ask(message, proto)
        assert reply is not None
        read = dns.message.from_wire(reply, KEYRING, query.mac if signed else b"", ignore_trailing=False)
        self.assertEqual(read.id, query.id)
        return read

    def test_thrice(self) -> None:
        """Asked thrice, signed and not, over both transports, each client gets what is meant for it."""
        for number in range(3):
            for proto in ("udp", "tcp"):
                for signed in (False, True, False):
                    where = f"{number} {proto} {signed}"
                    found = self.ask("a.signed.test.", "A", signed=signed, proto=proto)
                    self.assertEqual((found.rcode(), found.had_tsig), (0, signed), where)
                    self.assertEqual(str(found.answer[0][0]), "192.0.2.1")
                    found = self.ask("x.signed.test.", "TXT", signed=signed, proto=proto)
                    wanted = dns.rcode.NOERROR if signed else dns.rcode.REFUSED
                    self.assertEqual(
                        (found.rcode(), found.had_tsig, len(found.answer)), (wanted, signed, int(signed)), where
                    )

    def test_failures(self) -> None:
        """A failure of an upstream is signed for the client that signed its query, and for no other."""
        self.world.upstream.stop()
        for signed in (True, False, True):
            found = self.ask("nobody.signed.test.", "A", signed=signed)
            self.assertEqual((found.rcode(), found.had_tsig), (dns.rcode.SERVFAIL, signed))

    def test_other_zone(self) -> None:
        """Outside its zones a signed query is answered as any other, without a signature."""
        with self.assertRaisesRegex(dns.exception.FormError, "requires a TSIG"):
            self.ask("a.plain.test.", "A", signed=True)
        self.assertEqual(self.ask("a.plain.test.", "A", signed=False).rcode(), 0)

    def test_large(self) -> None:
        """A reply that fits only without its signature is truncated."""
        for size in (512, 1232):
            found = self.ask("x.signed.test.", "TXT", signed=True, use_edns=0, payload=size)
            self.assertTrue(found.had_tsig)
        name = ".".join(["a" * 60] * 3) + ".signed.test."
        found = self.ask(name, "TXT", signed=True)
        self.assertTrue(found.flags & dns.flags.TC)
        self.assertTrue(found.had_tsig)
        self.assertFalse(self.ask(name, "TXT", signed=True, use_edns=0, payload=1232).flags & dns.flags.TC)
        self.assertFalse(self.ask(name, "TXT", signed=True, proto="tcp").flags & dns.flags.TC)


INNER = """
signed.test:{{PORT}} {
    tsig {
        require A
    }
    dns64 {
        allow_ipv4
    }
    file db signed.test
}
"""
ZONE = "@ 60 IN SOA ns admin 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 192.0.2.53\n"


class InnerTests(SynchronousTestCase):
    """Lookups that other plugins make."""

    def test_dns64(self) -> None:
        """A client does not get by the A query of *dns64* what it may not ask itself."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for required, wanted in (("A", 0), ("TXT", 1)):
            world = MemoryWorld(placed(INNER.replace("require A", f"require {required}"), {"db": ZONE}, folder))
            world.start()
            reply, _ = world.ask(dns.message.make_query("ns.signed.test.", "AAAA").to_wire())
            self.assertEqual(world.stop(), [])
            assert reply is not None
            self.assertEqual(len(dns.message.from_wire(reply).answer), wanted, required)


class LinkTests(SynchronousTestCase):
    """The link alone."""

    def test_repeats(self) -> None:
        """Unsigned queries, refused and passed, are repeated as ever."""
        bench = PluginBench(directive, "tsig a.test {\nrequire TXT\n}")
        self.assertEqual(bench.ask("x.a.test", "TXT").rcode, 5)
        self.assertEqual(bench.ask("x.a.test", "A").rcode, 0)
        self.assertEqual(bench.ask("b.test", "TXT").rcode, 0)
        bench.check_repeats(["x.a.test", "b.test"], qtypes=("A", "TXT"))

    def test_lookups_of_plugins(self) -> None:
        """A request without a message is unsigned."""
        bench = PluginBench(directive, "tsig {\nrequire all\n}")
        for transport in Transport:
            self.assertEqual(bench.ask("x.test", transport=transport).rcode, 5)

    def test_transports(self) -> None:
        """Replies are signed over every transport, and padded so that the signature is counted in."""
        bench = PluginBench(directive, f"tsig {{\nsecret key.test. {SECRET}\nrequire all\n}}")
        self.patch(time, "time", bench.context.wall)
        for transport in Transport:
            query = dns.message.make_query("x.test.", "A", use_edns=0, pad=128)
            query.use_tsig(KEYRING)
            message = query.to_wire()
            replies: list[bytes] = []
            bench._listener.receive(message, transport, "192.0.2.1", 4000, "::", replies.append)
            (reply,) = replies
            read = dns.message.from_wire(reply, KEYRING, query.mac or b"")
            self.assertEqual((read.rcode(), read.had_tsig, len(read.answer)), (0, True, 1), transport)
            self.assertEqual(len(reply) % PADDED_SIZE == 0, transport in PADDED, transport)

    def test_explained(self) -> None:
        """Whether a signature is needed."""
        (link,) = PluginBench(directive, "tsig a.test {\nrequire TXT\n}").builder.links
        for qname, qtype, wanted in (
            ("x.a.test", "TXT", ["below a.test. this query must be signed: without a signature it is refused"]),
            ("x.a.test", "A", ["an unsigned query passes; the reply to a signed one is signed"]),
            ("b.test", "TXT", []),
        ):
            self.assertEqual([note.text for note in link.explain(a_request(qname, qtype))], wanted)

    def test_fast_path(self) -> None:
        """Names keep the fast path where nothing about them must be signed."""
        for text, zone, wanted in (
            ("tsig a.test", "b.test", "passes"),
            ("tsig a.test", "x.a.test", "passes but for []"),
            ("tsig a.test {\nrequire AXFR\n}", "x.a.test", f"passes but for {[AXFR]}"),
            ("tsig a.test {\nrequire AXFR\n}", "test", f"passes but for {[AXFR]}"),
            ("tsig a.test {\nrequire all\n}", "x.a.test", "is asked"),
            ("tsig a.test {\nrequire all\n}", "b.test", "passes"),
            ("tsig a.test {\nrequire_opcode QUERY\n}", "a.test", "is asked"),
        ):
            (link,) = PluginBench(directive, text).builder.links
            assert isinstance(link, TsigLink)
            effect = link.fast_effect("dns://:53", from_text(zone))
            if effect is None:
                found = "is asked"
            else:
                found = "passes" if effect is NO_EFFECT else f"passes but for {sorted(effect.not_types)}"
            self.assertEqual(found, wanted, (text, zone))
        (link,) = PluginBench(directive, "tsig a.test {\nrequire all\n}").builder.links
        self.assertIsNone(link.fast_effect("dns://:53", ROOT))
