"""Every query and reply is told, whichever way it is answered."""

from __future__ import annotations

from typing import Any

from dnstap_pb import Dnstap, Message  # type: ignore[import-untyped]  # it has no annotations
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.chain import chain
from kdns.core.request import Transport
from kdns.plugin.seam import ServerContext
from kdns.plugins.dnstap.tap import Extra, TapLink
from kdns.testing.memory import MemoryReactor
from kdns.testing.plugin import Upstream, a_query, a_request
from kdns.wire.message import scan
from kdns.wire.query import pack_options
from tests.conformance.world import EPOCH, MemoryWorld
from tests.plugins.dnstap.reader import Reader, Readers

COREFILE = """
.:1053 {
    dnstap tcp://127.0.0.1:6000 full
    cache 30
    hosts {
        192.0.2.1 a.test
        192.0.2.2 a.test
        fallthrough
    }
    forward . {{UPSTREAM}}
    loadbalance
}
"""

FORWARDING = ".:1053 {\n dnstap tcp://127.0.0.1:6000 full\n cache 30\n forward . {{UPSTREAM}}\n}\n"

QUERY, RESPONSE = Message.CLIENT_QUERY, Message.CLIENT_RESPONSE
ASKED, REPLIED = Message.FORWARDER_QUERY, Message.FORWARDER_RESPONSE


def with_cookie(query: bytes, cookie: bytes) -> bytes:
    """A query with a client cookie."""
    rdata = pack_options([(10, cookie)])
    opt = b"\0\0\x29\x04\xd0\0\0\0\0" + len(rdata).to_bytes(2, "big") + rdata
    return query[:11] + b"\x01" + query[12:] + opt


