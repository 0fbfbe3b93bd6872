# -*- test-case-name: tests.cluster.test_credentials -*-
"""
From the PEM of credentials to what Twisted wants to connect with TLS.

The server is verified always, by chain and name, unless the kubeconfig says ``insecure-skip-tls-verify``. A context costs milliseconds and
memory that OpenSSL does not give back at once, so it is made once for each Trust, not for each connection.
"""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import SSL, crypto
from OpenSSL.SSL import Connection
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from zope.interface import implementer

from kdns.cluster.credentials import CredentialsError, Trust
from kdns.core.tls_identity import NameCheckedCreator

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def connection_creator(host: str, trust: Trust) -> Any:
    """
    What makes TLS connections to a host: an IOpenSSLClientConnectionCreator.

    :raises CredentialsError: certificate, key or authority are not what they have to be.
    """
    name = trust.server_name or host
    own, chain = _own(trust)
    options: dict[str, Any] = {"extraCertChain": chain} if chain else {}
    if not trust.verify:
        if own is not None:
            options.update(privateKey=own.privateKey.original, certificate=own.original)
        return _Unverified(CertificateOptions(verify=False, **options).getContext(), name)
    root = None
    if trust.authority is not None:
        root = trustRootFromCertificates(_certificates(trust.authority, trust.authority_from))
    try:
        return NameCheckedCreator(optionsForClientTLS(name, root, own, extraCertificateOptions=options), name)
    except SSL.Error as problem:
        raise CredentialsError(f"TLS: the certificate and its key cannot be used: {_reason(problem)}") from None
    except ValueError as problem:
        raise CredentialsError(f"TLS: {problem}") from None


def _certificates(pem: bytes, origin: str) -> list[Certificate]:
    blocks = _PEM.findall(pem)
    if not blocks:
        raise CredentialsError(f"unable to load root certificates: no PEM certificate in {origin or 'the authority'}")
    try:
        return [Certificate.loadPEM(block) for block in blocks]
    except (crypto.Error, ValueError) as problem:
        raise CredentialsError(f"unable to load root certificates from {origin}: {_reason(problem)}") from None


def _own(trust: Trust) -> tuple[PrivateCertificate | None, list[crypto.X509]]:
    """Our certificate with its key, and the certificates between it and its authority."""
    if not trust.certificate and not trust.key:
        return None, []
    blocks = _PEM.findall(trust.certificate)
    if not blocks:
        raise CredentialsError("tls: failed to find any PEM data in certificate input")
    try:
        key = KeyPair.load(trust.key, crypto.FILETYPE_PEM)
        own = PrivateCertificate.fromCertificateAndKeyPair(Certificate.loadPEM(blocks[0]), key)
        chain = [Certificate.loadPEM(block).original for block in blocks[1:]]
    except VerifyError:
        raise CredentialsError("tls: private key does not match public key") from None
    except (crypto.Error, ValueError, TypeError) as problem:
        raise CredentialsError(f"tls: the client certificate or its key is unusable: {_reason(problem)}") from None
    return own, chain


def _reason(problem: BaseException) -> str:
    """The readable part of what OpenSSL says."""
    if isinstance(problem, SSL.Error | crypto.Error) and problem.args and isinstance(problem.args[0], list):
        return "; ".join(entry[-1] for entry in problem.args[0] if entry) or "unknown"
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def tls_reason(problem: SSL.Error) -> str:
    """Why a TLS connection failed, in OpenSSL's words."""
    return _reason(problem)


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connections to whoever answers: only for ``insecure-skip-tls-verify``."""

    def __init__(self, context: SSL.Context, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        """A connection; the name is sent for servers that have several certificates."""
        connection = Connection(self._context, None)
        if not re.fullmatch(r"[0-9.]+|.*:.*", self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection
