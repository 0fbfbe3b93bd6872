"""Clients that say they take large datagrams are believed less."""

from __future__ import annotations

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, records
from kdns.core.request import Request, Transport
from kdns.core.validity import ALWAYS
from kdns.plugins.bufsize import DEFAULT, BufsizeConfig, directive
from kdns.testing.plugin import PluginBench
from kdns.wire.constants import TC
from kdns.wire.records import a_or_aaaa
from tests.server.support import Asker, Counting, a_block, zones_of


def many(request: Request) -> Answer:
    """A thousand addresses."""
    found = [a_or_aaaa(request.spelled, 30, number.to_bytes(4, "big")) for number in range(1000)]
    return Answer(body=records(found), validity=ALWAYS)


class ParseTests(SynchronousTestCase):
    """The directive."""

    def test_sizes(self) -> None:
        """1232 bytes by default, and of several directives the first counts."""
        for text, size in (("bufsize", DEFAULT), ("bufsize 600", 600), ("bufsize 600\nbufsize 700", 600)):
            bench = PluginBench(directive, text)
            self.assertEqual((bench.config, bench.builder.most_udp_size), (BufsizeConfig(size), size))


class BufsizeTests(SynchronousTestCase):
    """Replies of a block with ``bufsize 600``."""

    def setUp(self) -> None:
        self.observer = Counting()
        self.asker = Asker(zones_of(root=a_block(many, self.observer, most_udp_size=600)))

    def replied(self, payload: int | None, transport: Transport = Transport.UDP) -> tuple[int, int, bool]:
        """Size of the reply, the payload size in its OPT, and whether it is truncated."""
        query = dns.message.make_query("a.test", "A", use_edns=-1 if payload is None else 0, payload=payload or 0)
        (reply,) = self.asker.ask(query, transport=transport)
        return len(reply), dns.message.from_wire(reply).payload, bool(reply[2] & TC >> 8)

    def test_lowered(self) -> None:
        """A larger size is lowered, in the limit and in the OPT of the reply; what is logged is the lowered one."""
        size, payload, truncated = self.replied(4096)
        self.assertEqual((payload, truncated), (600, True))
        self.assertLessEqual(size, 600)
        self.assertEqual(self.observer.exchanges[0].request.edns_size, 600)

    def test_kept(self) -> None:
        """A smaller size stays, and a client without an OPT gets none."""
        self.assertEqual(self.replied(520)[1:], (520, True))
        self.assertEqual(self.replied(None)[1:], (0, True))

    def test_stream(self) -> None:
        """Over TCP the reply is whole; only the number in the OPT is lowered."""
        size, payload, truncated = self.replied(4096, Transport.TCP)
        self.assertEqual((payload, truncated), (600, False))
        self.assertGreater(size, 16_000)
