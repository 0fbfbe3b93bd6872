# -*- test-case-name: tests.test_bench -*-
"""
Run the benchmarks, each in a process of its own, and say at the end what each took.

``python -m bench [--list] [--all] [--quick] [--json FILE] [NAME...]``, or ``python -m bench [...] NAME ARGUMENT...`` for one benchmark with
arguments of its own. A benchmark is a module in this folder that can be run; the first line of its docstring says what it measures. What
it prints is its result, so this only passes it on.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.processes import table

HERE = Path(__file__).parent

USUAL = ("rows", "latency")
"""What runs when nothing is asked for."""

NO_BENCHMARKS = ("__main__", "api_driver", "inside", "markdown", "peers", "encrypted_load")
"""Modules that can be run but measure nothing of their own."""

QUICK = {"cluster_memory": ("2000", "6000")}
"""Arguments of those that do not know ``--quick``; one that neither knows it nor stands here is quick anyway."""


def benchmarks() -> dict[str, str]:
    """What each benchmark measures, by name."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.stem in NO_BENCHMARKS or '__name__ == "__main__"' not in text:
            continue
        lines = (ast.get_docstring(ast.parse(text)) or path.stem).splitlines()
        found[path.stem] = lines[0]
    return found


def arguments_for(name: str, quick: bool, json: str = "") -> tuple[str, ...]:
    """The arguments with which a benchmark runs."""
    text = (HERE / f"{name}.py").read_text(encoding="utf-8")
    found = ("--json", json) if json and '"--json"' in text else ()
    if not quick:
        return found
    if name in QUICK:
        return (*QUICK[name], *found)
    return ("--quick", *found) if '"--quick"' in text else found


def split(words: Sequence[str], known: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Benchmarks and what each is told: all are names of benchmarks, or all behind the first are its arguments."""
    if all(word in known for word in words):
        return [(word, ()) for word in words]
    return [(words[0], tuple(words[1:]))]


def main(arguments: Sequence[str]) -> int:
    """Run those that are asked for; the exit status is 1 when one failed."""
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks of kdns.")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--all", action="store_true", help="run all of them")
    parser.add_argument("--quick", action="store_true", help="short runs: an impression, no figures to quote")
    parser.add_argument("--json", metavar="FILE", default="", help="add the figures to this file")
    parser.add_argument(
        "words",
        metavar="NAME",
        nargs=argparse.REMAINDER,
        help=f"which to run, or one and its arguments; by default {' and '.join(USUAL)}",
    )
    options = parser.parse_args(arguments)
    if options.list:
        table(("benchmark", "measures"), [(name, text) for name, text in known.items()])
        return 0
    asked = split(options.words or (tuple(known) if options.all else USUAL), known)
    if asked[0][0] not in known:
        parser.error(f"no benchmark {asked[0][0]}; there are {', '.join(known)}")
    path = str(Path(options.json).absolute()) if options.json else ""
    rows = []
    failed = False
    for name, told in asked:
        print(f"\n== {name}: {known[name]}\n", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", f"bench.{name}", *arguments_for(name, options.quick, path), *told]
        status = subprocess.run(command, check=False, cwd=HERE.parent).returncode
        failed = failed or status != 0
        rows.append((name, f"{time.monotonic() - began:.0f} s", "done" if status == 0 else f"failed ({status})"))
    print()
    table(("benchmark", "took", "result"), rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
