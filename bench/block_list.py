"""
What a block list of 100,000 names costs *hosts*: time and memory to read it, and the longest turn of the reactor.

Memory is resident memory of this process, less what it had before. A turn is the processor time of one call from the reactor. Run it as
``python -m bench.block_list [--quick]``.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from bench.processes import table
from bench.zones import resident
from kdns.plugin.seam import ServerContext
from kdns.plugins.hosts.config import HostsConfig
from kdns.plugins.hosts.service import HostsFile
from kdns.plugins.hosts.table import find
from kdns.wire.names import ROOT, from_text

NAMES = 100_000
QUESTIONS = 20_000


class Turns(Clock):
    """A reactor that measures its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self.taken = 0.0

    def seconds(self) -> float:
        """The time; slices of work look at it."""
        return time.monotonic()

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """Call in a turn that is measured."""

        def measured() -> None:
            begin = time.thread_time()
            callable(*args, **kw)
            spent = time.thread_time() - begin
            self.taken += spent
            self.longest = max(self.longest, spent)

        return super().callLater(delay, measured)

    def until(self, done: Callable[[], bool]) -> None:
        """Turn until something is done."""
        while not done():
            self.advance(0)


def names(count: int, version: int) -> list[str]:
    """Lines of a list; a new version has a tenth of other names."""
    return [
        f"0.0.0.0 ads-{number if number % 10 else f'{number}-{version}'}.tracker-{number % 997}.example\n"
        for number in range(count)
    ]


def main(arguments: list[str]) -> None:
    """Measure."""
    count = 10_000 if "--quick" in arguments else NAMES
    gc.disable()  # the daemon has a plan of its own for it
    rows = []
    with TemporaryDirectory() as folder:
        path = Path(folder, "list")
        for reverse in (True, False):
            path.unlink(missing_ok=True)
            with path.open("w", encoding="ascii") as file:
                file.writelines(names(count, 0))
            turns = Turns()
            context = ServerContext(turns)
            context.deferred_free.start(turns)
            before = resident()
            begin = time.thread_time()
            made = HostsFile(HostsConfig(str(path), (ROOT,), reverse=reverse, reload=0), context)
            made.start()
            first = time.thread_time() - begin
            turns.until(lambda made=made: not made.reading)  # type: ignore[misc]  # a default for a closure
            taken = resident() - before
            reading, longest = first + turns.taken, max(first, turns.longest)
            asked = [
                from_text(f"ads-{number * 7919 % count}.tracker-{number % 997}.example") for number in range(QUESTIONS)
            ]
            begin = time.thread_time()
            for name in asked:
                find(made.tables, name)
            question = (time.thread_time() - begin) / QUESTIONS
            turns.longest = 0.0
            with path.open("w", encoding="ascii") as file:
                file.writelines(names(count, 1))
            os.utime(path, (1, 1))
            begin = time.thread_time()
            made.look()
            first = time.thread_time() - begin
            turns.until(lambda made=made: not made.reading)  # type: ignore[misc]  # see above
            turns.until(lambda turns=turns: not turns.getDelayedCalls())  # type: ignore[misc]  # what is freed
            rows.append(
                (
                    f"{count:,} names" + ("" if reverse else ", no_reverse"),
                    f"{reading:.2f} s",
                    f"{longest * 1000:.1f} ms",
                    f"{taken / 1e6:.0f} MB",
                    f"{max(first, turns.longest) * 1000:.1f} ms",
                    f"{question * 1e6:.1f} µs",
                )
            )
            made.stop()
            del made
    table(("list", "reading", "longest turn", "memory", "longest turn of the next version", "a question"), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
