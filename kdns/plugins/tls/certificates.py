# -*- test-case-name: tests.plugins.tls.test_certificates -*-
"""
The certificate that listeners show, read again when its files change.

A renewed certificate is shown from the next connection on. A file that cannot be used changes nothing: it is logged, it is in the list of
what is degraded, and the certificate that was read before stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey, X509Store, X509StoreContext, X509StoreContextError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from kdns.core.config_files import append_to_file, read_config_file
from kdns.core.degraded import Fault
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import SetupError
from kdns.plugin import Resource, ServerContext

if TYPE_CHECKING:
    from kdns.plugins.tls.config import TlsConfig

log = Logger(namespace="plugin/tls")

LOOK_INTERVAL = 1.0
"""Seconds between two looks whether a file changed, when connections come."""

WATCH_INTERVAL = 30.0
"""Seconds between two looks when none comes, so that a bad file is noticed before a client meets it."""

EXPIRED = "it has expired"

MOST = 1 << 20
"""Bytes of a file."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadCertificate(ValueError):
    """A certificate or its key cannot be used; the text says why."""


def _read(path: str, before: str) -> bytes:
    """
    :raises BadCertificate: the file cannot be read; its text begins with *before*.
    """
    try:
        return read_config_file(path, MOST)
    except OSError as error:
        raise BadCertificate(f"{before}: open {path}: {reason_of(error)}") from error


def _chain(content: bytes) -> list[x509.Certificate]:
    """
    The certificates of a PEM file, the server's own first.

    :raises BadCertificate: there is none, or one cannot be read.
    """
    found = _CERTIFICATE.findall(content)
    if not found:
        raise BadCertificate("could not load TLS cert: tls: failed to find any PEM data in certificate input")
    try:
        return [x509.load_pem_x509_certificate(part) for part in found]
    except ValueError as error:
        raise BadCertificate(f"could not load TLS cert: {error}") from error


