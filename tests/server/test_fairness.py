"""Shares of clients: what one that floods gets, and what it leaves to others."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.chain import Link
from kdns.plugin.capabilities import AsksUpstreams
from kdns.server.deadlines import InFlight
from kdns.server.fairness import BUCKETS, FACTOR, GUARANTEED, OTHERS, MissShares, bucket_of
from kdns.server.streams import ConnectionLimit
from kdns.wire.constants import SERVFAIL
from kdns.wire.names import from_text
from tests.server.support import Asker, Slow, a_block, address, zones_of

NAME = from_text("web.prod")


def apart(number: int) -> list[str]:
    """Addresses of clients that meet in no bucket."""
    found: dict[int, str] = {}
    for host in range(65536):
        client = f"10.1.{host >> 8}.{host & 255}"
        found.setdefault(bucket_of(client), client)
        if len(found) == number:
            return list(found.values())
    raise AssertionError("there are not so many buckets")


class BucketTests(SynchronousTestCase):
    """Who is one client."""

    def test_networks(self) -> None:
        """An IPv6 client may have all addresses of its /64; every bucket is used, and no text is too odd for one."""
        self.assertEqual(bucket_of("2001:db8:1:2::1"), bucket_of("2001:db8:1:2:ffff::9"))
        self.assertEqual(len({bucket_of(f"10.0.{a}.{b}") for a in range(64) for b in range(256)}), BUCKETS)
        for text in ("", "::", "fe80::1%eth0", "example"):
            self.assertIn(bucket_of(text), range(BUCKETS))


class InFlightTests(SynchronousTestCase):
    """Places of queries that wait."""

    def fill(self, waiting: InFlight[int], bucket: int) -> int:
        """Add as many queries of a bucket as may be; how many that were."""
        many = 0
        while not waiting.full and not waiting.over_share(bucket):
            waiting.add(many, 0.0, bucket)
            many += 1
        return many

    def test_one(self) -> None:
        """One client may have four fifths, another as much of what is left, and so on."""
        waiting: InFlight[int] = InFlight(1000)
        self.assertEqual([self.fill(waiting, bucket) for bucket in (1, 2, 3)], [800, 160, 32])

    def test_floods_settle(self) -> None:
        """Of any number of floods each comes to have as much as the others, and a polite client always finds a place."""
        chance = Random(1)
        for floods in (1, 2, 5):
            waiting: InFlight[int] = InFlight(1000)
            tickets: list[tuple[int, int]] = []
            for _ in range(40_000):
                bucket = chance.randrange(floods)
                if not waiting.over_share(bucket):
                    tickets.append((waiting.add(0, 0.0, bucket), bucket))
                if len(tickets) > 10 and chance.random() < 0.3:
                    ticket, _ = tickets.pop(chance.randrange(len(tickets)))
                    waiting.end(ticket)
                self.assertFalse(waiting.over_share(99) or waiting.full)
            held = [sum(bucket == one for _, bucket in tickets) for one in range(floods)]
            share = 1000 * FACTOR // (FACTOR * floods + 1)
            self.assertTrue(all(abs(one - share) < 40 for one in held), f"{floods}: {held}, wanted {share}")

    def test_given_back(self) -> None:
        """Places come back when queries end, in whatever way."""
        waiting: InFlight[int] = InFlight(1000, 5.0)
        self.fill(waiting, 1)
        self.assertTrue(waiting.over_share(1))
        self.assertEqual(len(waiting.expire(5.0, 9999)), 800)
        self.assertEqual(self.fill(waiting, 1), 800)
        waiting.drain()
        self.assertEqual(self.fill(waiting, 1), 800)
        for ticket in range(waiting.newest - 799, waiting.newest + 1):
            waiting.end(ticket)
        self.assertEqual(self.fill(waiting, 1), 800)

    def test_upstreams_take_less(self) -> None:
        """What upstreams take at a time is shared out; a few queries each are guaranteed beyond it."""
        waiting: InFlight[int] = InFlight(8192)
        waiting.shared = 100
        self.assertEqual(self.fill(waiting, 1), 80)
        self.assertEqual(self.fill(waiting, 2), GUARANTEED)
        self.assertEqual(self.fill(waiting, 3), GUARANTEED)


class MissTests(SynchronousTestCase):
    """Shares of processor time."""

    def refused(self, rates: dict[str, int], seconds: float = 3.0) -> dict[str, float]:
        """Who is refused how often, as shares, when queries of all come mixed, so many a second each."""
        shares = MissShares()
        chance = Random(1)
        clients = [client for client, rate in rates.items() for _ in range(rate)]
        asked = dict.fromkeys(rates, 0)
        refused = dict.fromkeys(rates, 0)
        for number in range(int(len(clients) * seconds)):
            client = chance.choice(clients)
            asked[client] += 1
            refused[client] += shares.over(client.encode(), number / len(clients))
        return {client: refused[client] / max(1, asked[client]) for client in rates}

    def test_a_hundred_and_one(self) -> None:
        """Of a hundred clients and one that asks a hundred times as much, only that one is refused, and nearly always."""
        flood, *polite = (f"10.2.0.{host}" for host in range(101))
        found = self.refused({flood: 1000, **dict.fromkeys(polite, 10)})
        self.assertGreater(found[flood], 0.9)
        # By chance one may meet the flood in its bucket.
        self.assertLess(sum(found[client] > 0 for client in polite), 5)

    def test_alone(self) -> None:
        """One client alone, or with a few probes beside it, may have everything; so may clients that ask alike."""
        self.assertEqual(self.refused({"10.2.0.1": 5000}), {"10.2.0.1": 0})
        self.assertEqual(self.refused({"10.2.0.1": 5000, "127.0.0.1": OTHERS // 4})["10.2.0.1"], 0)
        self.assertEqual(set(self.refused({f"10.2.0.{host}": 500 for host in range(4)}).values()), {0.0})

    def test_unseen(self) -> None:
        """Of a client alone nothing is refused but what comes while the kernel drops, a few aside: others may find no room."""
        shares = MissShares()
        self.assertEqual(sum(shares.over(b"flood", 0.5, True) for _ in range(100)), 100 - OTHERS)
        self.assertEqual(sum(shares.over(b"flood", 0.6, False) for _ in range(100)), 0)

    def test_over_again(self) -> None:
        """A flood that ends is forgotten within some seconds."""
        shares = MissShares()
        for number in range(2000):
            shares.over(b"flood" if number % 20 else b"%d" % number, 0.0)
        self.assertTrue(shares.over(b"flood", 0.5))
        for number in range(200):
            shares.over(b"%d" % (number % 20), 8.0 + number / 100)
        self.assertFalse(shares.over(b"flood", 10.0))


class FloodTests(SynchronousTestCase):
    """A hundred polite clients and a flood at a listener whose upstreams are slow."""

    def setUp(self) -> None:
        self.slow = Slow()
        self.asker = Asker(zones_of(root=a_block(self.slow)), most_waiting=1000)
        self.refused: list[str] = []
        self.asker.context.refused = self.refused.append

    def test_outside_names(self) -> None:
        """Every polite client waits and is answered; the flood is told why some of its queries are not."""
        flood, *polite = apart(101)
        query = dns.message.make_query("outside.example.", "A", use_edns=0)
        floods, answered = [], []
        for client in polite:
            floods += [self.asker.ask(query, client=flood) for _ in range(100)]
            answered.append(self.asker.ask(query, client=client))
        refused = [replies[0] for replies in floods if replies]
        self.assertIn(10_000 - len(refused), range(780, 801))
        self.assertEqual(len(self.asker.listener.waiting), 10_000 - len(refused) + 100)
        found = dns.message.from_wire(refused[0])
        self.assertEqual(
            (found.rcode(), [str(option) for option in found.options]), (SERVFAIL, ["EDE 0 (Other): over its share"])
        )
        self.assertEqual(self.asker.value("kdns_over_share_total"), len(refused))
        self.assertEqual(set(self.refused), {flood})
        for request, waiting in self.slow.waiting:
            if not waiting.called:  # what was refused is cancelled
                waiting.callback(address(request))
        self.assertEqual([len(replies) for replies in answered], [1] * 100)
        self.assertEqual(len(self.asker.listener.waiting), 0)

    def test_memory(self) -> None:
        """What is in memory is answered however much of the client's waits already."""
        (flood,) = apart(1)
        block = a_block(lambda request: address(request) if request.qname == NAME else self.slow(request))
        self.asker.listener.serve(zones_of(root=block))
        for _ in range(900):
            self.asker.ask(dns.message.make_query("outside.example.", "A"), client=flood)
        self.assertEqual(self.asker.read(dns.message.make_query("web.prod.", "A"), client=flood).rcode(), 0)
        self.asker.listener.stop()

    def test_cheapest(self) -> None:
        """The reply without a plugin has the question, and the reason where the client knows EDNS; what is no query gets no other."""
        for edns, options in ((None, []), (0, ["EDE 0 (Other): over its share"])):
            query = dns.message.make_query("WWW.example.", "AAAA", use_edns=edns)
            reply = dns.message.from_wire(self.asker.listener.refuse(query.to_wire(), "192.0.2.1"))
            self.assertTrue(query.is_response(reply))
            self.assertEqual((reply.rcode(), [str(option) for option in reply.options]), (SERVFAIL, options))
        self.assertEqual(self.asker.listener.refuse(b"short", "192.0.2.1"), b"")
        self.assertEqual(self.refused, ["192.0.2.1"] * 2)

    def test_upstream_limits(self) -> None:
        """Places are shared out by what the forwarders of the block take at a time."""
        for limits, shared in (((), 1000), ((0,), 1000), ((300, 200), 200), ((5000,), 1000)):
            self.asker.listener.serve(zones_of(root=replace(a_block(self.slow), links=(Upstreams(*limits),))))
            self.assertEqual(self.asker.listener.waiting.shared, shared)


