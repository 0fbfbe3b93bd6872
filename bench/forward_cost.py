"""
What one forwarded query costs over loopback UDP, beside Twisted Names' client in the same run.

Run it as ``python -m bench.forward_cost``. The upstream is a process of its own; printed is the processor time that this process needs for
a query, with so many queries in flight at once, and each way's ratio to Twisted Names. "kdns sockets" is the callback face under the
forwarder alone: bytes out, compared bytes in. One way asks through ``reactor.listenUDP``, to tell what sockets of kdns's own are worth.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

QUERIES = 4000
TOGETHER = 20
ROUNDS = 3


def serve(ready: Any) -> None:
    """Answer every query with one A record, for ever."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    ready.send(here.getsockname()[1])
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
    while True:
        query, asker = here.recvfrom(512)
        end = query.index(0, 12) + 5
        here.sendto(query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + query[12:end] + answer, asker)


def names() -> Any:
    """Names that were not asked before, so that nothing is shared or cached."""
    number = 0
    while True:
        number += 1
        yield f"host{number}.example.com"


class PortQuery(DatagramProtocol):
    """One query on a port of Twisted's."""

    def __init__(self, reactor: Any, port: int, message: bytes, ident: int) -> None:
        self.done: Deferred[bytes] = Deferred()
        self.ident = ident
        self.port = reactor.listenUDP(0, self, maxPacketSize=65535)
        self.port.connect("127.0.0.1", port)
        self.port.write(message)
        self.call = reactor.callLater(2.0, self.done.errback, TimeoutError())

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Take the reply with the right identifier."""
        if datagram[0] << 8 | datagram[1] == self.ident:
            self.call.cancel()
            self.port.stopListening()
            self.done.callback(datagram)


def ways(reactor: Any, port: int) -> dict[str, Callable[[str], Deferred[Any]]]:
    """What is compared, by name."""
    from twisted.names.client import Resolver

    from kdns.core.request import Request, Transport
    from kdns.plugins.forward import Forwarder, Stanza, Target
    from kdns.plugins.forward.queries import WaitingQuery
    from kdns.plugins.forward.sockets import UdpSockets
    from kdns.wire.constants import IN, RD, A
    from kdns.wire.names import from_text

    forwarder = Forwarder(Stanza((Target("127.0.0.1", port),)), reactor)
    forwarder.start()
    sockets = UdpSockets(reactor, Target("127.0.0.1", port), SystemRandom(), 2.0)
    resolver = Resolver(servers=[("127.0.0.1", port)], reactor=reactor)
    chance = SystemRandom()

    class NoServer:
        label = "dns://:53"

        def resolve(self, request: Request) -> Any:
            raise AssertionError("nothing is asked inside")

    def request(name: str) -> Request:
        qname = from_text(name)
        return Request(
            qname, qname, A, IN, 1, RD, None, Transport.UDP, "127.0.0.1", 4000, "127.0.0.1", 0.0, 40, NoServer()
        )

    def own(name: str) -> Deferred[Any]:
        return forwarder.ask(request(name))

    def bare(name: str) -> Deferred[Any]:
        message = request(name).wire(0)[2:]
        query = WaitingQuery(message, message[10:])
        sockets.send(query)
        return query.done

    def by_port(name: str) -> Deferred[Any]:
        ident = chance.getrandbits(16)
        return PortQuery(reactor, port, request(name).wire(ident), ident).done

    def twisted(name: str) -> Deferred[Any]:
        looking: Deferred[Any] = resolver.lookupAddress(name)
        return looking

    return {"kdns forward": own, "kdns sockets": bare, "bare listenUDP": by_port, "twisted.names.client": twisted}


async def measure(ask: Callable[[str], Deferred[Any]], asked: Any) -> tuple[float, float]:
    """Processor and wall microseconds of a query."""
    left = QUERIES

    async def one_after_another() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask(next(asked))

    processor, wall = time.process_time(), time.perf_counter()
    for work in [Deferred.fromCoroutine(one_after_another()) for _ in range(TOGETHER)]:
        await work
    return (
        (time.process_time() - processor) / QUERIES * 1e6,
        (time.perf_counter() - wall) / QUERIES * 1e6,
    )


async def main(reactor: Any, port: int) -> None:
    """Measure each way in turn, several times, and print the best."""
    found: dict[str, tuple[float, float]] = {}
    compared = ways(reactor, port)
    asked = names()
    for _ in range(ROUNDS):
        for name, ask in compared.items():
            now = await measure(ask, asked)
            found[name] = min(found.get(name, now), now)
    yardstick = found["twisted.names.client"][0]
    print(f"{'way':24}{'processor us':>14}{'wall us':>10}{'ratio':>8}")
    for name, (processor, wall) in found.items():
        print(f"{name:24}{processor:14.1f}{wall:10.1f}{yardstick / processor:8.2f}")


if __name__ == "__main__":
    near, far = multiprocessing.Pipe()
    upstream = multiprocessing.Process(target=serve, args=(far,), daemon=True)
    upstream.start()
    number = near.recv()

    from twisted.internet.task import react

    def run(reactor: Any) -> Deferred[None]:
        """Measure, then end the upstream."""
        done = Deferred.fromCoroutine(main(reactor, number))

        def end(result: Any) -> Any:
            upstream.terminate()
            return result

        return done.addBoth(end)

    react(run, [])
    sys.exit(0)
