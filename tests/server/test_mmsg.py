"""DNS over UDP in batches, on real sockets of the loopback interface."""

from __future__ import annotations

import socket
from typing import Any

import dns.message
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kdns.core.answer import Answer, Sections
from kdns.core.request import Request
from kdns.core.validity import ONCE
from kdns.plugin.seam import ServerContext
from kdns.server import mmsg
from kdns.server.blocks import ServedBlock
from kdns.server.fairness import BUCKETS, WINDOW
from kdns.server.listener import Listener
from kdns.server.sockets import OpenEndpoint, open_endpoint
from kdns.server.table import TableBudget
from kdns.testing.memory import MemoryReactor
from kdns.wire.records import Record
from tests.server.support import Counting, Slow, a_block, address, zones_of


def here() -> Any:
    """The reactor that runs the test; to mypy it is a module."""
    from twisted.internet import reactor

    return reactor


def asking(ident: int, name: str = "web.prod.") -> bytes:
    """A query."""
    return dns.message.make_query(name, "A", id=ident).to_wire()


class MmsgTests(TestCase):
    """Batches of recvmmsg and sendmmsg."""

    timeout = 20.0
    if not mmsg.available(here()):
        skip = "recvmmsg is used on Linux with 64 bits only"

    def serve(self, block: ServedBlock, host: str = "127.0.0.1") -> OpenEndpoint:
        """Listen with a block for the root."""
        self.context = ServerContext(here())
        self.room = TableBudget(10_000_000)
        listener = Listener(self.context, "dns://:0", zones_of(root=block))
        opened = open_endpoint(here(), listener, host, 0, self.room)
        self.addCleanup(opened.close, self.room)
        self.assertIsInstance(opened.datagrams[0], mmsg.MmsgPort)
        return opened

    def client(self, opened: OpenEndpoint, to: str = "127.0.0.1", source: str = "") -> socket.socket:
        """A client's socket; it takes replies only from the address it asks."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        sock.connect((to, opened.port))
        self.addCleanup(sock.close)
        return sock

    async def replies(self, sock: socket.socket, count: int, patience: float = 10.0) -> list[bytes]:
        """So many replies, or those that came while there was patience."""
        found: list[bytes] = []
        reactor = here()
        end = reactor.seconds() + patience
        while len(found) < count and reactor.seconds() < end:
            try:
                found.append(sock.recv(65535))
            except BlockingIOError:
                await deferLater(reactor, 0.001)
        return found

    def run_with(self, test: Any) -> Deferred[None]:
        """Run a coroutine."""
        return Deferred.fromCoroutine(test)

    def test_families(self) -> Deferred[None]:
        """IPv4, IPv6 and both wildcards answer, and know their clients."""
        seen: list[tuple[str, int, str]] = []

        def say(request: Request) -> Answer:
            seen.append((request.client, request.client_port, request.local))
            return Answer(validity=ONCE)

        async def test() -> None:
            for host, to, local in (
                ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
                ("::1", "::1", "::1"),
                ("", "127.0.0.1", "::"),
                ("", "::1", "::"),
            ):
                sock = self.client(self.serve(a_block(say), host), to)
                sock.send(asking(7))
                (reply,) = await self.replies(sock, 1)
                self.assertEqual(dns.message.from_wire(reply).id, 7)
                self.assertEqual(seen[-1], (*sock.getsockname()[:2], local))

        return self.run_with(test())

    def test_flood(self) -> Deferred[None]:
        """While more waits than is read at a time, a client that floods is refused what is not in the table, and no other."""
        refused: list[str] = []

        async def test() -> None:
            opened = self.serve(a_block(lambda request: Answer(validity=ONCE)))
            self.context.refused = refused.append
            flood = self.client(opened, source="127.0.0.2")
            taken = hash(socket.inet_aton("127.0.0.2")) % BUCKETS
            hosts = [f"127.0.1.{host}" for host in range(1, 99)]
            polite = [host for host in hosts if hash(socket.inet_aton(host)) % BUCKETS != taken][:40]
            clients = [self.client(opened, source=host) for host in polite]
            for number, client in enumerate(clients):
                for ident in range(9):
                    flood.send(asking(number * 9 + ident, f"n{number}-{ident}.example."))
                client.send(asking(7))
            for client in clients:
                (reply,) = await self.replies(client, 1)
                self.assertEqual(dns.message.from_wire(reply).rcode(), 0)
            rcodes = [int(dns.message.from_wire(reply).rcode()) for reply in await self.replies(flood, 360)]
            self.assertEqual((len(rcodes), set(rcodes)), (360, {0, 2}))
            self.assertEqual(refused, ["127.0.0.2"] * rcodes.count(2))
            # Nothing waits any more, so it may ask again.
            flood.send(asking(1, "once.example."))
            (reply,) = await self.replies(flood, 1)
            self.assertEqual(dns.message.from_wire(reply).rcode(), 0)

        return self.run_with(test())

    def test_overflow(self) -> Deferred[None]:
        """A flood that leaves others no room in the kernel's buffer is dropped, but for a few, until there is room again."""
        refused: list[str] = []

        async def test() -> None:
            opened = self.serve(a_block(lambda request: Answer(validity=ONCE)))
            self.context.refused = refused.append
            opened.receiving[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            flood = self.client(opened, source="127.0.0.2")
            for ident in range(1000):
                flood.send(asking(ident, f"n{ident}.example."))
            dropped = opened.drops()
            self.assertGreater(dropped, 0)
            answered = await self.replies(flood, 1000, 0.3)
            self.assertEqual(set(refused), {"127.0.0.2"})
            self.assertEqual(len(answered) + len(refused) + dropped, 1000)
            self.assertLess(len(answered), 100)

        return self.run_with(test())

    def test_old_overflow(self) -> Deferred[None]:
        """What the kernel dropped long ago is held against nobody."""

        async def test() -> None:
            now = [1000.0]
            opened = self.serve(a_block(lambda request: Answer(validity=ONCE)))
            self.context.clock = lambda: now[0]
            opened.receiving[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client = self.client(opened, source="127.0.0.2")
            for ident in range(1000):
                client.send(asking(ident, f"n{ident}.example."))
            dropped = opened.drops()
            self.assertGreater(dropped, 0)
            port = opened.datagrams[0]
            port._look_at = 1000.0 - 2 * WINDOW
            answered = await self.replies(client, 1000, 0.3)
            self.assertEqual(len(answered) + dropped, 1000)

        return self.run_with(test())

    def test_long_batch(self) -> Deferred[None]:
        """A batch that takes longer than a turn is answered in several, without waiting for another query; the end leaves nothing of it."""
        now = [0.0]
        seen: list[int] = []

        def say(request: Request) -> Answer:
            now[0] += mmsg.TURN_SECONDS * 0.6
            seen.append(request.ident)
            return Answer(validity=ONCE)

        async def test() -> None:
            opened = self.serve(a_block(say))
            self.context.clock = lambda: now[0]
            (port,) = opened.datagrams
            sock = self.client(opened)
            for ident in range(10):
                sock.send(asking(ident))
            port.doRead()
            self.assertEqual(seen, [0, 1])
            found = await self.replies(sock, 10)
            self.assertEqual([reply[1] for reply in found], list(range(10)))
            for ident in range(10, 20):
                sock.send(asking(ident))
            port.doRead()
            self.assertEqual(len(seen), 12)
            port.stopListening()
            self.assertEqual(seen, list(range(20)))
            self.assertEqual(len(await self.replies(sock, 10)), 10)

        return self.run_with(test())

    def test_answers_from_where_it_was_asked(self) -> Deferred[None]:
        """A wildcard answers from the address that was asked, at once, out of the table, and later."""
        slow = Slow()

        async def test() -> None:
            opened = self.serve(
                a_block(lambda request: slow(request) if request.qname[1:2] == b"s" else address(request)), ""
            )
            for number, to in enumerate(("127.0.0.1", "127.0.0.2", "127.9.8.7", "::1")):
                sock = self.client(opened, to)  # connected: the kernel drops what comes from anywhere else
                for ident in (1, 2):
                    sock.send(asking(ident))
                    self.assertEqual(len(await self.replies(sock, 1)), 1, to)
                sock.send(asking(3, f"s-{number}.prod."))
                await deferLater(here(), 0.02)
                slow.give()
                self.assertEqual(len(await self.replies(sock, 1)), 1, to)

        return self.run_with(test())

    def test_many(self) -> Deferred[None]:
        """A thousand queries in one go are all answered, each with its identifier and its name, and all are counted."""
        observer = Counting(each=True)

        async def test() -> None:
            sock = self.client(self.serve(a_block(address, observer)))
            found: dict[int, str] = {}
            for start in range(0, 1000, 250):
                for ident in range(start, start + 250):
                    sock.send(asking(ident, f"n{ident % 7}.prod."))
                for reply in await self.replies(sock, 250):
                    message = dns.message.from_wire(reply)
                    found[message.id] = str(message.answer[0].name)
            self.assertEqual(found, {ident: f"n{ident % 7}.prod." for ident in range(1000)})
            self.assertEqual(len(observer.exchanges), 7)
            self.assertEqual(len(observer.replay), 993)
            self.context.tallies.fold()
            self.assertEqual(observer.count.value, 1000)
            self.assertEqual(sum(observer.durations.counts), 1000)

        return self.run_with(test())

    def test_mixed_batch(self) -> Deferred[None]:
        """Hits, misses, silence and answers that come later stand side by side in one batch, and nothing gets mixed up."""
        slow = Slow()

        def say(request: Request) -> Any:
            if request.qname[1:2] == b"s":
                return slow(request)
            return address(request) if request.qname[1:2] == b"h" else Answer(3)

        async def test() -> None:
            sock = self.client(self.serve(a_block(say)))
            sock.send(asking(0, "hit."))
            await self.replies(sock, 1)
            kinds = ("hit.", "miss.", "slow.", "")
            for ident in range(1, 41):
                name = kinds[ident % 4]
                sock.send(asking(ident, name) if name else b"short")
            early = {
                dns.message.from_wire(reply).id: dns.message.from_wire(reply) for reply in await self.replies(sock, 20)
            }
            self.assertEqual(sorted(early), [ident for ident in range(1, 41) if ident % 4 in (0, 1)])
            for ident, message in early.items():
                self.assertEqual(
                    (message.rcode(), str(message.question[0].name)), (3 if ident % 4 else 0, kinds[ident % 4])
                )
            self.assertEqual(len(slow.waiting), 10)
            while slow.waiting:
                slow.give(len(slow.waiting) - 1)
            late = sorted(dns.message.from_wire(reply).id for reply in await self.replies(sock, 10))
            self.assertEqual(late, [ident for ident in range(1, 41) if ident % 4 == 2])

        return self.run_with(test())

    def test_fragments(self) -> Deferred[None]:
        """Datagrams of any few octets keep nothing from what came with them."""
        opened = self.serve(a_block())
        sock = self.client(opened)

        async def test() -> None:
            for size in range(13):
                sock.send(bytes(size))
                sock.send(b"\xff" * size)
                sock.send(asking(size))
            replies = [reply for reply in await self.replies(sock, 14) if len(reply) > 12]
            self.assertEqual(sorted(reply[1] for reply in replies), list(range(13)))

        return self.run_with(test())

    def test_one_fails(self) -> Deferred[None]:
        """A query that raises where nobody expects it is lost alone; those that came with it are answered."""
        opened = self.serve(a_block())
        sock = self.client(opened)
        receive = opened.listener.receive

        def raising(message: bytes, *rest: Any) -> None:
            if message[:2] == b"\x00\x07":
                raise ZeroDivisionError("unforeseen")
            receive(message, *rest)

        self.patch(opened.listener, "receive", raising)

        async def test() -> None:
            for ident in range(20):
                sock.send(asking(ident, f"n{ident}."))
            idents = sorted(dns.message.from_wire(reply).id for reply in await self.replies(sock, 19))
            self.assertEqual(idents, [ident for ident in range(20) if ident != 7])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

        return self.run_with(test())

    def test_too_long(self) -> Deferred[None]:
        """A query over 4096 octets is cut, and answered or refused; the next one is not touched by it."""

        async def test() -> None:
            sock = self.client(self.serve(a_block()))
            opt = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x17\x70" + b"\x00\x0c\x17\x6c" + bytes(5996)
            query = bytearray(asking(1) + opt)
            query[11] = 1
            sock.send(bytes(query))
            sock.send(asking(2))
            one, two = [dns.message.from_wire(reply) for reply in await self.replies(sock, 2)]
            self.assertEqual((one.id, one.rcode(), two.id, two.rcode()), (1, 1, 2, 0))

        return self.run_with(test())

    def test_cannot_send(self) -> Deferred[None]:
        """A reply that the kernel does not take is counted, and those behind it go out."""

        async def test() -> None:
            # 65,535 octets may be asked for, but a datagram over IPv4 has 65,507 at most: this reply cannot leave.
            def say(request: Request) -> Answer:
                if request.edns is None:
                    return address(request)
                rest = 65520 - 12 - len(request.question) - 11 - 12
                return Answer(body=Sections(answer=(Record(request.spelled, 65280, 1, 5, bytes(rest)),)))

            opened = self.serve(a_block(say))
            sock = self.client(opened)
            query = dns.message.make_query("web.prod.", "A", id=1, use_edns=0, payload=65535)
            sock.send(query.to_wire())
            sock.send(asking(2))
            found = await self.replies(sock, 1)
            self.assertEqual([dns.message.from_wire(reply).id for reply in found], [2])
            lost = next(
                family.counter().value
                for family in self.context.registry.families()
                if family.name == "kdns_udp_send_errors_total"
            )
            self.assertEqual(lost, 1)

        return self.run_with(test())

    def test_after_the_end(self) -> Deferred[None]:
        """An answer that comes when the socket is closed goes nowhere."""
        slow = Slow()

        async def test() -> None:
            opened = self.serve(a_block(slow))
            sock = self.client(opened)
            sock.send(asking(1))
            await deferLater(here(), 0.02)
            opened.datagrams[0].stopListening()
            slow.give()
            self.assertEqual(opened.datagrams[0].fileno(), -1)

        return self.run_with(test())

    def test_step_aside(self) -> Deferred[None]:
        """
        A socket that steps aside answers what the kernel holds for it; what comes afterwards goes to who shares the port, and nothing is
        lost; what waits is still answered.
        """
        slow = Slow()

        async def test() -> None:
            for host, to in (("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1")):
                opened = self.serve(
                    a_block(lambda request: slow(request) if request.ident < 100 else address(request)), host
                )
                clients = [self.client(opened, to) for _ in range(20)]
                clients[0].send(asking(1))
                await deferLater(here(), 0.02)
                successor = open_endpoint(
                    here(),
                    Listener(ServerContext(here()), "dns://:0", zones_of(root=a_block())),
                    host,
                    opened.port,
                    self.room,
                )
                self.addCleanup(successor.close, self.room)
                for number, client in enumerate(clients):
                    client.send(asking(100 + number))
                opened.leave()
                for number, client in enumerate(clients):
                    client.send(asking(200 + number))
                slow.give()
                await deferLater(here(), 0.02)
                for port in opened.datagrams:
                    port.stopListening()
                for client in clients:
                    client.send(asking(300))
                for number, client in enumerate(clients):
                    wanted = [100 + number, 200 + number, 300] + ([] if number else [1])
                    found = await self.replies(client, len(wanted))
                    self.assertEqual(
                        sorted(dns.message.from_wire(reply).id for reply in found), sorted(wanted), (host, to)
                    )

        return self.run_with(test())

    def test_not_in_memory(self) -> None:
        """A reactor whose network is in memory watches no descriptors of this machine, so the context says so."""
        self.assertTrue(mmsg.available(MemoryReactor()))
        room = TableBudget(1_000_000)
        reactor = MemoryReactor()
        context = ServerContext(reactor, kernel_sockets=False)
        opened = open_endpoint(reactor, Listener(context, "dns://:0", zones_of(root=a_block())), "127.0.0.1", 0, room)
        self.assertNotIsInstance(opened.datagrams[0], mmsg.MmsgPort)
        opened.close(room)
