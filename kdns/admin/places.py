# -*- test-case-name: tests.admin.test_places -*-
"""
Where the admin socket is: the one place that server and client both look at, so that they agree without configuration.

A path is a file, or with a leading ``@`` a name in Linux's abstract namespace, which needs no file system that can be written to. Such a
name holds the number of the mount namespace, so containers that share a network do not take each other's.
"""

from __future__ import annotations

import os
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


def default_places(environment: Mapping[str, str], uid: int, namespace: str) -> tuple[str, ...]:
    """
    Where a server of user *uid* puts its socket: the first that can be made.

    :param namespace: what :func:`mount_namespace` says.
    """
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    own = (os.path.join(runtime, IN_RUNTIME_FOLDER),) if os.path.isabs(runtime) else ()
    return (*own, RUN, f"{ABSTRACT}{uid}-{namespace}")


def mount_namespace() -> str:
    """The number of this process's mount namespace; all processes of a container share it. ``0`` where it cannot be told."""
    try:
        return os.readlink("/proc/self/ns/mnt").partition("[")[2].rstrip("]") or "0"
    except OSError:
        return "0"


def is_off(path: str | None) -> bool:
    """Whether a path given by the operator means: no socket."""
    return path is not None and path in ("", OFF)


def address_of(path: str) -> str:
    """A path as ``bind`` and ``connect`` take it."""
    return "\0" + path[1:] if path.startswith("@") else path


def listening_places(lines: Iterable[str]) -> Iterator[str]:
    """
    The paths in the kernel's list of Unix sockets that a kdns by its defaults listens on, whoever started it.

    :param lines: of ``/proc/net/unix``.
    """
    seen = set()
    for line in lines:
        columns = line.split(maxsplit=7)
        if len(columns) < 8:
            continue
        path = columns[7].rstrip("\n")
        try:
            listening = bool(int(columns[3], 16) & _LISTENING)
        except ValueError:
            continue  # the heading
        known = path.startswith(ABSTRACT) or path == RUN or path.endswith("/" + IN_RUNTIME_FOLDER)
        if listening and known and path not in seen:
            seen.add(path)
            yield path


def peer_uid(connection: socket) -> int | None:
    """The user at the other end of a connected Unix socket, as the kernel vouches for it; None where it does not (not Linux)."""
    try:
        from socket import SO_PEERCRED
    except ImportError:
        return None
    octets = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(octets)
    return int(uid)


def is_live(path: str) -> bool:
    """
    Whether somebody listens at a path, even if they would not have us.

    :raises OSError: it cannot be told.
    """
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address_of(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True  # it listens, and more wait there than it takes
    return True
