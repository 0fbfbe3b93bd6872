"""
What setup.cfg cannot say: the description for the package index, with links that lead to the repository, man pages, and completions.

Everything else about the package is in setup.cfg. Where parts of the tree are missing, as in the build of the image, so is what is made of
them.
"""

import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def description() -> str:
    """The README; relative links lead to the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    try:
        from tools.links import absolute
    except ImportError:
        return text
    return absolute(text, repository())


def repository() -> str:
    """The address of the repository."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["metadata"]["url"]


def data_files() -> list[tuple[str, list[str]]]:
    """Files below the ``share`` folder of an environment, where ``man`` and shells look for them."""
    found = []
    completions = {"bash-completion/completions": "kdns", "zsh/site-functions": "_kdns"}
    for folder, name in completions.items():
        path = ROOT / "conf" / "completion" / name
        if path.is_file():
            found.append((f"share/{folder}", [str(path.relative_to(ROOT))]))
    try:
        from tools.man import write
    except ImportError:
        return found  # without its documents, or without what reads them
    if (ROOT / "docs" / "corefile.md").is_file():
        for page in write(ROOT / "build" / "man"):
            found.append((f"share/man/{page.parent.name}", [str(page.relative_to(ROOT))]))
    return found


sys.path.insert(0, str(ROOT))
setup(long_description=description(), long_description_content_type="text/markdown", data_files=data_files())
