"""
Run all tests and say in one last line how many passed: ``python -m tests [trial's arguments]``.

Trial runs them in a process of its own; what it prints goes through, and its own summary is counted.
"""

from __future__ import annotations

import re
import subprocess
import sys

SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?$")


def main(arguments: list[str]) -> int:
    """Run trial with *arguments*, by default over all tests."""
    command = [sys.executable, "-m", "twisted.trial", *(arguments or ["--reporter=bwverbose", "tests"])]
    failed, passed, skipped = 0, 0, 0
    summary = False
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            print(line, end="", flush=True)
            found = SUMMARY.match(line.strip())
            if found:
                summary = True
                counts = dict(part.split("=") for part in (found[2] or "").split(", ") if "=" in part)
                passed = int(counts.get("successes", 0)) + int(counts.get("expectedFailures", 0))
                failed = sum(int(counts.get(name, 0)) for name in ("failures", "errors", "unexpectedSuccesses"))
                skipped = int(counts.get("skips", 0))
    if trial.returncode and not failed:
        failed = 1
    if not summary and not failed:
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
