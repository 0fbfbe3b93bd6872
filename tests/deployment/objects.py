# -*- test-case-name: tests.deployment.test_manifests -*-
"""The folders of manifests, as kubectl renders them or as they stand, and what of a Corefile manifests must fit."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import server_keys
from kdns.plugin import registry
from kdns.plugin.seam import Block
from kdns.server.assembly import read_text
from tests.integration.programs import ROOT

KUBERNETES = ROOT / "conf" / "kubernetes"
KUBECTL = shutil.which("kubectl")
BASE = KUBERNETES / "base"
REPLACE = KUBERNETES / "overlays" / "replace-coredns"
HPA = KUBERNETES / "overlays" / "hpa"
LINEAR = KUBERNETES / "overlays" / "proportional" / "linear"
LADDER = KUBERNETES / "overlays" / "proportional" / "ladder"
NODE_LOCAL = KUBERNETES / "overlays" / "node-local"

WHOLE = (BASE, HPA, LINEAR, LADDER, NODE_LOCAL)
"""Folders whose objects are whole; that of REPLACE is a part of one."""


def documents(text: str) -> list[Any]:
    """The objects of a YAML text."""
    return [item for item in yaml.safe_load_all(text) if item]


def as_written(folder: Path) -> list[Any]:
    """The objects that a folder's kustomization lists, without its patches."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    found: list[Any] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        found += as_written(path) if path.is_dir() else documents(path.read_text(encoding="utf-8"))
    return found


def rendered(folder: Path) -> list[Any]:
    """The objects of a folder as kubectl renders them."""
    return documents(_rendered(folder))


@cache
def _rendered(folder: Path) -> str:
    assert KUBECTL is not None
    command = [KUBECTL, "kustomize", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode:
        raise AssertionError(f"{folder}: {ended.stderr}")
    return ended.stdout


def objects(folder: Path) -> list[Any]:
    """The objects of a folder, as exactly as this machine can tell."""
    return rendered(folder) if KUBECTL else as_written(folder)


def one(items: list[Any], kind: str, name: str = "coredns") -> Any:
    """The object of this kind and name."""
    (found,) = (item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return found


def pod_ports(corefile: str) -> dict[str, set[int]]:
    """The ports that a Corefile opens, by the directive that does it; those of DNS under ``dns``."""
    found: dict[str, set[int]] = {}
    for tree in read_text(corefile, {}).blocks:
        keys = server_keys(tree)
        found.setdefault("dns", set()).update(key.port for key in keys)
        block = Block(keys, frozenset(tree.directives))
        for name, use in tree.directives.items():
            if name in ("health", "ready", "prometheus"):
                config = registry.find(name, use.place).parse(Dispenser(use), block)
                found.setdefault(name, set()).add(config.address.port)
    return found
