# -*- test-case-name: tests.corefile.test_files -*-
"""
The one seam through which a Corefile reaches other files: what ``import`` may ask of a file system, and the real one.

When a file may be imported, and the words of a refusal, are left to the parser.
"""

from __future__ import annotations

import errno
import glob
import os
from enum import Enum
from pathlib import Path
from typing import Protocol

from kdns.core.config_files import read_config_file

MAX_FILE = 8 * 1024 * 1024
"""Bytes of a file at most: eight times what a ConfigMap can hold. Without a limit ``import /dev/zero`` would never end."""


class Kind(Enum):
    """What a path is, as far as ``import`` cares."""

    FILE = "a regular file"
    DIRECTORY = "is a directory"
    OTHER = "is not a regular file"
    """A device, pipe or socket: reading it could wait for ever."""
    MISSING = "no such file or directory"


class Files(Protocol):
    """What the parser asks of a file system."""

    def absolute(self, path: str) -> str:
        """The same path from the root, without ``.`` and ``..``."""

    def matches(self, pattern: str) -> list[str]:
        """The existing paths that fit an absolute glob pattern, sorted; a path without wildcards fits itself."""

    def kind(self, path: str) -> Kind:
        """What stands at *path*."""

    def read(self, path: str) -> str:
        """
        The text of a file.

        :raises OSError: it cannot be read; ``strerror`` says why.
        """


class DiskFiles:
    """
    The file system of this machine.

    :param folder: what relative paths are relative to; the working directory at the time of the call when it is not given.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder

    def absolute(self, path: str) -> str:
        """As :meth:`Files.absolute`; symbolic links are left as they are."""
        return os.path.abspath(os.path.join(self._folder, path) if self._folder else path)

    def matches(self, pattern: str) -> list[str]:
        """As :meth:`Files.matches`; a wildcard also fits names that begin with a dot, as it does in Go."""
        if "*" not in pattern and "?" not in pattern:
            return [pattern] if os.path.lexists(pattern) else []
        try:
            return sorted(glob.glob(pattern, include_hidden=True))
        except ValueError:  # a NUL or a lone surrogate: no file has such a name
            return []

    def kind(self, path: str) -> Kind:
        """As :meth:`Files.kind`; a symbolic link is what it points to."""
        found = Path(self.absolute(path))
        if found.is_file():
            return Kind.FILE
        if found.is_dir():
            return Kind.DIRECTORY
        return Kind.OTHER if found.exists() else Kind.MISSING

    def read(self, path: str) -> str:
        """As :meth:`Files.read`; bytes that are not UTF-8 become U+FFFD."""
        try:
            data = read_config_file(self.absolute(path), MAX_FILE)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        return data.decode("utf-8", errors="replace")
