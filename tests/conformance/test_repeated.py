"""
Every golden case again and again, cold and hot, over each way that a query can come, and in the variants that clients make of it.

Four servers of the same Corefile are asked the same questions in the same order: over UDP through the batches of recvmmsg, over UDP one
datagram at a time, over TCP, and over TCP without answer table and templates. The last one asks its plugins each time. What it
says is what the others must say, the first, the second and the third time; where the golden answer does not depend on what was asked
before, all must give that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol
from twisted.protocols.basic import Int16StringReceiver
from twisted.trial.unittest import TestCase

from kdns.core.observe import Exchange
from kdns.core.validity import Validity
from kdns.plugin.seam import ServerContext, StreamTimeouts
from kdns.server import mmsg
from kdns.server.assembly import read_text
from kdns.server.fast_path import Routes
from kdns.server.listener import Listener
from kdns.server.service import KdnsService
from kdns.server.table import AnswerTable, TableBudget
from kdns.testing.upstream import FakeUpstream, UpstreamServer
from kdns.wire.constants import TCP_KEEPALIVE
from tests.conformance.cases import CASES, CLUSTER, OTHERS, ZONES, Case, CaseFile, add_tests, case_file
from tests.conformance.client import Told, compare, query, tell
from tests.conformance.test_on_loopback import PAGES
from tests.conformance.world import OWN_ADDRESS, filled, placed, written_later

FILES_LEFT_OUT = {
    "erratic": "each question gets another reply, by design",
    "erratic-truncate": "each question gets another reply, by design",
    "erratic-axfr": "each question gets another reply, by design",
    "before-sync": "there is no API server, and each start waits five seconds for it",
    "cache-disable": "its cases wait until entries are too old",
    "cache-kubernetes": "its cases wait until entries are too old",
    "cache-keepttl": "its cases wait until entries are too old",
    "cache-prefetch": "each question may lead to another one upstream, and so to another answer",
    "cache-stale": "its upstream stops to answer, and its cases wait for that",
    "cache-stale-verify": "its upstream stops to answer, and its cases wait for that",
    "auto-reload": "its cases wait for changes of files",
    "secondary": "its two listeners need two ports, and it begins with a transfer",
    "file-reload": "its cases wait for changes of files",
    "transfer": "a transfer has several messages",
    "transfer-file-big": "a transfer has several messages",
    "transfer-file-signed": "a transfer has several messages",
    "transfer-limited": "a transfer has several messages",
    "transfer-namespaces": "a transfer has several messages",
    "views": "its blocks are chosen by the transport",
    "forward-max-concurrent": "what is answered depends on how many queries wait at a time",
}
"""Case files whose point is a state that time or questions change."""

CASES_LEFT_OUT = {
    "seq-": "the upstream counts the questions: each answer is another one",
    "silent-": "nobody answers, and it takes a query's patience to find out",
    "wrongid-": "nobody answers, and it takes a query's patience to find out",
    "slow-": "the answer takes longer than a query's patience",
    "lame-": "its upstream is silent at times",
}
"""Cases of the other files, by how their identifiers begin."""

CASES_LEFT_OUT_WITH_CACHE = {
    "tc": "the upstream is asked over TCP by who asks over TCP, and cuts over UDP; a cache knows what it learned before",
    "big-": "as above",
}
"""Those that are left out where there is a cache."""

FEWER = ("as it is", "cookie", "unknown and cookie")
"""The variants that are asked of the servers whose way is not the fast one."""

TIMES = 3

WINDOW = 40
"""Questions under way to one server."""

PATIENCE = 120.0
"""Seconds until a reply is given up."""

NOW = 1_790_000_000
"""Seconds since 1970."""


class ColdTable(AnswerTable):
    """A table that keeps nothing."""

    __slots__ = ()

    def serve(self, routes: Routes, listener: Listener) -> None:
        """Ask the plugins for everything."""

    def put(self, key: bytes, reply: bytes, validity: Validity, exchange: Exchange, now: float) -> bool:
        """Forget it."""
        return False


class ColdBudget(TableBudget):
    """Where such tables are."""

    def table(self) -> AnswerTable:
        """One of them."""
        table = ColdTable(self)
        self._tables.append(table)
        return table


class Asking:
    """Some questions at a time, and the replies to all of them."""

    def __init__(self) -> None:
        self.port = 0
        self._replies: dict[bytes, bytes] = {}
        self._wanted = 0
        self._all: Deferred[None] = Deferred()

    async def ask(self, messages: Sequence[bytes], reactor: Any) -> list[bytes]:
        """Ask, and wait for as many replies; they come in the order of the questions."""
        self._replies, self._wanted, self._all = {}, len(messages), Deferred()
        self.write(messages)
        await self._all.addTimeout(PATIENCE, reactor)
        return [self._replies[message[:2]] for message in messages]

    def write(self, messages: Sequence[bytes]) -> None:
        """Send them."""
        raise NotImplementedError

    def ended(self) -> None:
        """No more replies come."""
        if len(self._replies) < self._wanted:
            self._all.errback(ConnectionLost())

    def came(self, reply: bytes) -> None:
        """A reply."""
        assert reply[:2] not in self._replies, "two replies to one question"
        self._replies[reply[:2]] = reply
        if len(self._replies) == self._wanted:
            self._all.callback(None)


class Datagrams(Asking, DatagramProtocol):
    """Over UDP."""

    transport: Any  # Twisted's own annotations cannot be called

    def __init__(self, server: int) -> None:
        super().__init__()
        self.server = server

    def write(self, messages: Sequence[bytes]) -> None:
        """Send them."""
        for message in messages:
            self.transport.write(message, ("127.0.0.1", self.server))

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """A reply."""
        self.came(datagram)


class Stream(Asking, Int16StringReceiver):
    """Over one TCP connection."""

    transport: Any  # as above

    def __init__(self) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Ready to ask."""
        self.port = self.transport.getHost().port
        self.transport.setTcpNoDelay(True)
        self.ready.callback(None)

    def write(self, messages: Sequence[bytes]) -> None:
        """Send them."""
        self.transport.write(b"".join(len(message).to_bytes(2, "big") + message for message in messages))

    def stringReceived(self, string: bytes) -> None:
        """A reply."""
        self.came(string)

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is closed."""
        self.gone.callback(None)
        self.ended()


class _Connect(ClientFactory[Protocol]):
    noisy = False

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """The one connection."""
        return self.stream


class Server:
    """One server with its own upstream, and its client."""

    def __init__(
        self, name: str, reactor: Any, *, kernel_sockets: bool, tcp: bool, room: TableBudget | None = None
    ) -> None:
        self.name = name
        self.tcp = tcp
        self._reactor = reactor
        # One time for all, which becomes the serial of their SOA: else no two replies with one would be the same bytes.
        self._context = ServerContext(
            reactor, own_addresses=lambda: [OWN_ADDRESS], kernel_sockets=kernel_sockets, wall=lambda: NOW
        )
        self._room = room
        self._asked = 0

    async def start(self, file: CaseFile, folder: Path) -> None:
        """Start with a case file's Corefile and cluster, and connect."""
        reactor = self._reactor
        self._upstream = UpstreamServer(FakeUpstream.from_json(CASES / "upstream.json"), reactor)
        address = self._upstream.start()
        places = {"PORT": "0", "UPSTREAM": f"{address[0]}:{address[1]}"}
        manifests = " ".join(str(path) for path in (CASES / "every-cluster.yaml", *file.manifests))
        corefile = filled(file.corefile.replace("kubeconfig {{KUBECONFIG}}", f"manifests {manifests}"), places)
        for usual, here in PAGES.items():
            corefile = corefile.replace(usual, here)
        corefile = placed(corefile, file.files, folder, written_later(file))
        self.service = KdnsService(self._context, lambda: read_text(corefile, {}), lambda line: None)
        if self._room is not None:
            self.service.table_budget = self._room
        self.service.startService()
        await self.service.when_running()
        opened = next(iter(self.service.endpoints.values()))
        zones = opened.listener.zones
        zones.timeouts = StreamTimeouts(read=PATIENCE, idle=PATIENCE)  # nobody hurries to compare what was told
        self.in_batches = any(isinstance(shell, mmsg.MmsgPort) for shell in opened.datagrams)
        self._port = opened.port
        self.clients: dict[str, Asking] = {}
        for source in {source_of(case.question) for case in file.cases if is_local(case)} | {"127.0.0.1"}:
            self.clients[source] = await self._connected(source)

    async def _connected(self, source: str) -> Asking:
        if self.tcp:
            stream = Stream()
            self._reactor.connectTCP("127.0.0.1", self._port, _Connect(stream), bindAddress=(source, 0))
            await stream.ready
            return stream
        datagrams = Datagrams(self._port)
        datagrams.port = self._reactor.listenUDP(0, datagrams, source, 65535).getHost().port
        return datagrams

    async def stop(self) -> None:
        """End all."""
        for client in self.clients.values():
            if isinstance(client, Stream):
                client.transport.loseConnection()
                await client.gone
            elif isinstance(client, Datagrams):
                await client.transport.stopListening()
        await self.service.stopService()
        await self._upstream.stop()

    async def ask(self, messages: Sequence[tuple[str, bytes]], window: int) -> list[bytes]:
        """Ask some questions at a time, each from its address, in their order; the replies in the same order."""
        replies: list[bytes] = []
        for start in range(0, len(messages), window):
            some = messages[start : start + window]
            by_ident: dict[bytes, bytes] = {}
            for source in dict.fromkeys(source for source, _ in some):
                mine = [message for one, message in some if one == source]
                told = await self.clients[source].ask(mine, self._reactor)
                by_ident.update(zip((message[:2] for message in mine), told, strict=True))
            replies += [by_ident[message[:2]] for _, message in some]
        return replies

    @property
    def given(self) -> int:
        """Replies for which no plugin was asked."""
        tables = [table for opened in self.service.endpoints.values() for table in opened.tables]
        return sum(table.given for table in tables)


