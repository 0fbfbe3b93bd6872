# -*- test-case-name: tests.admin.test_client -*-
"""
Ask a running kdns over its admin socket: a plain blocking socket, for commands that start, ask and end.

One JSON object a line goes out, ``{"command": ..., "arguments": {...}}``, and one comes back, ``{"result": {...}}`` or
``{"error": "..."}``. Texts in it are returned with escapes for what is not printable, so that no server can command the terminal of its
operator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from kdns.admin.places import (
    KERNELS_LIST,
    address_of,
    default_places,
    is_believed,
    listening_places,
    mount_namespace,
    peer_uid,
)
from kdns.core.text import printable, reason_of

PATIENCE = 15.0
"""Seconds to wait for the server: longer than any query may take, with what a busy machine needs."""

MAX_REPLY = 256 << 20
"""Bytes of a reply that are read."""


class AdminError(Exception):
    """A server cannot be asked, or did not do what it was asked; the text is for the operator."""


class NobodyAnswers(AdminError):
    """There is no kdns at the place."""


class NotAllowed(AdminError):
    """There is one, and it belongs to another user."""


class SaidNo(AdminError):
    """The server understood, and says why it cannot."""


def ask(
    path: str | None, command: str, arguments: Mapping[str, Any] | None = None, *, patience: float = PATIENCE
) -> dict[str, Any]:
    """
    Have a running kdns carry out a command.

    :param path: of its socket; None looks where kdns puts it by default.
    :param patience: seconds to wait for each piece of the reply.
    :return: the command's result.
    :raises AdminError: with what to tell the operator.
    """
    with closing(Session(path, patience=patience)) as session:
        return session.ask(command, arguments)


class Session:
    """
    A connection over which a server is asked again and again. It is opened for the first question, and again after it was lost.

    :param path: as for :func:`ask`.
    """

    def __init__(self, path: str | None, *, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._connection: socket | None = None

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        Have the server carry out a command.

        :raises AdminError: as for :func:`ask`. The next question opens another connection.
        """
        question = json.dumps({"command": command, "arguments": dict(arguments or {})}).encode() + b"\n"
        if self._connection is None:
            path, patience = self._path, self._patience
            self._connection = _find(patience) if path is None else _connect(path, patience, named=True)
        try:
            return _result(_exchange(self._connection, question, self._patience))
        except SaidNo:
            raise
        except AdminError:
            self.close()
            raise

    def fileno(self) -> int | None:
        """The descriptor that becomes readable between two questions when the server is gone; None without a connection."""
        return None if self._connection is None else self._connection.fileno()

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _exchange(connection: socket, question: bytes, patience: float) -> bytes:
    try:
        try:
            connection.sendall(question)
        except BrokenPipeError:
            pass  # the server turned us away; the reason can be read
        return _line(connection)
    except TimeoutError:
        raise AdminError(f"kdns did not answer within {patience:g} s: it is overloaded or stuck") from None
    except OSError as error:
        raise AdminError(f"kdns closed the connection: {reason_of(error)}") from None


def _result(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise AdminError("kdns hung up without an answer; is it ending?")
    try:
        reply = json.loads(line, object_pairs_hook=_shown)
    except (ValueError, RecursionError):
        reply = None
    match reply:
        case {"error": str(text)}:
            raise SaidNo(text)
        case {"result": dict(result)}:
            return result
    raise AdminError("the process that answers there is no kdns")


def _find(patience: float) -> socket:
    """A connection to the one kdns at a default place: this user's own, else the only one on this machine that has us."""
    places = default_places(os.environ, os.geteuid(), mount_namespace())
    refused: list[AdminError] = []
    for place in places:
        try:
            return _connect(place, patience)
        except AdminError as error:
            refused.append(error)
    found: dict[str, socket] = {}
    for place in _listed():
        if place not in places:
            try:
                found[place] = _connect(place, patience)
            except AdminError as error:  # most are in other containers
                refused.append(error)
    if len(found) == 1:
        return found.popitem()[1]
    for connection in found.values():
        connection.close()
    if found:
        raise AdminError(f"several kdns run here; say which with --socket: {', '.join(found)}")
    for why in refused:
        if not isinstance(why, NobodyAnswers):
            raise why
    raise NobodyAnswers(
        f"no kdns answers at {', '.join(places)}. Does it run, as this user, in this container?"
        " If it was started with -admin.socket PATH, say --socket PATH"
    )


def _listed() -> list[str]:
    try:
        with open(KERNELS_LIST, encoding="utf-8", errors="surrogateescape") as lines:
            return list(listening_places(lines))
    except OSError:
        return []


def _connect(path: str, patience: float, *, named: bool = False) -> socket:
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(patience)
        connection.connect(address_of(path))
        uid, own = peer_uid(connection), os.geteuid()
        if not is_believed(path, uid, own, named=named):
            advice = f"; say --socket '{path}' to ask it all the same" if own == 0 else " or root; it is not asked"
            raise NotAllowed(f"the process at {path} belongs to user {uid}, not to this user{advice}")
        return connection
    except PermissionError:
        why: AdminError = NotAllowed(f"{path}: permission denied; ask as the user that kdns runs as, or as root")
    except TimeoutError:
        why = AdminError(f"the kdns at {path} takes no connection within {patience:g} s")
    except OSError as error:
        why = NobodyAnswers(f"no kdns answers at {path}: {reason_of(error)}")
    except AdminError as error:
        why = error
    connection.close()
    raise why


def _line(connection: socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        received += piece
        if len(received) > MAX_REPLY:
            raise AdminError("the reply has no end")
    return bytes(received)


def _shown(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {printable(name): _printable(value) for name, value in pairs}


def _printable(value: Any) -> Any:
    """A decoded value with printable texts; objects in it are so already."""
    if isinstance(value, str):
        return printable(value)
    return [_printable(one) for one in value] if isinstance(value, list) else value
