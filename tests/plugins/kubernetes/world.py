# -*- test-case-name: tests.plugins.kubernetes -*-
"""A cluster's API server, a whole kdns that watches it, and clients that ask it, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from twisted.internet.protocol import DatagramProtocol

from kdns.cluster.index import ClusterIndex
from kdns.cluster.projection import Projector
from kdns.cluster.resources import IMPORTED, watched_for
from kdns.core.answer import Answer
from kdns.core.metrics import Registry
from kdns.core.tally import Tally, TallyBook
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.seam import ServerContext
from kdns.plugins.kubernetes import ClusterZone, LiveCluster
from kdns.plugins.kubernetes.cluster import needs_of, projection_options
from kdns.plugins.kubernetes.config import Config, parse
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor
from kdns.wire.constants import RD
from kdns.wire.names import spelled_from_text
from tests.apiserver import ApiServer, ServerOptions
from tests.plugins.kubernetes.reference import Said
from tests.plugins.kubernetes.telling import NUMBERS, told, told_reply
from tests.support import a_request, blocks_of

EPOCH = 1_700_000_000.0
"""Unix seconds at the beginning, and the time of the reactor: serials and grace are in it."""

OWN_ADDRESS = "10.244.0.2"
CLIENT = "127.0.0.9"
SERVER = ("127.0.0.1", 1053)

COREFILE = """
.:1053 {{
    {others}
    kubernetes {zones} {{
        {source}
        apiserver_qps 1000
        apiserver_burst 1000
        {options}
    }}
    tests.plugins.kubernetes.elsewhere
}}
"""

Question = tuple[str, str]
"""A name in presentation form with its last dot, and a type by name."""

EDNS = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"
"""An OPT for replies of up to 4096 octets."""


class _Client(DatagramProtocol):
    def __init__(self) -> None:
        self.received: dict[int, bytes] = {}

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Keep it by its identifier."""
        self.received[int.from_bytes(datagram[:2], "big")] = datagram


def wire(question: Question, ident: int = 0) -> bytes:
    """A query."""
    name, qtype = question
    head = ident.to_bytes(2, "big") + RD.to_bytes(2, "big") + b"\x00\x01\x00\x00\x00\x00\x00\x01"
    return head + spelled_from_text(name) + NUMBERS[qtype].to_bytes(2, "big") + b"\x00\x01" + EDNS