def _authorities(path: str) -> list[x509.Certificate]:
    content = _read(path, f"error reading {path}")
    try:
        found = [x509.load_pem_x509_certificate(part) for part in _CERTIFICATE.findall(content)]
    except ValueError as error:
        raise BadCertificate(f"could not read root certs: {path}: {error}") from error
    if not found:
        raise BadCertificate(f"could not read root certs: no certificate in {path}")
    return found


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """
    Whether a certificate may be a client's (RFC 5280 section 4.2.1.12).

    :raises ValueError: it cannot be read.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _verify(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
    return bool(ok)


def _accept(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
    return True


class ServerIdentity(NamedTuple):
    """What a TLS library besides OpenSSL needs; QUIC has one of its own."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """Certificates of intermediate authorities."""

    key: Any


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificate(Resource):
    """
    Makes the TLS side of connections to listeners.

    :raises BadCertificate: a file cannot be used.
    """

    def __init__(self, context: ServerContext, config: TlsConfig) -> None:
        self._context = context
        self._config = config
        self._timer: Timer | None = None
        self._key_log: Any = None
        self._looked = context.clock()
        self._seen = self._signature()
        self._degraded = context.degraded.condition(Fault.CERTIFICATE, f"certificate {config.certificate}")
        self.expires = 0.0
        """Unix seconds."""

        self._identity: ServerIdentity
        self._tls = self._read()

    def start(self) -> None:
        """Watch the files."""
        config = self._config
        if config.key_log:
            try:
                self._key_log = append_to_file(config.key_log)
            except OSError as error:
                text = f'unable to write TLS Key Log to "{config.key_log}": open {config.key_log}: {reason_of(error)}'
                raise SetupError(text, plugin="tls", located=False) from error
            log.warn('Writing TLS Key Log to "{path}"', path=config.key_log)
        self._context.registry.gauge(
            "kdns_tls_certificate_expiry_seconds",
            "When the certificate of a listener ends, in Unix time.",
            ["file"],
            greatest=True,
        ).gauge(config.certificate, read=lambda: self.expires)
        self._watch()

    def stop(self) -> None:
        """Watch them no more."""
        stop_timer(self._timer)
        self._degraded.forget()
        if self._key_log is not None:
            self._key_log.close()
            self._key_log = None

    def _watch(self) -> None:
        self._look()
        self._timer = self._context.reactor.callLater(WATCH_INTERVAL, self._watch)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """The server's side of a new connection."""
        self._look_sometimes()
        return SSL.Connection(self._tls, None)

    def identity(self) -> ServerIdentity:
        """The certificate for a new connection; the same object as long as the files do not change."""
        self._look_sometimes()
        return self._identity

    @property
    def asks_clients(self) -> bool:
        """Whether clients are asked for certificates."""
        return self._config.client_auth.asks

    def client_fault(self, certificate: x509.Certificate | None, chain: Iterable[x509.Certificate]) -> str:
        """
        Why a client over QUIC is turned away, empty if it is not; over TLS OpenSSL decides the same.

        :param certificate: what the client has shown, and proven to be its own.
        :param chain: certificates of intermediate authorities.
        """
        auth = self._config.client_auth
        if certificate is None:
            return "the client has no certificate" if auth.requires else ""
        if not auth.verifies:
            return ""
        store = self._tls.get_cert_store()
        assert isinstance(store, X509Store), "a context has one"
        try:
            if not _is_for_clients(certificate):
                return "the client's certificate is not for clients"
            own, *others = (X509.from_cryptography(one) for one in (certificate, *chain))
            X509StoreContext(store, own, others).verify_certificate()
        except (X509StoreContextError, ValueError, TypeError) as error:
            return f"the client's certificate: {error}"
        return ""

    @property
    def logs_keys(self) -> bool:
        """Whether keys of sessions are logged."""
        return bool(self._config.key_log)

    def log_key(self, line: bytes) -> None:
        """Append a line to the key log, if there is one."""
        if self._key_log is not None:
            self._key_log.write(line)

    def _look_sometimes(self) -> None:
        if self._context.clock() - self._looked >= LOOK_INTERVAL:
            self._look()

    def _look(self) -> None:
        """Take the files in if they changed."""
        self._looked = self._context.clock()
        now = self._context.wall()
        seen = self._signature()
        if seen != self._seen:
            # Remembered before they are read: a file that changes meanwhile is read again.
            self._seen = seen
            try:
                self._tls = self._read()
            except BadCertificate as error:
                self._degraded.begin(f"{error}; the certificate read before stays in use", now, log)
                return
            log.info("Certificate {path} was read again", path=self._config.certificate)
            self._degraded.end(now, log)
        if now > self.expires:
            self._degraded.begin(EXPIRED, now, log)
        elif self._degraded.text == EXPIRED:  # by a clock that was wrong
            self._degraded.end(now, log)

    def _signature(self) -> tuple[object, ...]:
        """A value that changes when one of the files does."""
        config, found = self._config, []
        for path in (config.certificate, config.key, config.authority):
            try:
                status = os.stat(path) if path else None
            except OSError:
                status = None
            found.append(None if status is None else (status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(found)

    def _read(self) -> SSL.Context:
        config = self._config
        own, *others = _chain(_read(config.certificate, "could not load TLS cert"))
        content = _read(config.key, "could not load TLS cert")
        try:
            key: Any = load_pem_private_key(content, None)
        except (ValueError, TypeError) as error:
            raise BadCertificate(f"could not load TLS cert: {config.key}: {error}") from error
        if key.public_key() != own.public_key():
            raise BadCertificate("could not load TLS cert: tls: private key does not match public key")
        authorities = _authorities(config.authority) if config.authority else []
        made = SSL.Context(SSL.TLS_SERVER_METHOD)
        made.set_min_proto_version(SSL.TLS1_2_VERSION)
        made.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION)
        made.set_mode(SSL.MODE_RELEASE_BUFFERS)
        made.set_session_id(b"kdns")
        made.set_alpn_select_callback(_select_protocol)
        try:
            made.use_certificate(X509.from_cryptography(own))
            made.use_privatekey(PKey.from_cryptography_key(key))
            for certificate in others:
                made.add_extra_chain_cert(X509.from_cryptography(certificate))
            self._ask_clients(made, authorities)
        except (SSL.Error, TypeError, ValueError) as error:
            raise BadCertificate(f"could not load TLS cert: {error}") from error
        if config.key_log:
            made.set_keylog_callback(self._log_key)
        self.expires = own.not_valid_after_utc.timestamp()
        self._identity = ServerIdentity(own, tuple(others), key)
        return made

    def _ask_clients(self, made: SSL.Context, authorities: list[x509.Certificate]) -> None:
        auth = self._config.client_auth
        if not auth.asks:
            return
        store = made.get_cert_store()
        assert isinstance(store, X509Store), "a context has one"
        for authority in authorities:
            store.add_cert(X509.from_cryptography(authority))
            made.add_client_ca(X509.from_cryptography(authority))
        if not authorities:
            made.set_default_verify_paths()
        flags = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if auth.requires else 0)
        made.set_verify(flags, _verify if auth.verifies else _accept)

    def _log_key(self, connection: SSL.Connection, line: bytes) -> None:
        self.log_key(line + b"\n")


def _select_protocol(connection: SSL.Connection, wanted: list[bytes]) -> Any:
    """The protocol to speak (RFC 7301): the listener's first one that the client has; a client with none of them goes on without."""
    offered: tuple[bytes, ...] = connection.get_app_data().factory.spoken
    return next((name for name in offered if name in wanted), SSL.NO_OVERLAPPING_PROTOCOLS)
