"""Forwarded queries on the fast path, from the listener's side: replies, the table, deadlines, and handing over to the plugins."""

from __future__ import annotations

from typing import Any

import dns.message
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.fast_path import Effect, Kept, UpstreamReply, Waiter
from kdns.core.metrics import Counter
from kdns.core.request import Request, Transport
from kdns.core.validity import FROM_UPSTREAM, NOTHING
from kdns.server.blocks import ServedBlock
from kdns.server.deadlines import PATIENCE
from kdns.server.table import TableBudget
from kdns.wire.constants import QR, RA, RD, SERVFAIL
from kdns.wire.message import Relayed, scan
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import Record, a_or_aaaa
from kdns.wire.render import render
from tests.server.support import Asker, zones_of
from tests.server.test_fast_path import Alike, Answering, Passing


def message(name: str, last: tuple[int, ...] = (1,), rcode: int = 0) -> Relayed:
    """An upstream's reply with addresses 192.0.2.*last*."""
    owner = from_text(name)
    records: tuple[Record, ...] = tuple(a_or_aaaa(owner, 300, bytes((192, 0, 2, one))) for one in last)
    question = owner + b"\x00\x01\x00\x01"
    return scan(render(1, QR | RD | RA | rcode, question, (records, (), ()), b"", 65535, 0))


class Upstreams:
    """Keeps the waiters until the test answers them."""

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.open = True

    def opt(self, edns: Edns | None) -> bytes:
        """The shortest."""
        return b"" if edns is None else b"\x00\x00\x29\x04\xd0" + bytes(6)

    def ask(self, question: bytes, flags: int, opt: bytes, waiter: Waiter) -> bool:
        """Keep it."""
        if self.open:
            self.waiting.append(waiter)
        return self.open


class Forwarding(Link):
    """A link that forwards both ways."""

    name = "forward"
    varies = NOTHING

    def __init__(self) -> None:
        self.upstreams = Upstreams()
        self.asked: list[Request] = []
        self.waiting: list[Deferred[Answer]] = []

    def answer(self, request: Request, next: Next) -> Reply:
        """Answer in the general way: at once the first time, then when the test does."""
        self.asked.append(request)
        if len(self.asked) == 1:
            return self.reply("first.test")
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def reply(self, name: str) -> Answer:
        """What it says of a name."""
        return Answer(flags=RA, body=message(name), validity=FROM_UPSTREAM, source=self.name)

    def fast_upstreams(self) -> Upstreams:
        """Those of the test."""
        return self.upstreams


