# -*- test-case-name: tests.core.test_config_files -*-
"""
Open the files that a configuration names: regular files only, and without waiting.

Opening a named pipe waits for its other end, and reading a terminal or a device may wait for ever; either would stop the server. Every path
that a Corefile, a kubeconfig or a file named in one of these can contain is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from typing import BinaryIO

MOST = 64 << 20
"""Bytes that :func:`read_config_file` reads at most unless told otherwise; a blocklist of a million names has half of that."""

_KINDS = (
    (stat.S_ISFIFO, "is a named pipe, not a regular file"),
    (stat.S_ISCHR, "is a device, not a regular file"),
    (stat.S_ISBLK, "is a device, not a regular file"),
    (stat.S_ISSOCK, "is a socket, not a regular file"),
)


def config_file_status(path: str) -> os.stat_result:
    """
    The status of a regular file; a symbolic link is what it points to.

    :raises OSError: there is none, or it is no regular file; ``strerror`` says why.
    """
    status = os.stat(path)
    _must_be_regular(status, path)
    return status


def open_config_file(path: str) -> BinaryIO:
    """
    Open a regular file for reading.

    :raises OSError: it cannot be opened, or it is no regular file; ``strerror`` says why.
    """
    # Looked at before it is opened, because opening some devices has effects (a tape is rewound, a watchdog armed); and again afterwards,
    # because another file may have taken its place. O_NONBLOCK keeps that one from making us wait.
    config_file_status(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _must_be_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_config_file(path: str, most: int = MOST) -> bytes:
    """
    The content of a regular file.

    :raises OSError: it cannot be read, is no regular file, or has more than *most* bytes; ``strerror`` says why.
    """
    with open_config_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"file is larger than {most} bytes", path)
    return content


def append_to_file(path: str) -> FileIO:
    """
    Open a regular file, made if it is missing, to write at its end; only its owner may read it. Nothing is buffered.

    :raises OSError: it cannot be opened, or it is no regular file; ``strerror`` says why.
    """
    if os.path.exists(path):
        config_file_status(path)
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600
    )
    try:
        _must_be_regular(os.fstat(descriptor), path)
        return FileIO(descriptor, "ab")
    except BaseException:
        os.close(descriptor)
        raise


def _must_be_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    text = next((text for is_kind, text in _KINDS if is_kind(status.st_mode)), "is not a regular file")
    raise OSError(errno.EINVAL, text, path)