def source_of(question: Mapping[str, Any]) -> str:
    """The client's address."""
    return str(question.get("from", "127.0.0.1"))


def is_local(case: Case) -> bool:
    """Whether this machine has the client's address."""
    return source_of(case.question).startswith("127.")


def changed_edns(question: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    """The question with another OPT."""
    edns = {"do": False, "size": 1232, **(question["edns"] or {}), **changes}
    return {**question, "edns": edns}


def another_spelling(name: str, which: int) -> str:
    """The name with every second or third letter in the other case."""
    return "".join(char.swapcase() if i % (2 + which) == which % 2 else char for i, char in enumerate(name))


def unknown_name(name: str, which: int) -> str:
    """A name beside or below another; hardly any of them exists."""
    first, _, rest = name.partition(".")
    if not rest or len(first) > 60:
        return f"x{which}.{name.removeprefix('.')}"
    return (f"x{which}.{name}", f"{first}-x.{rest}", f"nope.{rest}")[which % 3]


def is_plain(question: Mapping[str, Any]) -> bool:
    """Whether nothing in its OPT is the point of the case."""
    edns = question["edns"]
    return edns is None or not (edns.get("version") or edns.get("options") or edns.get("z"))


def variants(case: Case, time: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What clients make of a question, the *time*-th time that they ask it."""
    question = case.question
    yield "as it is", question
    if is_plain(question):
        cookie = [{"code": 10, "hex": f"{time:08x}{abs(hash(case.id)) & 0xFFFFFFFF:08x}"}]
        yield "OPT", changed_edns(question)
        yield "cookie", changed_edns(question, options=cookie)
        yield "DO", changed_edns(question, do=True)
        spelled = {**question, "qname": another_spelling(question["qname"], time // 2)}
        yield "spelling", spelled
        yield "spelling and cookie", changed_edns(spelled, options=cookie)
        if len(question["qname"]) < 240:
            yield "unknown", {**question, "qname": unknown_name(question["qname"], time)}
            yield (
                "unknown and cookie",
                changed_edns({**question, "qname": unknown_name(question["qname"], time + 1)}, options=cookie),
            )


def questions(file: CaseFile) -> list[Case]:
    """The cases that are asked, each question once; denials first, so that what is made from them is there when the others come."""
    left_out = (*CASES_LEFT_OUT, *(CASES_LEFT_OUT_WITH_CACHE if "cache" in file.corefile else ()))
    found: dict[tuple[str, bytes], Case] = {}
    for case in file.cases:
        # What has no reply cannot be waited for, and a transfer has several.
        transfer = "transfer" in file.corefile and case.question["qtype"] in ("AXFR", "IXFR")
        silent = "no_reply" in case.wanted or transfer
        if not case.id.startswith(left_out) and "after_ms" not in case.question and is_local(case) and not silent:
            found.setdefault((source_of(case.question), query(case.question)), case)
    return sorted(found.values(), key=lambda case: case.wanted.get("rcode") != "NXDOMAIN")


class GoldenRepeatedTests(TestCase):
    """One test for each case file."""

    timeout = 600.0
    maxDiff = None

    async def check(self, name: str) -> None:
        """Ask all that is made of a file's cases, of all servers, several times."""
        from twisted.internet import reactor as running

        reactor: Any = running  # to mypy it is a module
        file = case_file(name)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        servers = [
            Server("plugins", reactor, kernel_sockets=True, tcp=True, room=ColdBudget(0)),
            Server("batches", reactor, kernel_sockets=True, tcp=False),
            Server("datagrams", reactor, kernel_sockets=False, tcp=False),
            Server("stream", reactor, kernel_sockets=True, tcp=True),
        ]
        self.cookies = 0
        self.golden: set[tuple[str, int, bytes]] = set()
        started: list[Server] = []
        try:
            for server in servers:
                await server.start(file, folder)
                started.append(server)
            wrong = await self.compare(file, servers)
            self.assertEqual(servers[0].given, 0)
            self.assertEqual([server.in_batches for server in servers[1:3]], [mmsg.available(reactor), False])
            if "kubernetes" in file.corefile:
                asked = len(questions(file))
                self.assertGreater(min(server.given for server in servers[1:]), asked)
                self.assertGreater(self.cookies, asked)
        finally:
            await gatherResults([Deferred.fromCoroutine(server.stop()) for server in started])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    async def compare(self, file: CaseFile, servers: list[Server]) -> list[str]:
        """Ask, and say what differs."""
        wrong: list[str] = []
        ident = 0
        cases = questions(file)
        # A cache's answer depends on what was asked before: there all must be asked in the very same order.
        window = 1 if "cache" in file.corefile else WINDOW
        for time in range(1, TIMES + 1):
            stages: dict[str, list[tuple[Case, Mapping[str, Any]]]] = {}
            for case in cases:
                for variant, question in variants(case, time):
                    stages.setdefault(variant, []).append((case, question))
            for variant, asked in stages.items():
                messages = [
                    (source_of(question), query(question, (ident + i) & 0xFFFF))
                    for i, (_, question) in enumerate(asked)
                ]
                ident += len(messages)
                those = servers if variant in FEWER or window == 1 else servers[:2]
                asking = [Deferred.fromCoroutine(server.ask(messages, window)) for server in those]
                told = await gatherResults(asking, consumeErrors=True)
                for i, (case, question) in enumerate(asked):
                    where = f"{file.name}/{case.id} ({variant}, time {time})"
                    replies = [replies[i] for replies in told]
                    for difference in self.differences(file, case, question, messages[i][1], those, replies, variant):
                        wrong.append(f"{where} {difference}")
        return wrong

    def differences(
        self,
        file: CaseFile,
        case: Case,
        question: Mapping[str, Any],
        message: bytes,
        servers: list[Server],
        replies: list[bytes],
        variant: str,
    ) -> Iterator[str]:
        """What differs between the servers' replies to one message, and from the golden one."""
        golden = case.wanted if variant == "as it is" and "cache" not in file.corefile else None
        source = source_of(question)
        for server, reply in zip(servers[1:], replies[1:], strict=True):
            apart = []
            if reply != replies[0]:
                cold = tell(replies[0], servers[0].clients[source].port, message)
                found = tell(reply, server.clients[source].port, message)
                found = found if server.tcp else over_tcp(found, cold, file)
                if variant.startswith("spelling") and "rewrite" in file.corefile:
                    # Clients that ask at a time share one query to the upstream, and the letters of whoever came first.
                    cold, found = in_lower_case(cold), in_lower_case(found)
                apart = both_ways(question, cold, found)
            if golden is not None and case.question["proto"] == ("tcp" if server.tcp else "udp"):
                # Octets that were looked at once need not be read again.
                if (case.id, server.clients[source].port, reply[2:]) not in self.golden:
                    apart += compare(question, golden, tell(reply, server.clients[source].port, message), now=NOW)
                if not apart:
                    self.golden.add((case.id, server.clients[source].port, reply[2:]))
            if apart:
                yield f"from {server.name}: " + "; ".join(apart)
        sent = [row["hex"] for row in (question["edns"] or {}).get("options", ()) if row["code"] == 10]
        if sent and bytes.fromhex(sent[0]) in replies[0]:
            self.cookies += 1


def over_tcp(found: Told, cold: Told, file: CaseFile) -> Told:
    """A correct reply over UDP as it would be over TCP: not truncated, with the keepalive option, and with *whoami*'s other label."""
    expect = dict(found.expect)
    edns = cold.expect["edns"]
    if edns and "options" in edns:
        without = [row for row in edns["options"] if row["code"] != TCP_KEEPALIVE]
        if expect["edns"] == {**edns, "options": without}:
            expect["edns"] = edns
    if "whoami" in file.corefile:
        expect["additional"] = [text.replace("_udp.", "_tcp.") for text in expect["additional"]]
    if "tc" in expect["flags"] and "tc" not in cold.expect["flags"]:
        for section in ("answer", "authority", "additional"):
            if set(expect[section]) <= set(cold.expect[section]):
                expect[section] = cold.expect[section]
        expect["flags"] = [flag for flag in expect["flags"] if flag != "tc"]
    return Told(expect, found.serials, found.question, found.size)


def in_lower_case(told: Told) -> Told:
    """The same records, whatever their letters."""
    expect = dict(told.expect)
    for section in ("answer", "authority", "additional"):
        if section in expect:
            expect[section] = sorted(text.lower() for text in expect[section])
    return Told(expect, told.serials, told.question, told.size)


def both_ways(question: Mapping[str, Any], one: Told, other: Told) -> list[str]:
    """What differs, if the TTLs of either may be a second lower."""
    if one.question != other.question:
        return [f"question: wanted {one.question}, got {other.question}"]
    apart = compare(question, {**one.expect, "question": one.question}, other, now=NOW)
    if apart and not compare(question, {**other.expect, "question": other.question}, one, now=NOW):
        return []
    return apart


def _names() -> Iterable[str]:
    return [name for name in (*CLUSTER, *OTHERS, *ZONES) if name not in FILES_LEFT_OUT]


add_tests(GoldenRepeatedTests, _names(), "is answered alike, cold and hot, over each way.")
