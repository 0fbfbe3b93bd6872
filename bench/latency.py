"""
How long answers take while everything is listed anew: 5,000 queries a second, and a relist of 10,000 services meanwhile.

Beside it stands the same load with nothing else going on. What the client and the fake API server take of the cores is in the figures,
so read them as a pair. Run it as ``python -m bench.latency [--quick]``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cluster import Api, Kdns, Size, check_answers, questions
from bench.load import Run, load
from bench.processes import median, percentile, table

RATE = 5000
"""Queries a second."""

SECONDS = 5.0
"""Of a run: a relist and the waiting around it fit in."""


def measure(kdns: Kdns, size: Size, api: Api | None) -> Run:
    """One run, with a relist in it when there is an *api*."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, kdns.port, questions(size), SECONDS, rate=RATE, latencies=True)
        if api is not None:
            kdns.relist(api)
        return loading.result()


def main(arguments: Sequence[str]) -> None:
    """Measure both in turn, several times, and print medians of the percentiles."""
    rounds = 1 if "--quick" in arguments else 3
    size = Size()
    found: dict[str, list[Run]] = {"nothing else": [], "a relist": []}
    with TemporaryDirectory() as name, Api(Path(name), size) as api, Kdns(Path(name), api) as kdns:
        kdns.wait_ready()
        check_answers(kdns, size)
        for _ in range(rounds):
            found["nothing else"].append(measure(kdns, size, None))
            found["a relist"].append(measure(kdns, size, api))
    rows = []
    for what, runs in found.items():
        shares = [median(percentile(run.latencies, share) for run in runs) * 1e3 for share in (0.5, 0.99, 0.999)]
        worst = max(max(run.latencies) for run in runs) * 1e3
        rate = median(run.completed / run.seconds for run in runs)
        lost = sum(run.lost for run in runs)
        rows.append((what, f"{rate:,.0f}", *(f"{value:.2f}" for value in shares), f"{worst:.1f}", str(lost)))
    table(("meanwhile", "q/s", "p50 ms", "p99 ms", "p99.9 ms", "worst ms", "lost"), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
