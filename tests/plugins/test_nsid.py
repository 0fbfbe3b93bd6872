"""Clients that ask for it are told which server answered."""

from __future__ import annotations

from socket import gethostname
from typing import Any

import dns.edns
import dns.message
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer
from kdns.core.chain import chain
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.plugins.nsid import directive
from kdns.server.blocks import ServedBlock
from kdns.testing.plugin import PluginBench, a_request
from kdns.wire.constants import COOKIE, NSID, REFUSED, SERVFAIL
from kdns.wire.query import Edns, pack_options
from tests.server.support import Asker, Programmed, zones_of

ASKED = Edns(1232, 0, 0, pack_options([(NSID, b"")]))


class NsidTests(SynchronousTestCase):
    """Replies, by what the client sent and what the plugins behind said."""

    def replied(self, says: Any, *options: tuple[int, bytes], edns: bool = True) -> list[tuple[int, bytes]]:
        """The options of the reply to a client that sent some."""
        bench = PluginBench(directive, "nsid two words")
        ask = chain([*bench.builder.links, Programmed(says)])
        asker = Asker(zones_of(root=ServedBlock(ask)))
        sent: Any = [dns.edns.GenericOption(dns.edns.OptionType.make(code), data) for code, data in options]
        query = dns.message.make_query("a.test", "A", use_edns=0 if edns else -1, options=sent)
        self.reply = asker.read(query)
        return [(int(option.otype), option.to_wire() or b"") for option in self.reply.options]

    def test_answers(self) -> None:
        """The identifier is added for clients that ask, in the place of an upstream's; a cookie is echoed as in each reply."""
        named = (NSID, b"two words")

        def plain(request: Request) -> Answer:
            return Answer()

        def other(request: Request) -> Answer:
            return Answer(options=((NSID, b"upstream"), (65001, b"x")))

        self.assertEqual(self.replied(plain, (NSID, b"")), [named])
        self.assertEqual(self.replied(plain, (NSID, b"any")), [named])
        self.assertEqual(self.replied(plain, (COOKIE, b"12345678"), (NSID, b"")), [(COOKIE, b"12345678"), named])
        self.assertEqual(self.replied(other, (NSID, b"")), [(65001, b"x"), named])
        self.assertEqual(self.replied(plain), [])
        self.assertEqual(self.replied(plain, edns=False), [])

    def test_failures(self) -> None:
        """So is the reply to a query that failed, now or later; what nobody foresaw has no name."""

        def fails(request: Request) -> Answer:
            raise ResolutionFailed("no", REFUSED)

        def fails_later(request: Request) -> Deferred[Answer]:
            later: Deferred[Answer] = Deferred()
            later.errback(ResolutionFailed("no", SERVFAIL))
            return later

        def breaks(request: Request) -> Answer:
            raise ZeroDivisionError

        self.assertEqual(self.replied(fails, (NSID, b"")), [(NSID, b"two words")])
        self.assertEqual(self.reply.rcode(), REFUSED)
        self.assertEqual(self.replied(fails_later, (NSID, b"")), [(NSID, b"two words")])
        self.assertEqual(self.replied(breaks, (NSID, b"")), [(NSID, b"")])
        self.assertEqual((self.reply.rcode(), len(self.flushLoggedErrors())), (SERVFAIL, 1))

    def test_silence(self) -> None:
        """No reply stays none."""
        bench = PluginBench(directive, "nsid", upstream=lambda request: NO_REPLY)
        self.assertIs(bench.ask("a.test", edns=ASKED), NO_REPLY)

    def test_default(self) -> None:
        """Without words the host is named."""
        answer = PluginBench(directive, "nsid").ask("a.test", edns=ASKED)
        self.assertEqual(answer.options, ((NSID, gethostname().encode()),))

    def test_repeated(self) -> None:
        """The question, options included, decides."""
        bench = PluginBench(directive, "nsid x")
        bench.check_repeats(["a.test"])

    def test_explain(self) -> None:
        """An explanation names the identifier to those that ask for it."""
        link: Any = PluginBench(directive, "nsid x").builder.links[0]
        self.assertIn("'x'", link.explain(a_request("a.test", edns=ASKED))[0].text)
        self.assertEqual(link.explain(a_request("a.test")), [])
