# -*- test-case-name: tests.testing.test_plugin -*-
"""
A test kit for plugins: a request, a parsed directive, a built block, and the check that kdns never repeats what the plugin would not say.

Nothing here opens a socket or waits: the clock is the test's, and ``bench.advance(seconds)`` moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, attempt, chain
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Metadata, Request, Server, Transport
from kdns.core.validity import FROM_UPSTREAM, NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError
from kdns.corefile.keys import server_keys
from kdns.corefile.parser import Surroundings, parse
from kdns.plugin.registry import find, order_of
from kdns.plugin.seam import Block, BlockBuilder, Directive, ServerContext
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.listener import Listener
from kdns.server.table import TableBudget
from kdns.wire.constants import IN, RA, RD, SERVFAIL, TXT, A, type_number
from kdns.wire.message import scan
from kdns.wire.names import ROOT, spelled_from_text, to_text
from kdns.wire.query import HEADER, Edns
from kdns.wire.records import Record, a_or_aaaa, txt

CLIENTS = ("127.0.0.1", "10.0.0.1")
LABEL = "dns://:53"


class Upstream(Link):
    """
    The end of a chain: an upstream that answers everything, each name with an address of its own.

    :param says: answers instead, when given.
    """

    name = "forward"
    varies = NOTHING

    def __init__(self, says: Callable[[Request], Reply] | None = None) -> None:
        self._says = says
        self.asked: list[Request] = []

    def answer(self, request: Request, next: Next) -> Reply:
        self.asked.append(request)
        if self._says is not None:
            return self._says(request)
        address = bytes((192, 0, 2, sum(request.qname) & 0xFF))
        record = a_or_aaaa(request.spelled, 300, address)
        if request.qtype != A:
            record = txt(request.spelled, 300, b"text")._replace(rtype=request.qtype if request.qtype else TXT)
        return Answer(flags=RA, body=Sections((record,)), validity=FROM_UPSTREAM, source=self.name)


class _NoLookups:
    """The server of requests that do not come from a listener."""

    label = LABEL

    def resolve(self, request: Request) -> Reply:
        raise ResolutionFailed("a request of the test kit has no server to look names up", SERVFAIL)


def a_request(
    qname: str,
    qtype: str | int = A,
    *,
    qclass: int = IN,
    flags: int = RD,
    edns: Edns | None = None,
    transport: Transport = Transport.UDP,
    client: str = "127.0.0.1",
    client_port: int = 40212,
    server: Server | None = None,
    metadata: Metadata | None = None,
    arrived: float = 0.0,
) -> Request:
    spelled = spelled_from_text(qname)
    number = type_number(qtype) if isinstance(qtype, str) else qtype
    assert number is not None, f"no record type {qtype}"
    return Request(
        spelled.lower(),
        spelled,
        number,
        qclass,
        4711,
        flags,
        edns,
        transport,
        client,
        client_port,
        "127.0.0.1",
        arrived,
        12 + len(spelled) + 4,
        server if server is not None else _NoLookups(),
        metadata=metadata,
    )


def a_query(qname: str, qtype: str | int = A, *, ident: int = 4711, flags: int = RD) -> bytes:
    """A query message."""
    number = type_number(qtype) if isinstance(qtype, str) else qtype
    assert number is not None, f"no record type {qtype}"
    question = spelled_from_text(qname) + number.to_bytes(2, "big") + b"\x00\x01"
    return HEADER.pack(ident, flags, 1, 0, 0, 0) + question


class PluginBench:
    """
    One directive in a server block in front of an upstream.

    :param directive: the plugin.
    :param text: its words, as they would stand in a server block.
    :param upstream: what the upstream says; by default an address for each name.
    :param zone: the zone of the server block.
    :param behind: links between the plugin and the upstream, as if their directives stood in the block.
    :raises kdns.corefile.errors.CorefileError: the directive refuses *text*.
    """

    def __init__(
        self,
        directive: Directive,
        text: str,
        upstream: Callable[[Request], Reply] | None = None,
        zone: str = ".",
        behind: Sequence[Link] = (),
    ) -> None:
        self._directive = directive
        self._behind = tuple(behind)
        self._text = text
        self._zone = zone
        self._says = upstream
        self.clock = Clock()
        self.context = ServerContext(
            self.clock,
            clock=self.clock.seconds,
            wall=lambda: 1_700_000_000.0 + self.clock.seconds(),
            random=Random(1),
            kernel_sockets=False,
        )
        self._builders: list[BlockBuilder] = []
        self.config = self.parse(text)
        self.upstream = Upstream(upstream)
        self.builder = self._built()
        links = [*self.builder.links, *self._behind, self.upstream]
        self._ask = self._chain(links)
        zones = Zones()
        self._served(zones, self._ask, links, self.builder)
        self._listener = Listener(self.context, LABEL, zones)

    # Parsing

    def _block(self, text: str) -> tuple[Block, Dispenser]:
        corefile = f"{self._zone} {{\n{text}\n}}\n"
        tree = parse(corefile, "Corefile", Surroundings((self._directive.name,))).blocks[0]
        use = tree.directives[self._directive.name]
        names = {*tree.directives, *(link.name for link in self._behind)}
        return Block(server_keys(tree), frozenset(names)), Dispenser(use)

    def parse(self, text: str) -> Any:
        """
        The config that the directive makes of *text*.

        :raises kdns.corefile.errors.CorefileError: it refuses.
        """
        block, words = self._block(text)
        return self._directive.parse(words, block)

    def error(self, text: str) -> str:
        """The error that a Corefile with *text* causes; the words begin on line 2."""
        block, words = self._block(text)
        try:
            self._directive.parse(words, block)
        except CorefileError as error:
            if error.place is None:
                error.place = words.place
            return str(error)
        raise AssertionError(f"{self._directive.name} takes {text!r}")

    # Asking

    def _built(self) -> BlockBuilder:
        block, words = self._block(self._text)
        builder = BlockBuilder(self.context, block, 0)
        self._directive.build(self._directive.parse(words, block), builder)
        for resource in builder.resources:
            resource.start()
        self._builders.append(builder)
        return builder

    def _chain(self, links: Sequence[Link]) -> Next:
        for place, link in enumerate(links):
            link.placed(links[place + 1 :])
        return chain(links)

    def _served(self, zones: Zones, ask: Next, links: Sequence[Link], builder: BlockBuilder) -> None:
        block = ServedBlock(ask, observers=tuple(builder.observers), filters=tuple(builder.filters), links=tuple(links))
        for key in builder.block.keys:
            zones.add(key.zone, block)
        if builder.filters:
            zones.add(ROOT, ServedBlock(self._chain([Upstream(self._says)])))

    def ask(self, qname: str, qtype: str | int = A, **about: Any) -> Answer:
        """
        What the plugin and the upstream behind it answer; a failure is an answer with its response code.

        :param about: see :func:`a_request`; ``client="10.0.0.1"`` and the like.
        """
        about.setdefault("server", self._listener)
        reply = attempt(self._ask, a_request(qname, qtype, arrived=self.clock.seconds(), **about))
        if isinstance(reply, Deferred):
            found: list[Any] = []
            reply.addBoth(found.append)
            assert found, "the answer has to wait: advance the clock, or answer from memory"
            reply = found[0]
        if isinstance(reply, Failure):
            error = reply.value
            if not isinstance(error, ResolutionFailed):
                reply.raiseException()
            assert isinstance(error, ResolutionFailed)
            return Answer(error.rcode, ede=() if error.ede is None else (error.ede,))
        return reply

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def stop(self) -> None:
        for builder in self._builders:
            for resource in reversed(builder.resources):
                resource.stop()
        self._builders.clear()

    # Repeating

    def check_repeats(
        self,
        names: Iterable[str],
        *,
        qtypes: Sequence[str | int] = (A,),
        clients: Sequence[str] = CLIENTS,
        transports: Sequence[Transport] = (Transport.UDP, Transport.TCP),
        change: Callable[[], object] | None = None,
    ) -> None:
        """
        Ask each question thrice as each client over each transport, with the answer table and a cache in front and without.

        The two servers are built from the same words. If the plugin's answers are ever repeated where it would say something else, the
        replies differ. TTLs, the AA bit (which a cache sets) and the order of records are not compared.

        :param change: called once, after all questions were asked thrice; then all are asked thrice again.
        :raises AssertionError: the replies differ; the message says to whom, for what, and how.
        """
        bare, full = self._server(kept=False), self._server(kept=True)
        names = list(names)
        for round in range(6 if change is not None else 3):
            if round == 3 and change is not None:
                change()
            for qname in names:
                for qtype in qtypes:
                    for transport in transports:
                        for client in clients:
                            wanted = bare(qname, qtype, client, transport)
                            found = full(qname, qtype, client, transport)
                            assert found == wanted, (
                                f"round {round + 1}, {client} over {transport.value} asked {qname} {qtype}: "
                                f"the plugin says {wanted}, and kdns repeated {found}"
                            )
            self.advance(0.25)

    def _server(self, kept: bool) -> Callable[[str, str | int, str, Transport], object]:
        """A separate server, with or without everything that replays answers."""
        builder = self._built()
        links: list[Link] = [*builder.links, *self._behind, Upstream(self._says)]
        if kept:
            use = (
                parse(f"{self._zone} {{\ncache 30\n}}\n", "Corefile", Surroundings(("cache",)))
                .blocks[0]
                .directives["cache"]
            )
            cache = find("cache", use.place)
            behind = BlockBuilder(self.context, builder.block, 1)
            cache.build(cache.parse(Dispenser(use), builder.block), behind)
            inner = order_of(self._directive.name, self._directive) > order_of("cache", cache)
            at = 0 if inner else len(builder.links)
            links[at:at] = behind.links
        zones = Zones()
        self._served(zones, self._chain(links), links, builder)
        listener = Listener(self.context, LABEL, zones)
        tables = {transport: TableBudget(1 << 20).table() for transport in Transport}

        def ask(qname: str, qtype: str | int, client: str, transport: Transport) -> object:
            query = a_query(qname, qtype)
            replies: list[bytes] = []
            table = tables[transport] if kept else None
            key = listener.table_key(query, client)
            if table is not None:
                hit = listener.replay.at_hand(table, key, 4711, client, 40212, self.clock.seconds())
                if hit is not None:
                    return _summary(query[:2] + hit)
            listener.receive(query, transport, client, 40212, "127.0.0.1", replies.append, table, key)
            return _summary(replies[0]) if replies else "no reply yet"

        return ask


def _summary(reply: bytes) -> object:
    """The part of a reply that is compared."""
    if not reply:
        return "no reply"
    message = scan(reply)

    def shown(record: Record) -> tuple[str, int, bytes]:
        return to_text(record.owner), record.rtype, record.rdata

    return message.rcode, [sorted(map(shown, section)) for section in message.sections()]


__all__ = ["CLIENTS", "PluginBench", "Upstream", "a_query", "a_request"]
