# -*- test-case-name: tests.cluster.test_credentials -*-
"""
The address of the API server and the credentials for it: the values, and credentials in plain files.

At the start, a missing file is a :class:`CredentialsError` with a text for the operator. Later, a file that cannot be read keeps its last
content. kubeconfig.py decides which credentials a configuration means, reads kubeconfig files, and runs programs that print credentials;
connections.py makes TLS contexts.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from kdns.core.config_files import read_config_file
from kdns.core.text import bracketed, reason_of

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a pod finds its token and the authority to trust."""

REREAD = 60.0
"""Seconds after which files are read again. Tokens live an hour at least and the kubelet replaces them long before they end."""

MAX_FILE = 1 << 20
"""Bytes. No credential is longer, and a device or log file given by mistake must not fill the memory."""


class CredentialsError(Exception):
    """No credentials; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class Server:
    """The address of the API server."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    """Path before ``/api``, without a slash at its end."""

    @property
    def authority(self) -> str:
        """Host and port, as in the Host header and in metrics."""
        host = bracketed(self.host)
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Trust:
    """TLS options: trusted authorities and, optionally, our own certificate."""

    authority: bytes | None = None
    """PEM of the authorities to trust; None: those of the system."""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    server_name: str = ""
    """The name to verify, when it is not the host."""
    verify: bool = True
    authority_from: str = ""
    """Where the authority came from, for error texts."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs apart from its own content."""

    server: Server
    authorization: bytes = field(default=b"", repr=False)
    """Value of the Authorization header; empty: none."""
    trust: Trust = Trust()


class Credentials(Protocol):
    """Access that may change over time."""

    def current(self, now: float) -> Access | Deferred[Access]:
        """
        The access for a request at *now*.

        :raises CredentialsError: there is none; a Deferred may fail with it, too.
        """
        ...

    def refused(self, access: Access) -> None:
        """The server rejected *access*, or we rejected the server: read everything again before the next request."""
        ...

    def stop(self) -> None:
        """Give up what is in flight."""
        ...


def parse_server(url: str) -> Server:
    """
    Read the URL of an API server; without a scheme it is HTTP, as ``endpoint`` has it.

    :raises CredentialsError: it is no such URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise CredentialsError(f'"{url}" is not the URL of an API server') from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CredentialsError(f'"{url}" is not the URL of an API server')
    port = port or (443 if parts.scheme == "https" else 80)
    return Server(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def bearer(token: bytes) -> bytes:
    """The header value for a token, empty for an empty one."""
    token = token.strip()
    # What a header cannot carry must not reach the HTTP client.
    if any(byte < 0x21 or byte > 0x7E for byte in token):
        raise CredentialsError("the token holds characters that a token cannot have")
    return b"Bearer " + token if token else b""


def basic(username: str, password: str) -> bytes:
    return b"Basic " + b64encode(f"{username}:{password}".encode())


def read_file(path: str) -> bytes:
    """
    The content of a small file.

    :raises CredentialsError: with the text that operators know.
    """
    try:
        return read_config_file(path, MAX_FILE)
    except OSError as problem:
        raise CredentialsError(f"open {path}: {reason_of(problem)}") from None


@dataclass(slots=True)
class Source:
    """A fixed value, or a file that holds it and may change."""

    path: str = ""
    value: bytes = field(default=b"", repr=False)
    """The fixed value, or the content read last."""

    def read(self) -> str:
        """
        Read the file again, if it is one.

        :return: why it could not be read; the value is then the one before.
        """
        if self.path:
            try:
                self.value = read_file(self.path)
            except CredentialsError as problem:
                return str(problem)
        return ""

    def load(self) -> Source:
        """
        Read for the first time.

        :raises CredentialsError: it cannot be read.
        """
        if self.path:
            self.value = read_file(self.path)
        return self


@dataclass(slots=True)
class FileCredentials:
    """
    Credentials from fixed values or files. Files are read again every minute, and at once after a refusal.

    :param complain: called when a file can no longer be read.
    """

    server: Server
    token: Source = field(default_factory=Source)
    password: bytes = field(default=b"", repr=False)
    """A whole header value; only used without a token."""
    authority: Source | None = None
    certificate: Source = field(default_factory=Source)
    key: Source = field(default_factory=Source)
    server_name: str = ""
    verify: bool = True
    complain: Callable[[str], None] = lambda text: None
    _read_at: float | None = field(default=None, init=False)
    _access: Access | None = field(default=None, init=False)

    def load(self) -> FileCredentials:
        """
        Read all files for the first time.

        :raises CredentialsError: one cannot be read.
        """
        for source in self._sources():
            source.load()
        self._access = self._put_together()
        return self

    def current(self, now: float) -> Access:
        """See :class:`Credentials`; never waits."""
        if self._access is None:
            self.load()
        assert self._access is not None, "load() has just set it"
        if self._read_at is None:
            self._read_at = now
        elif now - self._read_at >= REREAD:
            self._reread()
            self._read_at = now
        return self._access

    def refused(self, access: Access) -> None:
        if access == self._access:
            self._reread()

    def stop(self) -> None:
        pass

    def _sources(self) -> list[Source]:
        found = [self.token, self.certificate, self.key]
        return found if self.authority is None else [*found, self.authority]

    def _reread(self) -> None:
        problems = [problem for source in self._sources() if (problem := source.read())]
        for problem in problems:
            self.complain(problem)
        try:
            self._access = self._put_together()
        except CredentialsError as problem:
            self.complain(str(problem))

    def _put_together(self) -> Access:
        authority = self.authority
        trust = Trust(
            None if authority is None else authority.value,
            self.certificate.value,
            self.key.value,
            self.server_name,
            self.verify,
            "" if authority is None else authority.path or "the kubeconfig",
        )
        return Access(self.server, bearer(self.token.value) or self.password, trust)


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """The Corefile's options for access; all empty: the credentials of the pod."""

    endpoint: str = ""
    tls: tuple[str, str, str] | None = None
    """Files: certificate, key, authority."""
    kubeconfig: str = ""
    context: str = ""


def in_cluster(environ: Mapping[str, str], folder: str = SERVICE_ACCOUNT) -> FileCredentials:
    """
    The credentials in a pod's file system, not yet read.

    :raises CredentialsError: this is no pod.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise CredentialsError(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
        )
    server = parse_server(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")
    return FileCredentials(
        server,
        token=Source(os.path.join(folder, "token")),
        authority=Source(os.path.join(folder, "ca.crt")),
    )


def at_endpoint(endpoint: str, tls: tuple[str, str, str] | None) -> FileCredentials:
    """
    The credentials of ``endpoint`` and ``tls``, not yet read.

    :raises CredentialsError: the endpoint is no URL.
    """
    server = parse_server(endpoint)
    if tls is None:
        return FileCredentials(server)
    certificate, key, authority = tls
    return FileCredentials(server, authority=Source(authority), certificate=Source(certificate), key=Source(key))


def stat(path: str) -> None:
    """
    Check that a file exists.

    :raises CredentialsError: it does not.
    """
    try:
        Path(path).stat()
    except OSError as problem:
        raise CredentialsError(f"stat {path}: {reason_of(problem)}") from None