class _Always(dict[Any, Any]):
    """Tallies for all lengths."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tallies = (tally, (tally, tally))

    def get(self, key: object, default: object = None) -> Any:
        """The same for each."""
        return self._tallies


class World:
    """
    An API server and a kdns with one block, on the same network in memory.

    :param options: further lines of the ``kubernetes`` block.
    :param source: how kdns reads the cluster; by default from the API server.
    :param others: further directives of the server block.
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str] = (),
        zones: str = "cluster.local in-addr.arpa ip6.arpa",
        source: str = "",
        others: str = "",
        api: ServerOptions | None = None,
    ) -> None:
        self.reactor = MemoryReactor()
        self.reactor.advance(EPOCH)
        self.api = ApiServer(self.reactor, api)
        self.api.start()
        self.kubeconfig = self.api.kubeconfig(folder / "kubeconfig")
        self.lines: list[str] = []
        self.context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            wall=self.reactor.seconds,
            random=Random(1),
            output=self.lines.append,
            kernel_sockets=False,
            own_addresses=lambda: [OWN_ADDRESS],
        )
        self.corefile = COREFILE.format(
            others=others,
            zones=zones,
            source=source or f"kubeconfig {self.kubeconfig}",
            options="\n        ".join(options),
        )
        self.service = KdnsService(self.context, lambda: read_text(self.corefile, {}), self.lines.append)
        block, words = blocks_of(self.corefile, (*DIRECTIVE_ORDER, "tests.plugins.kubernetes.elsewhere"))[0]
        self.config: Config = parse(words["kubernetes"], block)
        self._client = _Client()

    def start(self) -> float:
        """Start kdns, wait until it answers, and return how many seconds that took."""
        began = self.reactor.seconds()
        self.service.startService()
        running: list[tuple[object, float]] = []
        self.service.when_running().addBoth(lambda outcome: running.append((outcome, self.reactor.seconds())))
        self.until(lambda: running)
        ((outcome, ended),) = running
        assert outcome is None, outcome
        if self._client.transport is None:
            self._port = self.reactor.listenUDP(0, self._client, CLIENT, 65535)
        return ended - began

    def end(self) -> None:
        """End kdns; :meth:`start` begins a new one, as in another process."""
        done: list[object] = []
        self.service.stopService().addBoth(done.append)
        self.until(lambda: done)
        assert done == [None], done
        self.context = replace(self.context, registry=Registry(), tallies=TallyBook())
        self.service = KdnsService(self.context, lambda: read_text(self.corefile, {}), self.lines.append)

    def reload(self, old: str, new: str) -> None:
        """Have kdns take over a Corefile with *new* in the place of *old*."""
        assert old in self.corefile, old
        self.corefile = self.corefile.replace(old, new)
        before = self.service.configuration
        self.service.check_reload()
        self.until(lambda: self.service.configuration is not before)

    def stop(self) -> list[str]:
        """End all, and return what is left behind."""
        done: list[object] = []
        self._client = _Client()
        port = getattr(self, "_port", None)
        if port is not None:
            port.stopListening()
        self.service.stopService().addBoth(done.append)
        self.until(lambda: done)
        self.api.stop()
        self.reactor.settle()
        return self.reactor.leftovers()

    def until(self, condition: Callable[[], object], seconds: float = 130.0, step: float = 0.1) -> float:
        """Let time pass until a condition holds, and return how much."""
        began = self.reactor.seconds()
        self.reactor.settle()
        while not condition():
            assert self.reactor.seconds() - began < seconds, f"not within {seconds} s"
            self.reactor.advance(step)
        return self.reactor.seconds() - began

    # Asking

    def ask_all(self, questions: Sequence[Question]) -> list[bytes | None]:
        """Ask over UDP, all at once; None where nothing came at this moment."""
        transport: Any = self._client.transport
        self._client.received.clear()
        replies: list[bytes | None] = []
        for start in range(0, len(questions), 100):
            # Not more at a time than a socket's buffer holds.
            some = questions[start : start + 100]
            for ident, question in enumerate(some):
                transport.write(wire(question, ident), SERVER)
            self.reactor.settle()
            replies += [self._client.received.pop(ident, None) for ident in range(len(some))]
        return replies

    def ask(self, name: str, qtype: str = "A") -> Said:
        """Ask one question over UDP."""
        reply = self.ask_all([(name, qtype)])[0]
        assert reply is not None, f"no reply to {name} {qtype}"
        return told_reply(reply)

    def ask_plugin(self, question: Question) -> Said:
        """What the chain from the plugin on says, with neither cache nor table in between."""
        request = a_request(question[0], NUMBERS[question[1]], server=self.listener)
        reply = self.zone.answer(request, self._outside.answer_last)
        assert isinstance(reply, Answer)
        return told(reply)

    def fast_always(self) -> None:
        """Have the fast path answer all it can, whether it has learned the lengths of query and reply or not."""
        for qtype in NUMBERS:
            self.ask_all([("no-such-service.default.svc.cluster.local.", qtype)])
        tally = self.context.tallies.tally((), ())
        for table in self._opened.tables:
            for _, route in table.fast.routes if table.fast is not None else ():
                if route is not None:
                    route.tallies = _Always(tally)

    def in_table(self, question: Question) -> bool:
        """Whether the answer table would give the reply to a question of the test's client."""
        key = self.listener.table_key(wire(question), CLIENT)
        now = self.context.clock()
        return any(table.get(key, now) is not None for table in self._opened.tables)

    # Looking

    @property
    def _opened(self) -> Any:
        (opened,) = self.service.endpoints.values()
        return opened

    @property
    def listener(self) -> Any:
        """What the plugin may ask."""
        return self._opened.listener

    @property
    def _outside(self) -> Any:
        return _Last(self._link("elsewhere"))

    def _link(self, name: str) -> Any:
        assert self.service.configuration is not None
        return next(link for link in self.service.configuration.builders[0].links if link.name == name)

    @property
    def zone(self) -> ClusterZone:
        """The plugin."""
        zone = self._link("kubernetes")
        assert isinstance(zone, ClusterZone)
        return zone

    @property
    def cluster(self) -> LiveCluster:
        """What reads the cluster."""
        assert isinstance(self.zone.cluster, LiveCluster)
        return self.zone.cluster

    @property
    def index(self) -> ClusterIndex:
        """What is known of the cluster."""
        return self.cluster.index

    def wanted(self) -> ClusterIndex:
        """An index made from nothing of what the API server has now."""
        index, projector = ClusterIndex(grace=0.0), Projector(projection_options(self.config.source))
        for watched in watched_for(needs_of(self.config.source)):
            for item in self.api.objects(watched.kind.value):
                if watched.labels == IMPORTED and IMPORTED not in item["metadata"].get("labels", {}):
                    continue
                index.apply(projector.project(watched.kind, msgspec.json.encode(item)), self.context.wall())
        return index

    def applied(self) -> bool:
        """Whether all that happened in the cluster is in the index, and nothing is held back any more."""
        return self.index.next_deadline() is None and self.index.same_as(self.wanted())


class _Last:
    def __init__(self, link: Any) -> None:
        self._link = link

    def answer_last(self, request: Any) -> Any:
        """Ask the last link of the chain."""
        return self._link.answer(request, None)
