# -*- test-case-name: tests.test_bench -*-
"""
Run the benchmarks, each in a process of its own, and say at the end what each took.

``python -m bench [--list] [--quick] [NAME...]``. A benchmark is a module in this folder that can be run; the first line of its docstring
says what it measures. What it prints is its result, so this only passes it on.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import table

HERE = Path(__file__).parent

QUICK = {"cluster_memory": ("2000", "6000")}
"""Arguments of those that do not know ``--quick``; one that neither knows it nor stands here is quick anyway."""


def benchmarks() -> dict[str, str]:
    """What each benchmark measures, by name."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.stem in ("__main__", "api_driver", "inside") or '__name__ == "__main__"' not in text:
            continue
        lines = (ast.get_docstring(ast.parse(text)) or path.stem).splitlines()
        found[path.stem] = lines[0]
    return found


def arguments_for(name: str, quick: bool) -> tuple[str, ...]:
    """The arguments with which a benchmark runs."""
    if not quick:
        return ()
    if name in QUICK:
        return QUICK[name]
    return ("--quick",) if '"--quick"' in (HERE / f"{name}.py").read_text(encoding="utf-8") else ()


def main(arguments: Sequence[str]) -> int:
    """Run those that are asked for; the exit status is 1 when one failed."""
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks of kdns.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="which to run; all by default")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", action="store_true", help="short runs: an impression, no figures to quote")
    options = parser.parse_args(arguments)
    if options.list:
        table(("benchmark", "measures"), [(name, text) for name, text in known.items()])
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    rows = []
    failed = False
    for name in options.names or known:
        print(f"\n== {name}: {known[name]}\n", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", f"bench.{name}", *arguments_for(name, options.quick)]
        status = subprocess.run(command, check=False, cwd=HERE.parent).returncode
        failed = failed or status != 0
        rows.append((name, f"{time.monotonic() - began:.0f} s", "done" if status == 0 else f"failed ({status})"))
    print()
    table(("benchmark", "took", "result"), rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
