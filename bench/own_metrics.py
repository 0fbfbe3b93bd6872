"""
What kdns's looking at itself costs: the longest turn of the reactor that a large page of metrics takes, and a sample of a reply.

Turns are measured in processor time, with the daemon's plan for garbage.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from bench.processes import table
from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Namespace, Upsert
from kdns.core.metrics import TIME_BUCKETS
from kdns.plugin.seam import ServerContext
from kdns.plugins.prometheus.page import MetricsPage
from kdns.plugins.prometheus.process import ProcessMetrics
from kdns.server.top_talkers import SearchPaths, TopTalkers
from kdns.tap.garbage import MIDDLE, NEVER, YOUNG
from kdns.wire.names import from_text

SERIES, TALLIES = 30_000, 20_000
"""Lines of the page, about: a hundred times those of a usual server; and replies that wait to be counted: as many as there can be."""


class Turns:
    """A reactor that runs what was put off to later at once, and knows how long each took."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._calls: list[Callable[[], None]] = []

    def callLater(self, seconds: float, call: Callable[..., object], *words: object) -> object:
        """Keep a call for the next turn."""
        self._calls.append(lambda: (call(*words), None)[1])
        return self

    def turn(self, call: Callable[[], Any]) -> Any:
        """Run something, and measure it."""
        began = time.thread_time()
        result = call()
        self.took.append(time.thread_time() - began)
        return result

    def run(self) -> None:
        """Run what was put off, and what that puts off."""
        while self._calls:
            self.turn(self._calls.pop(0))


def page(series: int, tallies: int) -> tuple[int, list[float]]:
    """Octets of a page, and how long each turn took that it was made in."""
    turns = Turns()
    context = ServerContext(turns, clock=time.monotonic)
    histograms = context.registry.histogram("kdns_bench_seconds", "Many.", TIME_BUCKETS, ["server", "zone", "rcode"])
    for number in range(series // (len(TIME_BUCKETS) + 3)):
        histograms.histogram("dns://:53", f"zone-{number}.example.", "NOERROR").observe(0.001 * (number % 50))
    counters = context.registry.counter("kdns_bench_total", "Many.", ["number"])
    for number in range(tallies):
        tally = context.tallies.tally((counters.counter(str(number % 100)), histograms.histogram("", "", str(number))
                                     .again(1.0) if number < 100 else counters.counter(str(number % 99))))  # fmt: skip
        tally.hits = 1
        context.tallies.touched.append(tally)
    made = MetricsPage(context, ProcessMetrics())
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    gc.freeze()
    waiting: Any = turns.turn(made)
    done: list[Any] = []
    waiting.addCallback(done.append)
    turns.run()
    made.stop()
    return len(done[0].body), turns.took


def sample(hot: bool, times: int) -> float:
    """Microseconds of processor time for a sample: of a name that exists, or of one that a search path made up."""
    chance = Random(1)
    talkers, index = TopTalkers(time.monotonic), ClusterIndex()
    for number in range(20):
        index.apply(Upsert(Namespace(b"ns%d" % number)), 0.0)
    talkers.set_search_paths(SearchPaths([(from_text("cluster.local"), index)]))
    head, tail = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", b"\x00\x01\x00\x01"
    front = "service-{}" if hot else "api-{}.example.com"
    names = [f"{front.format(chance.randrange(3000))}.ns{number % 20}.svc.cluster.local" for number in range(times)]
    queries = [
        (head + from_text(name) + tail, f"10.244.{number % 8}.{number % 250}") for number, name in enumerate(names)
    ]
    reply = bytes((0x85, 0x80 if hot else 0x83)) + bytes(80)
    began = time.process_time()
    for query, client in queries:
        talkers.sample(query, reply, client, 32)
    return (time.process_time() - began) / times * 1e6


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    part = 10 if parser.parse_args(arguments).quick else 1
    octets, took = page(SERIES // part, TALLIES // part)
    took.sort()
    rows = [
        ("page", f"{octets / 1e6:.1f} MB in {len(took)} turns"),
        ("turns, median", f"{took[len(took) // 2] * 1000:.1f} ms"),
        ("turns, 99th percentile", f"{took[int(len(took) * 0.99)] * 1000:.1f} ms"),
        ("turns, longest", f"{took[-1] * 1000:.1f} ms"),
        ("sample of a name that exists", f"{sample(True, 100_000 // part):.1f} us"),
        ("sample of a search path's name", f"{sample(False, 100_000 // part):.1f} us"),
    ]
    table(("what", "figure"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
