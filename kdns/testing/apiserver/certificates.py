# -*- test-case-name: tests.testing.test_apiserver_certificates -*-
"""A certificate authority made on the fly, and the TLS context of a server whose certificate can be changed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

SERVER_NAMES = (
    *("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
    *("127.0.0.1", "::1", "10.96.0.1"),
)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def _name(common_name: str, groups: tuple[str, ...] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority; two of the same name are strangers all the same."""

    def __init__(self, common_name: str = "kubernetes") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(common_name)
        builder = self._builder(self._subject, self._key.public_key(), 3650.0).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float) -> x509.CertificateBuilder:
        # Certificates are judged by the wall clock of the machine, whatever clock the reactor has.
        now = datetime.datetime.now(datetime.UTC)
        # One that shall be out of date ended before now and so began before that.
        end = now + days * _DAY
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - _DAY)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def server(self, names: tuple[str, ...] = SERVER_NAMES, days: float = 365.0) -> KeyPair:
        """A server certificate for DNS names and addresses; *days* may be negative: out of date."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name("kube-apiserver"), key.public_key(), days)
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternatives, critical=False).add_extension(usage, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def client(self, user: str, groups: tuple[str, ...] = (), days: float = 365.0) -> KeyPair:
        """A client certificate: the common name is the user, the organizations are the groups."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(_name(user, groups), key.public_key(), days).add_extension(usage, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@implementer(IOpenSSLContextFactory)
class ServerContext:
    """The context of new connections; a certificate exchanged counts from the next connection on."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.use(authority.server())

    def use(self, pair: KeyPair) -> None:
        """Show this certificate from now on, and ask clients for one of the authority."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate(x509.load_pem_x509_certificate(pair.certificate))
        key = serialization.load_pem_private_key(pair.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        context.use_privatekey(key)
        client_authority = x509.load_pem_x509_certificate(self.authority.certificate)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(client_authority))
        # A client may come without a certificate, with a token; one of a strange authority fails the handshake.
        context.set_verify(SSL.VERIFY_PEER, lambda *arguments: bool(arguments[4]))
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._context = context

    def getContext(self) -> SSL.Context:
        """What Twisted asks for at each connection."""
        return self._context
