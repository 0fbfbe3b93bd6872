"""Flags are changed on the way in and out."""

from __future__ import annotations

import dns.flags
import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, records
from kdns.core.chain import chain
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM
from kdns.plugins.header import Change, HeaderConfig, directive
from kdns.server.blocks import ServedBlock
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import AA, QR, RA, RD, REFUSED
from kdns.wire.records import a_or_aaaa
from tests.server.support import Asker, Programmed, zones_of


def forwarded(request: Request) -> Answer:
    """What an upstream says."""
    record = a_or_aaaa(request.spelled, 300, b"\x0a\x00\x00\x01")
    return Answer(flags=RA, body=records([record]), validity=FROM_UPSTREAM)


class HeaderTests(SynchronousTestCase):
    """Rules in front of an upstream."""

    def flags(self, rules: str, asked: int = RD) -> int:
        """The flags of a reply; QR is left out."""
        bench = PluginBench(directive, f"header {{\n{rules}\n}}", upstream=forwarded)
        self.upstream = Programmed(forwarded)
        asker = Asker(zones_of(root=ServedBlock(chain([*bench.builder.links, self.upstream]))))
        query = dns.message.make_query("a.test", "A", flags=dns.flags.Flag(asked))
        (reply,) = asker.ask(query)
        return int.from_bytes(reply[2:4], "big") & ~QR

    def test_response(self) -> None:
        """Rules set and clear; of two about one flag the later counts. Letters have no case."""
        self.assertEqual(self.flags("response set aa"), AA | RA | RD)
        self.assertEqual(self.flags("response clear ra rd"), 0)
        self.assertEqual(self.flags("RESPONSE set AA\nresponse CLEAR aa\nresponse set rd", 0), RA | RD)
        self.assertEqual(self.flags("response clear aa\nresponse set aa"), AA | RA | RD)

    def test_query(self) -> None:
        """The plugins behind see the changed query, and the reply copies RD from it."""
        self.assertEqual(self.flags("query clear rd"), RA)
        self.assertEqual(self.upstream.asked[0].flags & RD, 0)
        self.assertEqual(self.flags("query set rd aa", 0), RA | RD)
        self.assertEqual(self.upstream.asked[0].flags & (AA | RD), AA | RD)
        self.assertEqual(self.flags("query clear rd\nresponse set rd"), RA | RD)

    def test_unchanged(self) -> None:
        """RD is the client's where no rule names it."""
        for asked in (0, RD):
            self.assertEqual(self.flags("response set aa", asked), AA | RA | asked)

    def test_failures_and_silence(self) -> None:
        """Neither has flags that a rule could change."""

        def fails(request: Request) -> Answer:
            raise ResolutionFailed("no", REFUSED)

        bench = PluginBench(directive, "header {\n response set aa\n}", upstream=fails)
        self.assertEqual((bench.ask("a.test").rcode, bench.ask("a.test").flags), (REFUSED, 0))
        bench = PluginBench(directive, "header {\n response set aa\n}", upstream=lambda request: NO_REPLY)
        self.assertIs(bench.ask("a.test"), NO_REPLY)

    def test_repeated(self) -> None:
        """The question alone decides; a cache in front keeps the flags but RD, which is each client's."""
        bench = PluginBench(directive, "header {\n response set aa ra\n}")
        bench.check_repeats(["a.test"])

    def test_parse(self) -> None:
        """The first block with a rule counts."""
        config = PluginBench(directive, "header x {\n}\nheader {\n query set ra\n}\nheader {\n query set aa\n}").config
        self.assertEqual(config, HeaderConfig(query=Change(RA)))

    def test_explain(self) -> None:
        """An explanation names the rules."""
        bench = PluginBench(directive, "header {\n query clear rd\n response set aa ra\n response clear rd\n}")
        notes = [note.text for note in bench.builder.links[0].explain(a_request("a.test"))]
        self.assertEqual(notes, ["query: clears rd", "response: sets aa ra and clears rd"])
