# -*- test-case-name: tests.admin.test_places -*-
"""
Where the admin socket is, and whom to believe there: server and client both look here, so they agree without configuration.

A path is a file, or with a leading ``@`` a name in Linux's abstract namespace, which needs no writable file system. Such a name contains
the number of the mount namespace, so containers that share a network have different ones.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_UNIX, SOCK_STREAM, SOL_SOCKET, socket

OFF = "off"
"""The path that means: no socket."""

RUN = "/run/kdns/admin.sock"
IN_RUNTIME_FOLDER = "kdns.sock"
ABSTRACT = "@kdns-"

KERNELS_LIST = "/proc/net/unix"
_LISTENING = 0x10000
_CREDENTIALS = struct.Struct("3i")
_DEFAULT = re.compile(rf"{re.escape(ABSTRACT)}\d+-\d+|{re.escape(RUN)}|/run/user/\d+/{re.escape(IN_RUNTIME_FOLDER)}")


def default_places(environment: Mapping[str, str], uid: int, namespace: str) -> tuple[str, ...]:
    """
    Where a server of user *uid* puts its socket: the first of these that can be opened.

    :param namespace: from :func:`mount_namespace`.
    """
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    own = (os.path.join(runtime, IN_RUNTIME_FOLDER),) if os.path.isabs(runtime) else ()
    return (*own, RUN, f"{ABSTRACT}{uid}-{namespace}")


def mount_namespace() -> str:
    """The number of this process's mount namespace, which all processes of a container share; ``0`` where it is not known."""
    try:
        return os.readlink("/proc/self/ns/mnt").partition("[")[2].rstrip("]") or "0"
    except OSError:
        return "0"


def is_off(path: str | None) -> bool:
    """Whether the operator's path means: no socket."""
    return path is not None and path in ("", OFF)


def address_of(path: str) -> str:
    """A path as ``bind`` and ``connect`` take it."""
    return "\0" + path[1:] if path.startswith("@") else path


def listening_places(lines: Iterable[str]) -> Iterator[str]:
    """
    The default places of any user at which a process listens.

    :param lines: of ``/proc/net/unix``.
    """
    seen = set()
    for line in lines:
        columns = line.rstrip("\n").split(maxsplit=7)
        if len(columns) == 8 and _DEFAULT.fullmatch(columns[7]) and int(columns[3], 16) & _LISTENING:
            if columns[7] not in seen:
                yield columns[7]
            seen.add(columns[7])


def peer_uid(connection: socket) -> int | None:
    """The user at the other end of a connected Unix socket, from the kernel; None where it does not say (not Linux)."""
    try:
        from socket import SO_PEERCRED
    except ImportError:
        return None
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def is_believed(path: str, server: int | None, own: int, *, named: bool) -> bool:
    """
    Whether a client of user *own* may show what the server at *path* says.

    Any user can listen at an abstract name. So root believes root, the user to whom root gave the folder of :data:`RUN` (systemd's
    ``RuntimeDirectory=``), and other users only where the operator named the path.

    :param server: the server's user.
    :param named: whether the operator named the path.
    """
    if server in (None, 0, own):
        return True
    if own != 0 or named:
        return own == 0
    try:
        return path == RUN and os.stat(os.path.dirname(path)).st_uid == server
    except OSError:
        return False


def is_live(path: str) -> bool:
    """
    Whether a process listens at a path, even if it would refuse us.

    :raises OSError: this cannot be found out.
    """
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address_of(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # it listens, and its backlog is full
    return True
