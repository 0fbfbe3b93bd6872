# -*- test-case-name: tests.apiserver.test_http -*-
"""The TLS side of the fake API server: a context whose certificate can be exchanged while it listens."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from kdns.testing.certificates import Authority, Identity

SERVER_NAMES = (
    *("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    *("127.0.0.1", "::1", "10.96.0.1"),
)


@implementer(IOpenSSLContextFactory)
class ServerContext:
    """The context of new connections; a certificate exchanged counts from the next connection on."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.use(authority.server(*SERVER_NAMES))

    def use(self, identity: Identity) -> None:
        """Show this certificate from now on, and ask clients for one of the present authority."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate(x509.load_pem_x509_certificate(identity.certificate_pem))
        key = serialization.load_pem_private_key(identity.key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "the authority makes no others"
        context.use_privatekey(key)
        store = context.get_cert_store()
        assert store is not None, "a fresh context has one"
        loaded = x509.load_pem_x509_certificate(self.authority.certificate_pem)
        store.add_cert(crypto.X509.from_cryptography(loaded))
        # A client may come without a certificate, with a token; one of a strange authority fails the handshake.
        context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[4]))
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._context = context

    def getContext(self) -> SSL.Context:
        """What Twisted asks for at each connection."""
        return self._context
