# -*- test-case-name: tests.test_bench -*-
"""
The longest turn of the reactor while kdns reloads, with a large cluster and a full answer table: nobody is answered meanwhile.

Run it as ``python -m bench.reloads [--times N]``. Each reload changes what has no say in answers, then what has: the cache goes with that.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cluster import Api, Kdns, Size
from bench.load import replay
from bench.names import hot, wide, write
from bench.processes import table, wait_for

RELOADED = b"Reloading complete"

CHANGES = (("log { class error }", "    log . {\n        class error\n    }\n"), ("the cache's TTL", "    cache 31\n"))
"""What changes: a name, and the lines that come and go."""


def main(arguments: Sequence[str]) -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m bench.reloads", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="reloads of each kind (5)")
    times = parser.parse_args(arguments).times
    rows = []
    with TemporaryDirectory(prefix="kdns-bench-") as name:
        folder, size = Path(name), Size()
        with (
            (folder / "kdns.out").open("w+b") as output,
            Api(folder, size) as api,
            Kdns(folder, api, watch_turns=True, output=output) as kdns,
        ):
            kdns.wait_ready()
            packets = write(folder / "packets", [*hot(size), *wide(size)])
            plain = kdns.corefile.read_text()
            for what, lines in CHANGES:
                turns = []
                for number in range(times * 2):
                    replay(kdns.port, packets, once=True)  # the table is full
                    time.sleep(1.0)
                    changed = plain.replace("    cache 30\n", "") if "cache" in lines else plain
                    begin = changed.index("{\n") + 2
                    kdns.corefile.write_text(plain if number % 2 else changed[:begin] + lines + changed[begin:])
                    output.seek(0)
                    before = output.read().count(RELOADED)
                    kdns.ask_inside("figures")
                    kdns.program.signal(signal.SIGUSR1)

                    def done(before: int = before) -> bool:
                        output.seek(0)
                        return output.read().count(RELOADED) > before

                    wait_for("the reload", done)
                    time.sleep(0.5)
                    turns.append(kdns.ask_inside("figures"))
                longest = sorted(turn["longest"][0] * 1000 for turn in turns)
                work = sorted(turn["most_work"] * 1000 for turn in turns)
                rows.append(
                    (
                        what,
                        f"{longest[len(longest) // 2]:.1f}",
                        f"{longest[-1]:.1f}",
                        f"{work[len(work) // 2]:.1f}",
                        f"{work[-1]:.1f}",
                    )
                )
    table(("changed", "longest turn, median (ms)", "worst", "of the processor, median (ms)", "worst"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
