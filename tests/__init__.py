"""Tests of kdns; the folders mirror the package."""

import atexit
import os
import shutil
import sys
import tempfile

_PREFIX = "kdns-tests-"


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


if "twisted.trial" in sys.modules:
    from hypothesis import HealthCheck, settings

    # Deadlines and the check for slowness measure the machine, which may be busy.
    settings.register_profile("kdns", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("kdns")

# A kdns that a test starts must not take the machine's own place for the admin socket, where an operator's commands look for it. Benchmarks
# import parts of the tests in programs that are killed: those make no folder.
if "twisted.trial" in sys.modules and not os.path.basename(os.environ.get("XDG_RUNTIME_DIR", "")).startswith(_PREFIX):
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix=_PREFIX)
    atexit.register(_remove, os.environ["XDG_RUNTIME_DIR"], os.getpid())
