# -*- test-case-name: tests.deployment.test_image -*-
"""
Run a program as a container runtime would: ``python container.py ROOT MOUNTS PROGRAM [ARGUMENT ...]``, as root.

ROOT becomes the root file system, read-only; MOUNTS are pairs ``SOURCE:TARGET`` with commas between them. The program runs as 65532, may
gain no privilege (``allowPrivilegeEscalation: false``), and has of all capabilities NET_BIND_SERVICE alone, in the way that runc hands it
to a user who is not root: permitted before the program starts, and gone unless its file has it, too.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

USER = 65532
NET_BIND_SERVICE = 10
NOBODY_MAY = 0

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _do(what: str, *arguments: object) -> None:
    if getattr(_libc, what)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    _do("mount", source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), None)


def confine(root: str, mounts: str, capabilities: int) -> None:
    """Become what the program is to run as."""
    _do("unshare", _CLONE_NEWNS)
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    _mount(root, root, _MS_BIND)
    _mount("proc", f"{root}/proc", 0, "proc")
    _mount("/dev", f"{root}/dev", _MS_BIND)
    places = [root]
    for source, _, target in (pair.partition(":") for pair in mounts.split(",")):
        places.append(f"{root}{target}")
        if os.path.isdir(source):
            os.makedirs(places[-1], exist_ok=True)
        else:
            os.close(os.open(places[-1], os.O_CREAT))
        _mount(source, places[-1], _MS_BIND)
    for place in places:
        _mount("none", place, _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    os.chroot(root)
    os.chdir("/")
    for number in range(64):
        if not capabilities >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            break  # there are no more
    _do("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _do("capset", header, struct.pack("<6I", capabilities, capabilities, 0, 0, 0, 0))
    _do("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    root, mounts, *program = sys.argv[1:]
    granted = NOBODY_MAY if os.environ.get("GRANT") == "nothing" else 1 << NET_BIND_SERVICE
    confine(root, mounts, granted)
    service = {name: value for name, value in os.environ.items() if name.startswith("KUBERNETES_SERVICE_")}
    os.execve(program[0], program, {"PATH": "/kdns/bin", "HOME": "/", **service})
