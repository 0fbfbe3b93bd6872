"""
A cluster of 10,000 services: memory, time to be ready, longest turns of the reactor, how soon a change shows, and a long churn.

kdns runs as its command does, in a process of its own, against the fake API server in another. Run it as
``python -m bench.watch [--quick]``; the quick form leaves out the pods and most of the churn. Targets stand beside what was measured. The
turns are measured inside the process, see inside.py; everything else from outside.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cluster import Api, Kdns, Prober, Size, check_answers, questions
from bench.load import load
from bench.processes import Program, median, percentile, table, wait_for

EVENTS, QUERIES, SAMPLES = 200, 5000, 20
"""A second: changed slices, queries, and changes that are looked at."""

Row = tuple[str, str, str]
ROWS: list[Row] = []


def row(what: str, target: str, measured: str) -> None:
    """Note a figure."""
    ROWS.append((what, target, measured))


def settled(program: Program) -> float:
    """Resident memory in MB when it has not changed for half a second."""
    last, same = -1.0, 0

    def met() -> bool:
        nonlocal last, same
        now = program.resident()
        same = same + 1 if abs(now - last) < 0.1 else 0
        last = now
        return same >= 5

    wait_for("the memory to settle", met, 0.1)
    return last


def imports() -> tuple[float, float]:
    """
    A start that ends at a Corefile that is not there: the interpreter, and all imports that come before.

    :return: seconds by the wall clock, and of processor time.
    """
    before = os.times()
    program = Program(["-m", "kdns", "-conf", "/nonexistent/Corefile"])
    code = program.wait()
    took = time.monotonic() - program.began
    after = os.times()
    assert code == 1, "a Corefile that is not there ends the start"
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return took, spent


def start_and_memory(folder: Path, api: Api, size: Size, quick: bool) -> None:
    """Ready, resident, and the peak of a relist, from outside."""
    ready, spent = [], []
    for number in range(2 if quick else 6):
        with Kdns(folder, api) as kdns:
            took = kdns.wait_ready()
            if number:  # the first compiles, see above
                ready.append(took)
                spent.append(kdns.program.processor_seconds())
    row("ready after start", "1.5 s", f"{median(ready):.2f} s, {median(spent):.2f} s of cpu")
    with Kdns(folder, api) as kdns:
        kdns.wait_ready()
        check_answers(kdns, size)
        before = settled(kdns.program)
        first = kdns.program.peak()
        row(f"resident, {size.services:,} services, {size.slices * 5:,} endpoints", "110 MB", f"{before:.1f} MB")
        row("peak of the first sync over resident", "", f"{first / before:.2f} x")
        load(kdns.port, questions(size), 1.0)  # relists are not alone in a cluster
        relist_peak(kdns, api, "streamed")


def relist_peak(kdns: Kdns, api: Api, how: str) -> None:
    """The peak of a forced relist over what was resident before it."""
    before = settled(kdns.program)
    kdns.program.forget_peak()
    kdns.relist(api)
    peak = kdns.program.peak()
    row(f"peak of a {how} relist over resident", "1.15 x", f"{peak / before:.2f} x")


def paged(folder: Path, size: Size) -> None:
    """The same where the server does not stream its state."""
    with Api(folder, size, streamed=False) as api, Kdns(folder, api, watch_turns=True) as kdns:
        kdns.wait_ready()
        row_of_turns(kdns, "longest turn, first sync, paged")
        relist_peak(kdns, api, "paged")
        row_of_turns(kdns, "longest turn, relist, paged")


def with_pods(folder: Path, size: Size) -> None:
    """Resident memory with verified pods."""
    with Api(folder, size) as api, Kdns(folder, api, "verified") as kdns:
        kdns.wait_ready()
        row(f"the same with {size.pods:,} verified pods", "150 MB", f"{settled(kdns.program):.1f} MB")
        relist_peak(kdns, api, "streamed (pods)")


def row_of_turns(kdns: Kdns, what: str) -> None:
    """The longest turn since the last look: by the wall clock, and by the processor time of the process."""
    figures = kdns.ask_inside("figures")
    wall, _, collecting = figures["longest"]
    row(
        what,
        "10 ms",
        f"{figures['most_work'] * 1e3:.1f} ms of cpu; {wall * 1e3:.1f} ms wall ({collecting * 1e3:.1f} collecting);"
        f" {figures['long_work']} of {figures['turns']:,} over 5 ms of cpu",
    )


def changes_under_load(kdns: Kdns, api: Api, size: Size, seconds: float, rounds: int) -> None:
    """How soon a changed slice shows in answers, while others change and queries come: several runs, since the tail differs much."""
    kdns.ask_inside("figures")
    sent: list[list[float]] = []
    made: list[list[float]] = []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(rounds):
            prober = Prober(api, kdns.port)
            loading = pool.submit(load, kdns.port, questions(size), seconds + 1.0, rate=QUERIES)
            api.program.tell(f"churn {EVENTS} {seconds} {SAMPLES}")
            since_made, since_sent = prober.follow("churned")
            made.append(since_made)
            sent.append(since_sent)
            loading.result()
    for what, runs in (("sent", sent), ("made", made)):
        tails = [f"{percentile(times, 0.99) * 1e3:.1f}" for times in runs]
        middles = [f"{median(times) * 1e3:.2f}" for times in runs]
        row(
            f"event {what} to answer changed, {EVENTS} events/s, {QUERIES:,} q/s",
            "2 ms, p99 10 ms",
            f"medians of {rounds} runs: {', '.join(middles)} ms; p99 {', '.join(tails)} ms",
        )
    row_of_turns(kdns, "longest turn meanwhile")


def flood(kdns: Kdns, api: Api, count: int) -> float:
    """Change *count* slices, and wait until all of it shows; seconds taken."""
    began = time.monotonic()
    api.program.tell(f"flood {count}")
    while "flooded" not in api.hear():
        pass
    prober = Prober(api, kdns.port)
    api.program.tell("mark")
    prober.follow("done")
    return time.monotonic() - began


def churn(kdns: Kdns, api: Api, count: int) -> None:
    """Memory over a long churn, and whether the index is what a fresh list gives."""
    flood(kdns, api, count // 5)
    before = settled(kdns.program)
    spent = kdns.program.processor_seconds()
    kdns.ask_inside("figures")
    took = flood(kdns, api, count)
    spent = kdns.program.processor_seconds() - spent
    row_of_turns(kdns, "longest turn meanwhile, at full speed")
    after = settled(kdns.program)
    each = spent / count * 1e6
    row(
        f"{count:,} events of churn ({count / took:,.0f}/s, {each:.0f} us cpu each)",
        "flat",
        f"{before:.1f} to {after:.1f} MB",
    )
    compared = kdns.ask_inside(f"compare {api.url}")
    row(
        "index equal to a fresh list", "yes", f"{'yes' if compared['equal'] else 'NO'}, {compared['objects']:,} objects"
    )


def turns(folder: Path, api: Api, size: Size, quick: bool) -> None:
    """What the stopwatch inside says, and what needs it."""
    with Kdns(folder, api, watch_turns=True) as kdns:
        kdns.wait_ready()
        row_of_turns(kdns, "longest turn, first sync")
        kdns.relist(api)
        row_of_turns(kdns, "longest turn, relist")
        changes_under_load(kdns, api, size, 2.0 if quick else 4.0, 1 if quick else 5)
        churn(kdns, api, 5_000 if quick else 100_000)


def measure(quick: bool) -> None:
    """Note one figure after the other."""
    size = Size()
    with TemporaryDirectory() as name:
        folder = Path(name)
        starts = [imports() for _ in range(6)][1:]  # the first compiles what an installed package has compiled
        wall, spent = (median(times) for times in zip(*starts, strict=True))
        row("of which interpreter and imports", "0.6 s", f"{wall:.2f} s, {spent:.2f} s of cpu")
        with Api(folder, size) as api:
            start_and_memory(folder, api, size, quick)
            turns(folder, api, size, quick)
        if not quick:
            paged(folder, size)
            with_pods(folder, Size(pods=30_000))


def main(arguments: Sequence[str]) -> None:
    """Measure everything and print it beside its target; when something fails, what was measured before it."""
    try:
        measure("--quick" in arguments)
    finally:
        table(("what", "target: at most", "measured"), ROWS)


if __name__ == "__main__":
    main(sys.argv[1:])
