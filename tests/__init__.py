"""Tests of kdns; the folders mirror the package."""

import atexit
import os
import shutil
import tempfile

# A kdns that a test starts must not take the machine's own place for the admin socket, where an operator's commands look for it.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="kdns-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