class Connection:
    """A connection, which is its own factory."""

    def __init__(self, client: str, case: ConnectionTests) -> None:
        self.client = client
        self.factory = self
        self.evict = case.evicted.append


class ConnectionTests(SynchronousTestCase):
    """Who gives way when there are too many connections."""

    def setUp(self) -> None:
        self.limit = ConnectionLimit()
        self.limit.most = 200
        self.evicted: list[Any] = []

    def connect(self, client: str) -> Any:
        connection = Connection(client, self)
        self.limit.add(cast(Any, connection))
        return connection

    def test_flood(self) -> None:
        """A client that opens thousands closes its own, oldest first, however long others have asked nothing."""
        flood, *polite = apart(101)
        silent = [self.connect(client) for client in polite]
        opened = [self.connect(flood) for _ in range(1000)]
        self.assertEqual(self.evicted, opened[:900])
        late = self.connect(polite[0])
        self.assertEqual(self.evicted[900:], opened[900:901])
        self.limit.remove(late)
        for connection in silent:
            self.limit.remove(connection)
        self.connect(polite[0])
        self.assertEqual(len(self.evicted), 901)

    def test_many_clients(self) -> None:
        """Where none has many, the one that has asked nothing for longest gives way."""
        clients = apart(100)
        first, second, *_ = [self.connect(client) for client in clients * 2]
        self.limit.asked(cast(Any, first))
        self.connect(clients[5])
        self.assertEqual(self.evicted, [second])


class Upstreams(Link, AsksUpstreams):
    """Forwarders with these limits."""

    name = "forward"

    def __init__(self, *limits: int) -> None:
        self.forwarders = [SimpleNamespace(stanza=SimpleNamespace(max_concurrent=limit)) for limit in limits]
