"""
The source archive and the wheel, built as a release builds them and installed: ``python -m tests.integration.dist``.

It takes half a minute and is run by ``.ci/run``, not with the other tests. Nothing is fetched: the environment that it runs in has what a
build needs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from kdns import __version__

ROOT = Path(__file__).parents[2]

MOST_WHEEL = 2 << 20
"""Bytes of the wheel."""

SHARED = (
    "bash-completion/completions/kdns",
    "zsh/site-functions/_kdns",
    "man/man1/kdns.1",
    "man/man5/Corefile.5",
    "man/man7/kdns-plugins.7",
)
"""Below ``share`` in an environment."""


def check(wanted: bool, text: str) -> None:
    """End with a text unless all is well."""
    if not wanted:
        raise SystemExit(f"dist: {text}")


def run(*command: str | Path, folder: Path) -> str:
    """Run a program that must end well."""
    ended = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    check(ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def tracked() -> set[str]:
    """The files of the repository."""
    return set(run("git", "ls-files", folder=ROOT).split("\n")) - {""}


def main() -> None:
    """Build both from a copy of what is tracked, look into them, and install the wheel."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree, out = folder / "tree", folder / "out"
        run("git", "clone", "--quiet", "--shared", ROOT, tree, folder=ROOT)
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree, folder=folder)
        archive, wheel = out / f"kdns-{__version__}.tar.gz", out / f"kdns-{__version__}-py3-none-any.whl"
        with tarfile.open(archive) as opened:
            inside = {name.partition("/")[2] for name in opened.getnames()}
        check(not tracked() - inside, f"the source archive lacks {sorted(tracked() - inside)[:9]}")
        with zipfile.ZipFile(wheel) as zipped:
            names = zipped.namelist()
            metadata = zipped.read(f"kdns-{__version__}.dist-info/METADATA").decode()
        strange = [name for name in names if not name.startswith(("kdns/", "twisted/plugins/", f"kdns-{__version__}."))]
        check(not strange, f"the wheel has {strange[:9]}")
        for shared in SHARED:
            check(any(name.endswith(f"/share/{shared}") for name in names), f"the wheel lacks {shared}")
        size = wheel.stat().st_size
        check(size <= MOST_WHEEL, f"the wheel has {size} bytes")
        check("](docs/" not in metadata and "/blob/main/docs/" in metadata, "links of the description are relative")
        run(sys.executable, "-m", "venv", folder / "env", folder=folder)
        run(folder / "env/bin/pip", "install", "--quiet", "--no-deps", wheel, folder=folder)
        for shared in SHARED:
            check((folder / "env/share" / shared).is_file(), f"not installed: {shared}")
        print(f"source archive {archive.stat().st_size:,} bytes, wheel {size:,} bytes, {len(names)} files")


if __name__ == "__main__":
    main()
