# -*- test-case-name: tests.admin.test_client -*-
"""
Ask a running kdns over its admin socket: a plain blocking socket, for commands that start, ask and end.

One JSON object a line goes out, ``{"command": ..., "arguments": {...}}``, and one comes back, ``{"result": {...}}`` or
``{"error": "..."}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import closing
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from kdns.admin.places import (
    KERNELS_LIST,
    address_of,
    default_places,
    listening_places,
    mount_namespace,
    peer_uid,
)

PATIENCE = 15.0
"""Seconds to wait for the server: longer than any query may take, with what a busy machine needs."""

MOST_OCTETS = 256 << 20
"""Octets of a reply that are read."""


class AdminError(Exception):
    """A server cannot be asked, or did not do what it was asked; the text is for the operator."""


class NobodyAnswers(AdminError):
    """There is no kdns at the place."""


class NotAllowed(AdminError):
    """There is one, and it belongs to somebody else."""


class SaidNo(AdminError):
    """The server understood and says why it cannot."""


def ask(
    path: str | None, command: str, arguments: Mapping[str, Any] | None = None, *, patience: float = PATIENCE
) -> dict[str, Any]:
    """
    Have a running kdns carry out a command.

    :param path: of its socket; None looks where kdns puts it when nobody says otherwise.
    :param patience: seconds to wait for each piece of the reply.
    :return: the command's result.
    :raises AdminError: with what to tell the operator.
    """
    with closing(connect(path, patience)) as connection:
        question = json.dumps({"command": command, "arguments": dict(arguments or {})})
        try:
            try:
                connection.sendall(question.encode() + b"\n")
            except BrokenPipeError:
                pass  # it was turned away; why can be read
            line = _line(connection)
        except TimeoutError:
            raise AdminError(f"kdns did not answer within {patience:g} s: it is overloaded or stuck") from None
        except OSError as error:
            raise AdminError(f"kdns closed the connection: {error.strerror or error}") from None
    return _result(line)


def connect(path: str | None, patience: float = PATIENCE) -> socket:
    """
    A connection to a running kdns; see :func:`ask`.

    :raises AdminError: there is none.
    """
    if path is not None:
        return _connect(path, patience)
    places = default_places(os.environ, os.geteuid(), mount_namespace())
    refused: list[AdminError] = []
    for place in places:
        try:
            return _connect(place, patience)
        except AdminError as error:
            refused.append(error)
    others, strangers = _connect_all((place for place in _listed() if place not in places), patience)
    if len(others) == 1:
        return others[0][1]
    for _, connection in others:
        connection.close()
    if others:
        found = ", ".join(place for place, _ in others)
        raise AdminError(f"several kdns run here; say which with --socket: {found}")
    for why in (*refused, *strangers):
        if not isinstance(why, NobodyAnswers):
            raise why
    raise NobodyAnswers(
        f"no kdns answers at {', '.join(places)}. Does it run, as this user, in this container?"
        " If it was started with -admin.socket PATH, say --socket PATH"
    )


def _connect_all(places: Iterable[str], patience: float) -> tuple[list[tuple[str, socket]], list[AdminError]]:
    """Connections to those that have us, and why the others do not: most are in other containers."""
    found, refused = [], []
    for place in places:
        try:
            found.append((place, _connect(place, patience)))
        except AdminError as error:
            refused.append(error)
    return found, refused


def _listed() -> list[str]:
    try:
        with open(KERNELS_LIST, encoding="utf-8", errors="surrogateescape") as lines:
            return list(listening_places(lines))
    except OSError:
        return []


def _connect(path: str, patience: float) -> socket:
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(patience)
        connection.connect(address_of(path))
        uid = peer_uid(connection)
        own = os.geteuid()
        if own and uid not in (None, 0, own):
            raise NotAllowed(f"{path} belongs to user {uid}, not to this user or root; it is not asked")
    except PermissionError:
        connection.close()
        raise NotAllowed(f"{path}: permission denied; ask as the user that kdns runs as, or as root") from None
    except TimeoutError:
        connection.close()
        raise AdminError(f"the kdns at {path} takes no connection within {patience:g} s") from None
    except OSError as error:
        connection.close()
        raise NobodyAnswers(f"no kdns answers at {path}: {error.strerror or error}") from None
    except AdminError:
        connection.close()
        raise
    return connection


def _line(connection: socket) -> bytes:
    octets = bytearray()
    while not octets.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        octets += piece
        if len(octets) > MOST_OCTETS:
            raise AdminError("the reply has no end")
    return bytes(octets)


def _result(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise AdminError("kdns hung up without an answer; does it end just now?")
    try:
        reply = json.loads(line)
    except ValueError:
        raise AdminError("what answers there is no kdns") from None
    if isinstance(reply, dict) and isinstance(reply.get("error"), str):
        raise SaidNo(reply["error"])
    if isinstance(reply, dict) and isinstance(reply.get("result"), dict):
        result: dict[str, Any] = reply["result"]
        return result
    raise AdminError("what answers there is no kdns")