class Keeping:
    """A cache that keeps everything for ten seconds."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Relayed] = {}

    def has(self, qname: bytes, qtype: int, flags: int) -> bool:
        """Whether it was kept."""
        return qname in self.kept

    def __call__(self, qname: bytes, qtype: int, flags: int, reply: Relayed) -> Kept | None:
        """Keep it."""
        self.kept[qname] = reply
        return Kept(10, False)


class Client:
    """Where queries come from."""

    local = "127.0.0.1"

    def __init__(self) -> None:
        self.replies: list[dns.message.Message] = []

    def respond(self, reply: bytes) -> None:
        """Keep it."""
        self.replies.append(dns.message.from_wire(reply, one_rr_per_rrset=True))

    def address(self) -> tuple[str, int]:
        """Always the same."""
        return "10.0.0.9", 4000


class ForwardedTests(SynchronousTestCase):
    """One listener in front of upstreams."""

    def setUp(self) -> None:
        self.first, self.again = Counter(), Counter()
        self.keeping = Keeping()
        self.observer = Alike()
        self.begin(Effect((self.first,), (self.again,), keeps=True, counts_down=True, rotate=(), keep=self.keeping))

    def begin(self, effect: Effect) -> None:
        """Serve, and have the shape of plain queries learned."""
        self.link = Forwarding()
        links = [Passing(effect), self.link]
        block = ServedBlock(chain(links), links=tuple(links), observers=(self.observer,))
        self.asker = Asker(zones_of(root=block))
        self.listener = self.asker.listener
        self.table = TableBudget(1_000_000).table()
        self.client = Client()
        self.ask("first.test")
        self.assertEqual(len(self.client.replies), 1)

    def ask(self, name: str, ident: int = 7, **settings: Any) -> bool:
        """Ask as a port does: the table, the fast path, the plugins. Whether the fast path took it."""
        octets = dns.message.make_query(name, "A", id=ident, **settings).to_wire()
        key = self.listener.table_key(octets, "10.0.0.9")
        now = self.asker.reactor.seconds()
        reply = self.listener.replay.at_hand(self.table, key, ident, "10.0.0.9", 4000, now)
        if reply is not None:
            self.client.respond(octets[:2] + reply)
            return False
        fast = self.table.fast
        if fast is not None and fast.forwards and fast.forward(key, octets, self.client, now):
            return True
        self.listener.receive(
            octets, Transport.UDP, "10.0.0.9", 4000, "127.0.0.1", self.client.respond, self.table, key
        )
        return False

    def came(self, name: str, last: tuple[int, ...] = (1,), flags: int = RA) -> None:
        """The upstream replies to the query that waits longest."""
        self.link.upstreams.waiting.pop(0).came(UpstreamReply(message(name, last), 0, flags))

    def test_reply(self) -> None:
        """The client gets the reply with its own identifier; the next ones get it out of the table, as from a cache."""
        self.assertTrue(self.ask("www.test", 77))
        self.came("www.test")
        reply = self.client.replies[-1]
        self.assertEqual((reply.id, reply.flags, str(reply.answer[0])), (77, 0x8180, "www.test. 10 IN A 192.0.2.1"))
        self.asker.reactor.advance(3.0)
        self.assertFalse(self.ask("www.test", 78))
        reply = self.client.replies[-1]
        self.assertEqual((reply.id, reply.flags, str(reply.answer[0])), (78, 0x8580, "www.test. 7 IN A 192.0.2.1"))
        self.assertEqual(len(self.link.asked), 1)
        self.asker.context.tallies.fold()
        self.assertEqual((self.first.value, self.again.value, self.observer.count.value), (1, 1, 3))
        self.assertEqual(sum(self.observer.durations.counts), 1)

    def test_shape_of_another_route(self) -> None:
        """A shape that was learned from a name of the cluster serves for forwarded names, too."""
        source = Answering()
        links = [source, self.link]
        block = ServedBlock(chain(links), links=tuple(links))
        self.listener.serve(zones_of(root=block))
        self.table.clear()
        self.table.serve(self.listener.routes, self.listener)
        self.assertFalse(self.ask("first.zone"))
        self.assertTrue(self.ask("www.test"))

    def test_kept(self) -> None:
        """A question that a cache may have an answer to is the plugins'."""
        self.keeping.kept[from_text("www.test")] = message("www.test")
        self.assertFalse(self.ask("www.test"))

    def test_without_a_cache(self) -> None:
        """Every query is forwarded, with the upstream's TTL."""
        self.begin(Effect())
        for _ in range(2):
            self.assertTrue(self.ask("www.test"))
            self.came("www.test")
            self.assertEqual(self.client.replies[-1].answer[0].ttl, 300)

    def test_rotation(self) -> None:
        """Several addresses take turns."""
        firsts = set()
        for number in range(20):
            name = f"www{number}.test"
            self.ask(name)
            self.came(name, (1, 2))
            firsts.add(self.client.replies[-1].answer[0][0].address)
            before = firsts.copy()
            self.ask(name)
            self.assertEqual(len(self.client.replies[-1].answer), 2)
            self.assertTrue(before <= firsts)
        self.assertEqual(firsts, {"192.0.2.1", "192.0.2.2"})

    def test_cookie(self) -> None:
        """A client's cookie comes back to it, and to the next client its own."""
        for ident, cookie in enumerate((b"cookie-1", b"cookie-2", b"cookie-3")):
            options = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)]
            forwarded = self.ask("www.test", ident, use_edns=0, options=options)
            if ident == 0:
                self.assertFalse(forwarded, "its shape is not known yet")
                self.link.waiting.pop().callback(self.link.reply("www.test"))
            elif ident == 1:
                self.assertTrue(forwarded)
                self.came("www.test")
            self.assertEqual(self.client.replies[-1].options[0].to_wire(), cookie)

    def test_not_sure(self) -> None:
        """Capital letters, unknown types, and upstreams that decline go to the plugins."""
        self.assertFalse(self.ask("WWW.test"))
        self.link.upstreams.open = False
        self.assertFalse(self.ask("www.test"))
        self.assertEqual(len(self.link.asked), 3)

    def test_handed_over(self) -> None:
        """A query that needs more goes to the plugins, and keeps its arrival and its deadline."""
        self.ask("www.test")
        self.asker.reactor.advance(2.0)
        self.link.upstreams.waiting.pop().failed()
        self.assertEqual(self.link.asked[-1].arrived, self.asker.reactor.seconds() - 2.0)
        self.link.waiting.pop().callback(self.link.reply("www.test"))
        self.assertEqual((len(self.client.replies), len(self.listener.waiting)), (2, 0))
        self.ask("slow.test")
        self.asker.reactor.advance(2.0)
        self.link.upstreams.waiting.pop().failed()
        self.asker.reactor.advance(PATIENCE - 2.0)
        self.assertEqual(self.client.replies[-1].rcode(), SERVFAIL)

    def test_handed_over_and_answered_at_once(self) -> None:
        """That is one reply, and nothing is left in flight."""
        self.ask("www.test")
        self.link.asked.clear()
        self.link.upstreams.waiting.pop().failed()
        self.assertEqual((len(self.client.replies), len(self.listener.waiting)), (2, 0))

    def test_deadline(self) -> None:
        """A query is told SERVFAIL at its deadline; what comes later is nobody's."""
        self.ask("www.test")
        self.asker.reactor.advance(PATIENCE)
        self.assertEqual(self.client.replies[-1].rcode(), SERVFAIL)
        self.came("www.test")
        self.ask("other.test")
        self.asker.reactor.advance(PATIENCE)
        self.link.upstreams.waiting.pop().failed()
        self.assertEqual((len(self.client.replies), len(self.link.asked)), (3, 1))

    def test_end(self) -> None:
        """At the end of the listener every client is told."""
        self.ask("www.test")
        self.listener.stop()
        self.assertEqual(self.client.replies[-1].rcode(), SERVFAIL)
        self.assertEqual(self.asker.reactor.getDelayedCalls(), [])

    def test_new_configuration(self) -> None:
        """A reply that comes under another configuration is sent, and not entered."""
        self.ask("www.test")
        zones = self.listener.zones
        block = zones.all_blocks()[0]
        self.listener.serve(zones_of(root=ServedBlock(block.ask, links=block.links, observers=block.observers)))
        entries = len(self.table)
        self.came("www.test")
        self.assertEqual((self.client.replies[-1].rcode(), len(self.table)), (0, entries))

    def test_too_large(self) -> None:
        """A reply that the client cannot take is the plugins' to cut."""
        self.ask("www.test")
        self.came("www.test", tuple(range(60)))
        self.assertEqual(len(self.link.asked), 2)
        answer = replace(self.link.reply("www.test"), body=message("www.test", tuple(range(60))))
        self.link.waiting.pop().callback(answer)
        self.assertTrue(self.client.replies[-1].flags & 0x0200)
