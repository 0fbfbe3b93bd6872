"""
What a replica needs in memory, for clusters of several sizes and with full caches: the figures behind ``kdns plan``.

kdns runs as its command runs it, with the Corefile that clusters have, beside the fake API server. Resident memory is read when it no
longer changes. Run it as ``python -m bench.sizing [--quick]``; the coefficients that it prints at the end are those of
``kdns/cli/needs.py``, rounded up there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cluster import Api, Kdns, Size
from bench.load import load
from bench.processes import Program, free_port, page, table
from bench.watch import settled

ENDPOINTS = 5.1
"""For each service of the fake cluster: a fiftieth has two slices."""

FULL = 25_000
"""Names that are asked for to fill one store of the cache, which has 9,984 places."""


def resident(folder: Path, size: Size, pods: str = "insecure") -> float:
    """Megabytes of a replica that watches such a cluster and has answered nothing yet."""
    with Api(folder, size) as api, Kdns(folder, api, pods) as kdns:
        kdns.wait_ready()
        found = settled(kdns.program)
        print(f"{size}, pods {pods}: {found:.1f} MB", flush=True)
        return found


def caches(folder: Path) -> list[tuple[str, float, float]]:
    """With a small cluster: memory when idle, with one store full, with both; each with the megabytes of the answer tables."""
    port = free_port()
    found = []
    with (
        Program(["-m", "bench.peers", "upstream", str(port)]),  # on any core: no speed is measured here
        Api(folder, Size(10)) as api,
        Kdns(folder, api, upstream=port) as kdns,
    ):
        kdns.wait_ready()
        found.append(("idle", settled(kdns.program), _table(kdns)))
        for what, name in (
            ("success full", "name-{}.example.com"),
            ("denial full, too", "name-{}.bulk-000.svc.cluster.local"),
        ):
            questions = [f"{name.format(number)} A" for number in range(FULL)]
            for _ in range(2):  # what does not exist comes into the cache when it is asked for again
                load(kdns.port, questions, 0, once=True)
            print(what, *(line for line in page(kdns.metrics).splitlines() if line.startswith("coredns_cache_entries")))
            found.append((what, settled(kdns.program), _table(kdns)))
    return found


def _table(kdns: Kdns) -> float:
    """Megabytes of finished replies in the answer tables."""
    lines = page(kdns.metrics).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("kdns_answer_table_bytes")) / 1e6


def main(arguments: Sequence[str]) -> int:
    """Measure, and print tables."""
    counts = (10, 5_000) if "--quick" in arguments else (10, 5_000, 10_000, 30_000)
    pods = (20_000,) if "--quick" in arguments else (30_000, 100_000)
    with TemporaryDirectory() as name:
        folder = Path(name)
        by_services = [(count, resident(folder, Size(count))) for count in counts]
        by_pods = [(count, resident(folder, Size(5_000, count), "verified")) for count in pods]
        filled = caches(folder)
    rows = [[f"{count:,} services, {int(count * ENDPOINTS):,} endpoints", f"{mb:.1f} MB"] for count, mb in by_services]
    rows += [[f"5,000 services, {count:,} verified pods", f"{mb:.1f} MB"] for count, mb in by_pods]
    rows += [[f"10 services, {what}", f"{mb:.1f} MB, {tables:.1f} of it answer tables"] for what, mb, tables in filled]
    table(("resident memory of a replica", "measured"), rows)
    first, last = by_services[0], by_services[-1]
    print(f"\na service with its endpoints: {(last[1] - first[1]) / (last[0] - first[0]) * 1e3:.2f} KB")
    without = dict(by_services)[5_000]
    print(f"a verified pod: {(by_pods[-1][1] - without) / by_pods[-1][0] * 1e3:.2f} KB")
    print(f"a full cache beside the answer tables: {filled[-1][1] - filled[-1][2] - filled[0][1]:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
