"""
What an entry of the answer table costs in memory, and a hit and a miss in time, stage by stage.

Everything runs in this process and without sockets: a listener assembled from a Corefile, with the cluster from manifests. There is no
*cache* in it, which would keep answers, too, and have them entered here only when they are asked for again. Memory is what
``tracemalloc`` says is set free when the table is emptied, less the octets of keys and replies, which the table counts exactly; it is to be
compared with ``ENTRY_OCTETS``. Run it as ``python -m bench.memory_table [--quick]``.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from twisted.internet.task import Clock

from bench.load import query
from bench.processes import median, table
from kdns.core.answer import Answer
from kdns.core.chain import attempt
from kdns.core.observe import Exchange
from kdns.core.reply import render_reply
from kdns.core.request import Transport, request_from
from kdns.plugin.seam import ServerContext
from kdns.plugins.kubernetes.cluster import LiveCluster
from kdns.server.assembly import assemble, read_text
from kdns.server.listener import Listener
from kdns.server.table import ENTRY_OCTETS, AnswerTable, TableBudget
from kdns.wire.query import Query, read_query

COREFILE = """\
.:5300 {{
    errors
    kubernetes cluster.local {{
        manifests {manifests}
    }}
    prometheus 127.0.0.1:9153
    loadbalance
}}
"""

ROUNDS = 5
ENDPOINTS = 5
CLIENT = "127.0.0.1"


def manifests(services: int) -> str:
    """The cluster as YAML: so many services with an address, and so many without."""
    documents = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"]
    ports = "[{name: http, port: 80, protocol: TCP}]"
    service = "apiVersion: v1\nkind: Service\nmetadata: {{name: {0}, namespace: prod}}\nspec: {{clusterIP: {1}, ports: {2}}}\n"
    for number in range(services):
        high, low = number >> 8, number & 255
        documents.append(service.format(f"service-{number}", f"10.96.{high}.{low}", ports))
        documents.append(service.format(f"pods-{number}", "None", ports))
        endpoints = ", ".join(f"{{addresses: [10.{128 + high}.{low}.{i}]}}" for i in range(1, ENDPOINTS + 1))
        documents.append(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
            f"metadata: {{name: pods-{number}-x, namespace: prod, labels: {{kubernetes.io/service-name: pods-{number}}}}}\n"
            f"endpoints: [{endpoints}]\nports: {ports}\n"
        )
    return "---\n".join(documents)


class World(NamedTuple):
    """A listener with its table."""

    listener: Listener
    room: TableBudget
    table: AnswerTable

    def miss(self, message: bytes) -> None:
        """Have a query answered and its reply entered."""
        self.listener.receive(
            message, Transport.UDP, CLIENT, 4000, "127.0.0.1", lambda reply: None, self.table, message[2:]
        )

    def hit(self, key: bytes) -> bytes:
        """What a port does for a reply that is in the table, but for the sending."""
        context = self.listener.context
        entry = self.table.get(key, context.clock())
        assert entry is not None, "it was entered"
        if entry.exchange is not None:
            self.listener.replay.prepare(entry, self.table)
        tally = entry.tally
        assert tally is not None, "prepare() made one"
        if not tally.hits:
            context.tallies.touched.append(tally)
        tally.hits += 1
        return entry.next_reply()


def world(folder: Path, services: int) -> World:
    """Assemble a listener; nothing is opened, and only the cluster is started."""
    Path(folder, "all.yaml").write_text(manifests(services))
    reactor = Clock()
    context = ServerContext(reactor, kernel_sockets=False)
    configuration = assemble(read_text(COREFILE.format(manifests=folder), {}), context)
    (cluster,) = (resource for resource in configuration.resources if isinstance(resource, LiveCluster))
    cluster.start()
    while not cluster.synced:
        reactor.advance(0.01)  # manifests are entered a part in each turn
    (zones,) = configuration.endpoints.values()
    room = TableBudget(1 << 30)
    return World(Listener(context, "dns://:5300", zones), room, room.table())


def asked(kind: str, count: int, round_: int) -> list[bytes]:
    """Queries of one kind, each for another name; absent names differ from round to round."""
    prefix = {"cluster IP": "service-{0}", "headless, 5 addresses": "pods-{0}", "NXDOMAIN": "absent-{1}-{0}"}[kind]
    return [query(prefix.format(number, round_) + ".prod.svc.cluster.local") for number in range(count)]


KINDS = ("cluster IP", "headless, 5 addresses", "NXDOMAIN")


def entry_octets(here: World, kind: str, count: int, again: bool) -> tuple[float, float]:
    """
    Octets of an entry: all of them, and those that are neither key nor reply.

    :param again: measure entries that were given once more, which need not remember what they were made from.
    """
    messages = asked(kind, count, 0)
    for message in messages:
        # Whatever else remembers these answers shall do so before.
        here.miss(message)
    here.room.clear()
    gc.collect()
    tracemalloc.start()
    for message in messages:
        here.miss(message)
        if again:
            here.hit(message[2:])
    gc.collect()
    full = tracemalloc.get_traced_memory()[0]
    counted = here.room.young - ENTRY_OCTETS * len(here.table)
    entries = len(here.table)
    assert entries == count, f"{entries} entries of {count} answers"
    here.room.clear()
    gc.collect()
    freed = full - tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return freed / entries, (freed - counted) / entries


def each(work: Callable[[Any], Any], things: Sequence[Any]) -> tuple[float, list[Any]]:
    """Microseconds for one of *things*, and what came of them."""
    began = time.perf_counter()
    made = [work(thing) for thing in things]
    return (time.perf_counter() - began) / len(things) * 1e6, made


def stages(here: World, kind: str, count: int, round_: int) -> dict[str, float]:
    """Microseconds of each stage of a miss and of a hit, the stages one after the other over many queries."""
    listener = here.listener
    context = listener.context
    here.room.clear()
    messages = asked(kind, count, 2 * round_ + 1)
    took: dict[str, float] = {}

    def request(query: Query) -> Any:
        return request_from(query, Transport.UDP, CLIENT, 4000, "127.0.0.1", context.clock(), 40, listener)

    def finish(pair: tuple[Any, tuple[Any, Any, Any], Any, bytes]) -> Exchange:
        chosen, answer, reply = pair[1], pair[2], pair[3]
        exchange = Exchange(chosen[2], answer, reply, ".", chosen[1].view, 0.0001)
        for observer in chosen[1].observers:
            observer.finished(exchange)
        return exchange

    took["read_query"], queries = each(read_query, messages)
    took["request"], requests = each(request, queries)
    took["choose block"], chosen = each(listener.zones.choose, requests)
    took["chain"], answers = each(lambda found: attempt(found[1].ask, found[2]), chosen)
    assert all(isinstance(answer, Answer) for answer in answers), "the cluster answers at once"
    took["render"], replies = each(lambda pair: render_reply(*pair), list(zip(requests, answers, strict=True)))
    done = list(zip(requests, chosen, answers, replies, strict=True))
    took["observers"], exchanges = each(finish, done)

    def put(pair: tuple[bytes, Exchange]) -> None:
        message, exchange = pair
        reply = exchange.reply or b""
        assert here.table.put(message[2:], reply, exchange.answer.validity, exchange, context.clock()), "it holds"

    took["table.put"], _ = each(put, list(zip(messages, exchanges, strict=True)))
    keys = [message[2:] for message in messages]
    took["first hit"], _ = each(here.hit, keys)
    took["further hit"], _ = each(here.hit, keys)
    here.room.clear()
    took["whole miss"], _ = each(here.miss, asked(kind, count, 2 * round_ + 2))
    return took


def main(arguments: Sequence[str]) -> None:
    """Measure both and print two tables."""
    count, rounds = (300, 2) if "--quick" in arguments else (1000, ROUNDS)
    with TemporaryDirectory() as name:
        here = world(Path(name), count)
        gc.disable()  # collections would fall on one stage or another by chance
        times = {kind: [stages(here, kind, count, number) for number in range(rounds)] for kind in KINDS}
        gc.enable()
        memory = {kind: [entry_octets(here, kind, count, again) for again in (False, True)] for kind in KINDS}
    rows = []
    for stage in times[KINDS[0]][0]:
        rows.append((stage, *(f"{median(run[stage] for run in times[kind]):.1f}" for kind in KINDS)))
    table(("microseconds of", *KINDS), rows)
    print()
    rows = []
    for kind, (fresh, again) in memory.items():
        rows.append((kind, f"{fresh[0]:,.0f}", f"{fresh[1]:,.0f}", f"{again[0]:,.0f}", f"{again[1]:,.0f}"))
    head = ("octets of an entry", "new", "but for key and replies", "given again", "but for key and replies")
    table(head, [*rows, ("ENTRY_OCTETS", "", str(ENTRY_OCTETS), "", str(ENTRY_OCTETS))])


if __name__ == "__main__":
    main(sys.argv[1:])
