# -*- test-case-name: tests.cluster.test_credentials -*-
"""
A kubeconfig file: which cluster and which user a context means, and the credentials that stand in it.

Only PyYAML is needed for that. Users who prove themselves by a program (``exec``) or an ``auth-provider`` are handed to
exec_credentials.py. The file is read again when it changes: tools that renew embedded certificates write a new one.
"""

from __future__ import annotations

import os
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from kdns.cluster.credentials import (
    REREAD,
    Access,
    CredentialsError,
    FileCredentials,
    Source,
    basic,
    parse_server,
    read_file,
    stat,
)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Node = dict[str, Any]
"""A mapping of the file: the one place where its shape is looked at."""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """What a context of a file means."""

    path: str
    context: str
    """The context that is meant, by its name."""
    cluster: Node
    user: Node

    @property
    def runs_program(self) -> bool:
        """Whether the credentials come out of a program or a provider, and not of the file."""
        return bool(self.user.get("exec") or self.user.get("auth-provider")) and not any(
            self.user.get(key) for key in ("token", "tokenFile")
        )


def read(path: str, context: str = "") -> Kubeconfig:
    """
    Read a file.

    :param context: the context wanted; empty: the current one of the file.
    :raises CredentialsError: it is not there, cannot be read, or does not have what is wanted.
    """
    stat(path)
    content = read_file(path)
    try:
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 -- one of the two safe loaders
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise CredentialsError(f"error loading config file {path}: {reason}") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"error loading config file {path}: it is no mapping")
    name = context or _text(document, "current-context")
    if not name:
        raise CredentialsError(f"{path}: no context is named, and there is no current-context")
    chosen = _named(document, "contexts", "context", name)
    if chosen is None:
        raise CredentialsError(f'context "{name}" does not exist')
    cluster_name, user_name = _text(chosen, "cluster"), _text(chosen, "user")
    cluster = _named(document, "clusters", "cluster", cluster_name)
    if cluster is None:
        raise CredentialsError(f'cluster "{cluster_name}" does not exist')
    user = _named(document, "users", "user", user_name) if user_name else {}
    if user is None:
        raise CredentialsError(f'auth info "{user_name}" does not exist')
    return Kubeconfig(path, name, cluster, user)


def _named(document: Node, section: str, key: str, name: str) -> Node | None:
    """The mapping *key* of the entry called *name* of a section."""
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and str(entry.get("name")) == name:
            found = entry.get(key)
            return found if isinstance(found, dict) else {}
    return None


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise CredentialsError(f"kubeconfig: {key} is no text")
    return str(value)


def _source(config: Kubeconfig, node: Node, key: str) -> Source:
    """``KEY-data`` if it is there, else the file that ``KEY`` names, relative to the kubeconfig; empty when neither is."""
    data = _text(node, f"{key}-data")
    if data:
        try:
            return Source(value=b64decode("".join(data.split()), validate=True))
        except (NotBase64, ValueError):
            raise CredentialsError(f"{config.path}: {key}-data is not base64") from None
    path = _text(node, key)
    return Source(_beside(config, path)) if path else Source()


def _beside(config: Kubeconfig, path: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(config.path)), path)


def credentials(config: Kubeconfig) -> FileCredentials:
    """
    The credentials in the file, those of a program left out; not yet read.

    :raises CredentialsError: something in the file is not what it has to be.
    """
    url = _text(config.cluster, "server")
    if not url:
        raise CredentialsError(f'{config.path}: the cluster of context "{config.context}" has no server')
    if _text(config.cluster, "proxy-url"):
        raise CredentialsError(f"{config.path}: proxy-url is not supported")
    authority = _source(config, config.cluster, "certificate-authority")
    token_file, token = _text(config.user, "tokenFile"), _text(config.user, "token")
    password = b""
    if _text(config.user, "username"):
        password = basic(_text(config.user, "username"), _text(config.user, "password"))
    return FileCredentials(
        parse_server(url),
        token=Source(_beside(config, token_file)) if token_file else Source(value=token.encode()),
        password=password,
        authority=authority if authority.path or authority.value else None,
        certificate=_source(config, config.user, "client-certificate"),
        key=_source(config, config.user, "client-key"),
        server_name=_text(config.cluster, "tls-server-name"),
        verify=config.cluster.get("insecure-skip-tls-verify") is not True,
    )


@dataclass(slots=True)
class KubeconfigCredentials:
    """
    The credentials of a context, from a file that may be rewritten.

    :param complain: is told when a file that was there cannot be read any more.
    """

    path: str
    context: str = ""
    complain: Callable[[str], None] = lambda text: None
    _files: FileCredentials | None = field(default=None, init=False)
    _signature: tuple[int, int, int] | None = field(default=None, init=False)
    _looked_at: float | None = field(default=None, init=False)

    def load(self) -> KubeconfigCredentials:
        """
        Read for the first time.

        :raises CredentialsError: something is missing.
        """
        self._signature = signature(self.path)
        self._files = credentials(read(self.path, self.context))
        self._files.complain = self.complain
        self._files.load()
        return self

    def current(self, now: float) -> Access:
        """See :class:`kdns.cluster.credentials.Credentials`."""
        if self._files is None:
            self.load()
        elif self._looked_at is None:
            self._looked_at = now
        elif now - self._looked_at >= REREAD:
            self._looked_at = now
            self._look()
        assert self._files is not None, "load() has just set it"
        return self._files.current(now)

    def refused(self, access: Access) -> None:
        """See :class:`kdns.cluster.credentials.Credentials`."""
        self._look()
        if self._files is not None:
            self._files.refused(access)

    def stop(self) -> None:
        """There is nothing under way."""

    def _look(self) -> None:
        """Read the file again if it changed; a bad one changes nothing."""
        seen = signature(self.path)
        if seen == self._signature:
            return
        before, self._signature = self._files, seen
        try:
            self.load()
        except CredentialsError as problem:
            self._files = before
            self.complain(str(problem))


def signature(path: str) -> tuple[int, int, int] | None:
    """What changes when a file is written anew; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
