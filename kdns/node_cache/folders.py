# -*- test-case-name: tests.node_cache.test_folders -*-
"""Read the files of a mounted ConfigMap, whose keys are file names and whose values are contents."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kdns.core.config_files import read_config_file

MOST = 1 << 20
"""Bytes of one file: what a whole ConfigMap can hold."""


def read_folder(path: str) -> Mapping[str, str]:
    """
    The texts of the files directly in a folder, by name. Hidden files are skipped, the kubelet's own links among them.

    :raises OSError: it cannot be read.
    :raises UnicodeDecodeError: a file is no UTF-8.
    """
    found = {}
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if not entry.name.startswith(".") and entry.is_file():
            found[entry.name] = read_config_file(entry.path, MOST).decode("utf-8")
    return found
