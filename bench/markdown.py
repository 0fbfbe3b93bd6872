# -*- test-case-name: tests.test_bench -*-
"""
The figures of a file as tables for docs/performance.md: ``python -m bench.markdown FILE [DOCUMENT]``.

The file is what ``make bench`` or ``--json`` wrote. With a document the tables take the place of what stands there between
``<!-- NAME -->`` and ``<!-- /NAME -->``, NAME being that of a benchmark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.latency import limits_of
from bench.machine import described
from bench.processes import median

Json = Mapping[str, Any]


def rows(figures: Json) -> list[list[str]]:
    """The table of rows; in bold what misses its target."""
    lines = [
        ["row", "yardstick q/s", "kdns q/s", "multiple", "target", "by cpu", "avg ms", "p99 ms", "max ms", "lost"],
    ]
    for name, row in figures.items():
        ours, theirs = row["kdns"], row["yardstick"]
        multiple = median(ours["rates"]) / median(theirs["rates"])
        lines.append(
            [
                name,
                f"{median(theirs['rates']):,.0f}",
                f"{median(ours['rates']):,.0f}",
                marked(f"{multiple:.1f}", multiple >= row["target"]),
                f"{row['target']:g}",
                f"{median(theirs['each']) / median(ours['each']):.1f}",
                *(f"{ours[key]:.2f}" for key in ("average", "p99", "slowest")),
                str(ours["lost"]),
            ]
        )
    return lines


def costs(figures: Json) -> list[list[str]]:
    """The table of processor time and memory."""
    lines = [["row", "kdns us", "yardstick us", "peer us", "of the peer's", "target", "core busy", "resident MB"]]
    for name, row in figures.items():
        ours, peer = row["kdns"], row.get(row["peer"])
        each = median(ours["each"])
        beside = ["", "", ""]
        if peer is not None:
            ratio = each / median(peer["each"])
            beside = [
                f"{row['peer']} {median(peer['each']):.1f}",
                marked(f"{ratio:.2f}", ratio <= row["peer target"]),
                f"{row['peer target']:g}",
            ]
        measured = [f"{each:.1f}", f"{median(row['yardstick']['each']):.1f}"]
        lines.append([name, *measured, *beside, f"{median(ours['busy']):.0%}", f"{ours['resident']:.0f}"])
    return lines


def latency(figures: Json) -> list[list[str]]:
    """The table of latency; in bold what misses its target."""
    lines = [["meanwhile", "avg ms", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "lost"]]
    for what, found in figures.items():
        limits = limits_of(what)
        average, p99, slowest = median(found["average"]), median(found["p99"]), max(found["slowest"])
        lines.append(
            [
                what,
                marked(f"{average:.2f}", not limits.average or average <= limits.average),
                f"{median(found['p50']):.2f}",
                marked(f"{p99:.2f}", not limits.p99 or p99 <= limits.p99),
                f"{median(found['p999']):.2f}",
                marked(f"{slowest:.1f}", not limits.slowest or slowest <= limits.slowest),
                str(found["lost"]),
            ]
        )
    return lines


def soak(figures: Json) -> list[list[str]]:
    """The table of a soak; in bold what does not hold."""
    lines = [["what should hold", "found", "holds"]]
    for verdict in figures["verdicts"]:
        lines.append([verdict["what"], verdict["found"], marked("yes" if verdict["holds"] else "no", verdict["holds"])])
    return lines


def marked(text: str, met: bool) -> str:
    """A figure, in bold when it misses its target."""
    return text if met else f"**{text}**"


def written(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first line is its head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---", *["---:"] * (len(head) - 1)], *rest])


TABLES = {"rows": (rows, costs), "latency": (latency,), "soak": (soak,)}


def section(name: str, kept: Json) -> str:
    """All tables of a benchmark, with the machine they were made on."""
    tables = "\n\n".join(written(make(kept["figures"])) for make in TABLES[name])
    return f"Measured: {described(kept['machine'])}.\n\n{tables}"


def filled(document: str, held: Json) -> str:
    """
    The document with new figures between the marks.

    :raises ValueError: it has no marks for something that is held.
    """
    for name, kept in held.items():
        before, begin, rest = document.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- /{name} -->")
        if not end:
            raise ValueError(f"the document has no place for {name}")
        document = f"{before}{begin}{section(name, kept)}{end}{after}"
    return document


def main(arguments: Sequence[str]) -> int:
    """Print the tables of a file, or put them where they belong in a document."""
    held = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    if arguments[1:]:
        document = Path(arguments[1])
        document.write_text(filled(document.read_text(encoding="utf-8"), held), encoding="utf-8")
    else:
        print("\n\n".join(section(name, kept) for name, kept in held.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
