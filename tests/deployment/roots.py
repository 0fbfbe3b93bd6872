# -*- test-case-name: tests.deployment.test_image -*-
"""The root of the image, laid out from what this machine has."""

from __future__ import annotations

import atexit
import configparser
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SkipTest

from tests.integration.programs import ROOT

CONTAINER = str(Path(__file__).with_name("container.py"))


@cache
def tree() -> ModuleType:
    """``conf/image/tree.py`` as a module."""
    spec = importlib.util.spec_from_file_location("tree", ROOT / "conf" / "image" / "tree.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _builder(folder: Path) -> None:
    """What pip would have installed, put together from what is installed here and from the checkout."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line.partition("#")[0].strip() for line in setup["options"]["install_requires"].splitlines()]
    requirements = [line for line in lines if line]
    for name in ("kdns", "twisted/plugins"):
        ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    about = folder / "kdns-0.dist-info"
    about.mkdir()
    head = "Metadata-Version: 2.1\nName: kdns\nVersion: 0\n"
    (about / "METADATA").write_text(head + "".join(f"Requires-Dist: {line}\n" for line in requirements))
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    wanted, seen = list(requirements), {"kubernetes"}
    while wanted:
        name = tree().plain(wanted.pop())
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system
        if name in seen:
            continue
        seen.add(name)
        wanted += [line for line in found.requires or () if "extra" not in line]
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)


@cache
def image(python: str = sys.executable) -> Path:
    """
    The root of the image, made once; not below a folder that 65532 may not enter.

    :param python: the interpreter that goes in.
    """
    if os.geteuid():
        raise SkipTest("only root can give a file a capability, or change the root")
    if not (shutil.which("ldd") and Path("/sbin/ldconfig").exists()):
        raise SkipTest("no ldd or no ldconfig here")
    folder = Path(tempfile.mkdtemp(prefix="kdns-image-"))
    folder.chmod(0o755)
    try:
        _builder(folder / "site")
        environment = {**os.environ, "PYTHONPATH": ""}
        command = [python, str(ROOT / "conf" / "image" / "tree.py"), str(folder / "site"), str(folder / "root")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode and "Operation not supported" in done.stderr:
            raise SkipTest("the file system here keeps no capabilities")
        if done.returncode:
            raise AssertionError(done.stderr)
    except BaseException:
        shutil.rmtree(folder)
        raise
    atexit.register(shutil.rmtree, folder)
    return folder / "root"
