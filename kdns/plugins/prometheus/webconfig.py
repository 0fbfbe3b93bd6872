# -*- test-case-name: tests.plugins.prometheus.test_webconfig -*-
"""
TLS settings of the metrics page, from a "web configuration file" as all exporters of Prometheus read it.

Certificates are read again when their files change, so a renewed one is used without a reload. Settings that kdns does not support
(passwords, cipher suites) are an error, because without them the page would be less protected than its file demands.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from kdns.core.config_files import config_file_status, read_config_file
from kdns.core.text import reason_of

log = Logger(namespace="plugin/prometheus")

_VERIFY = {
    "NoClientCert": SSL.VERIFY_NONE,
    "VerifyClientCertIfGiven": SSL.VERIFY_PEER,
    "RequireAndVerifyClientCert": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}
_VERSIONS = {
    "TLS10": SSL.TLS1_VERSION,
    "TLS11": SSL.TLS1_1_VERSION,
    "TLS12": SSL.TLS1_2_VERSION,
    "TLS13": SSL.TLS1_3_VERSION,
}
_FILES = ("cert_file", "key_file", "client_ca_file")
_KNOWN = frozenset((*_FILES, "client_auth_type", "min_version", "max_version"))


class BadWebConfig(ValueError):
    """A web configuration file is unusable; the text names it."""


@implementer(IOpenSSLServerConnectionCreator)
class WebTls:
    """
    Makes the TLS side of connections to the page; instances for the same file are equal.

    :raises BadWebConfig: the file, or a certificate it names, cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[object, ...] = ()
        self._context: Any = None
        self._read()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebTls) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A connection with the current certificates, or the previous ones when the current ones cannot be used."""
        try:
            self._read()
        except BadWebConfig as error:
            log.error("{error}; the certificates read before stay in use", error=error)
        return SSL.Connection(self._context, None)

    def _read(self) -> None:
        settings = read_settings(Path(self._path))
        seen = tuple(sorted(settings.items())), tuple(_version(settings[name]) for name in _FILES if name in settings)
        if seen == self._seen:
            return
        # Remembered before it is used: a bad file is logged once, not for each connection.
        self._seen = seen
        try:
            self._context = _context(settings)
        except SSL.Error as error:
            reasons = ", ".join(str(parts[-1]) for parts in error.args[0] if parts) or "a file cannot be read"
            raise BadWebConfig(f"web configuration {self._path}: certificates: {reasons}") from error
        except OSError as error:
            raise BadWebConfig(f"web configuration {self._path}: {error.filename}: {error.strerror}") from error


def read_settings(path: Path) -> dict[str, str]:
    """
    The settings of ``tls_server_config``. Paths in them are relative to the file, and are returned absolute.

    :raises BadWebConfig: the file cannot be read, or has settings that kdns does not support.
    """
    try:
        document = yaml.safe_load(read_config_file(str(path)))
    except OSError as error:
        raise BadWebConfig(f"web configuration {path}: {reason_of(error)}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadWebConfig(f"web configuration {path}: {error}") from error

    def refuse(what: str) -> BadWebConfig:
        return BadWebConfig(f"web configuration {path}: {what}")

    if not isinstance(document, dict) or not isinstance(document.get("tls_server_config"), dict):
        raise refuse("no tls_server_config")
    if others := sorted(str(name) for name in document if name != "tls_server_config"):
        raise refuse(f"{others[0]} is not supported")
    settings = {str(name): str(value) for name, value in document["tls_server_config"].items()}
    if unknown := sorted(settings.keys() - _KNOWN):
        raise refuse(f"{unknown[0]} is not supported")
    for name in ("cert_file", "key_file"):
        if not settings.get(name):
            raise refuse(f"missing {name}")
    auth = settings.get("client_auth_type", "NoClientCert")
    if auth not in _VERIFY:
        raise refuse(f"client_auth_type {auth} is not supported")
    if (auth == "NoClientCert") == bool(settings.get("client_ca_file")):
        raise refuse("client_ca_file and client_auth_type belong together")
    for name in ("min_version", "max_version"):
        if settings.get(name, "TLS12") not in _VERSIONS:
            raise refuse(f"unknown {name} {settings[name]}")
    for name in _FILES:
        if settings.get(name):
            settings[name] = os.path.join(path.parent, settings[name])
    return settings


def _version(path: str) -> tuple[int, int] | None:
    """A value that changes when the file does; None when there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _context(settings: dict[str, str]) -> SSL.Context:
    # OpenSSL opens the files itself and would wait for a pipe.
    for name in _FILES:
        if settings.get(name):
            config_file_status(settings[name])
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.get("min_version", "TLS12")])
    context.set_max_proto_version(_VERSIONS[settings.get("max_version", "TLS13")])
    context.use_certificate_chain_file(settings["cert_file"])
    context.use_privatekey_file(settings["key_file"])
    context.check_privatekey()
    context.set_session_id(b"kdns metrics")
    auth = settings.get("client_auth_type", "NoClientCert")
    if auth != "NoClientCert":
        context.load_verify_locations(settings["client_ca_file"])
        context.set_verify(_VERIFY[auth], lambda connection, certificate, number, depth, ok: bool(ok))
    return context