class ServedTests(SynchronousTestCase):
    """A whole server with cache, answer table and an upstream."""

    def start(self, corefile: str = COREFILE) -> MemoryWorld:
        self.readers = Readers()
        self.world = MemoryWorld(corefile)
        port = self.world.reactor.listenTCP(6000, self.readers, interface="127.0.0.1")
        self.world.start()
        self.world.reactor.advance(1)
        self.addCleanup(self.stop, port)
        return self.world

    def stop(self, port: Any) -> None:
        self.world.stop()
        port.stopListening()
        self.world.reactor.settle()
        self.assertEqual(self.world.reactor.leftovers(), [])

    @property
    def reader(self) -> Reader:
        return self.readers.all[0]

    def ask(self, query: bytes, proto: str = "udp", source: str = "127.0.0.1") -> tuple[bytes, list[Dnstap]]:
        """The reply, and the messages about it."""
        reply, self.port = self.world.ask(query, proto, source)
        assert reply is not None
        self.world.reactor.advance(0.3)
        return reply, self.reader.take()

    def test_every_repetition(self) -> None:
        """A query that is asked thrice by two clients is told six times, as it was and with the reply that was sent."""
        world = self.start()
        replies = set()
        for round in range(3):
            for source in ("127.0.0.1", "10.0.0.1"):
                for proto, number in (("udp", 1), ("tcp", 2)):
                    query = a_query("a.test", ident=round * 7 + number)
                    reply, found = self.ask(query, proto, source)
                    self.assertEqual([one.message.type for one in found], [QUERY, RESPONSE])
                    asked, replied = (one.message for one in found)
                    self.assertEqual((asked.query_message, replied.response_message), (query, reply))
                    self.assertEqual(asked.socket_protocol, number)
                    self.assertEqual(asked.query_address, bytes(map(int, source.split("."))))
                    self.assertEqual(asked.query_port, self.port)
                    self.assertLess(0, asked.query_time_sec - EPOCH)
                    self.assertLess(asked.query_time_sec - EPOCH, 60)
                    replies.add(tuple(record.rdata for record in scan(reply).sections()[0]))
        self.assertEqual(len(replies), 2, "the addresses take turns, and each message shows its own order")
        self.assertGreater(world.service.table_budget.uses().given, 8)

    def test_cookies(self) -> None:
        """Queries with different cookies share an entry of the table; each message has its own."""
        self.start()
        for round in range(4):
            query = with_cookie(a_query("a.test", ident=round), bytes([round] * 8))
            reply, (asked, replied) = self.ask(query)
            self.assertEqual((asked.message.query_message, replied.message.response_message), (query, reply))
            self.assertTrue(reply.endswith(bytes([round] * 8)))

    def test_upstreams(self) -> None:
        """What is asked of an upstream is told as it was on the wire, once; what the cache has is not asked for."""
        self.start()
        reply, found = self.ask(a_query("www.example.com"))
        self.assertEqual([one.message.type for one in found], [QUERY, ASKED, REPLIED, RESPONSE])
        asked, replied = found[1].message, found[2].message
        self.assertEqual((asked.response_address, asked.response_port), (b"\x7f\0\0\x01", 5300))
        self.assertNotIn(asked.query_port, (0, self.port))
        self.assertEqual(asked.query_message[:2], replied.response_message[:2])
        told, sent = (scan(message).sections()[0] for message in (replied.response_message, reply))
        self.assertEqual([record.rdata for record in told], [record.rdata for record in sent])
        self.assertEqual(
            (asked.socket_protocol, asked.query_time_sec > 0, replied.response_time_sec > 0), (1, True, True)
        )
        for _ in range(2):
            _, found = self.ask(a_query("www.example.com"))
            self.assertEqual([one.message.type for one in found], [QUERY, RESPONSE])

    def test_upstream_over_tcp(self) -> None:
        """An attempt over TCP has the address of its connection."""
        self.start(COREFILE.replace("forward . {{UPSTREAM}}", "forward . {{UPSTREAM}} {\n force_tcp\n }"))
        _, found = self.ask(a_query("www.example.com"))
        asked = found[1].message
        self.assertEqual((asked.type, asked.socket_protocol, asked.query_address), (ASKED, 2, b"\x7f\0\0\x01"))
        self.assertTrue(asked.query_port)

    def test_nobody_answers(self) -> None:
        """An attempt without a reply is told as a query alone; the client's SERVFAIL is told."""
        self.start(COREFILE.replace("{{UPSTREAM}}", "127.0.0.1:5399"))
        _, found = self.ask(a_query("www.example.com"))
        types = [one.message.type for one in found]
        self.assertEqual((types[0], types[-1], REPLIED in types), (QUERY, RESPONSE, False))
        self.assertGreaterEqual(types.count(ASKED), 1)

    def test_across_a_reload(self) -> None:
        """A reload that changes something else keeps the connection; one without dnstap ends it."""
        world = self.start()
        self.ask(a_query("a.test"))
        for changed, types in (
            (world.corefile.replace("cache 30", "cache 31"), [QUERY, RESPONSE]),
            (world.corefile.replace("dnstap tcp", "#"), []),
        ):
            world.corefile = changed
            world.service.reload()
            world.reactor.advance(2)
            _, found = self.ask(a_query("a.test"))
            self.assertEqual([one.message.type for one in found], types)
        self.assertEqual((len(self.readers.all), self.reader.controls, self.reader.gone), (1, [4, 2, 3], True))

    def test_switched_off(self) -> None:
        """Without dnstap queries go the fast path, requests have no watchers, and nobody is told anything."""
        self.start(FORWARDING.replace("dnstap tcp", "#"))
        (opened,) = self.world.service.endpoints.values()
        self.assertTrue(opened.listener.routes)
        (block,) = opened.listener.zones.all_blocks()
        self.assertNotIn("dnstap", [link.name for link in block.links])
        self.assertEqual(block.observers, ())
        self.assertEqual(self.readers.all, [])


class LinkTests(SynchronousTestCase):
    def test_watched_once(self) -> None:
        """A request that comes to it a second time, as a look-up inside another does, is not watched twice."""
        context = ServerContext(MemoryReactor(), kernel_sockets=False)
        upstream = Upstream()
        chain([TapLink((), context), TapLink((), context), upstream])(a_request("a.test"))
        (request,) = upstream.asked
        self.assertEqual(len(request.watchers), 1)

    def test_extra(self) -> None:
        """The text knows what the query says; what the reply would say is missing."""
        request = a_request("A.test", "MX", client="fd00::1", metadata={"a/b": "c"}, transport=Transport.TLS)
        extra = Extra(
            "{name}|{type}|{remote}|{port}|{>id}|{proto}|{/a/b}|{/a/c}|{rcode}|{rsize}|{duration}|{>rflags}|{x}"
        )
        self.assertEqual(extra.text(request), b"a.test.|MX|fd00::1|40212|4711|tcp|c|-|-|-|-|-|{x}")
        self.assertEqual(Extra("").text(request), b"")
