# -*- test-case-name: tests.testing.test_certificates -*-
"""
Certificates for tests, made in memory with fast elliptic-curve keys: an authority, servers and clients.

No files are written; callers that need files write the PEM bytes.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate, trustRootFromCertificates

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key, both in PEM."""

    certificate_pem: bytes
    key_pem: bytes

    def private_certificate(self) -> PrivateCertificate:
        """The same as Twisted has it."""
        loaded = PrivateCertificate.loadPEM(self.certificate_pem + self.key_pem)
        assert isinstance(loaded, PrivateCertificate), "that is what it loads"
        return loaded

    def server_options(self, clients: Authority | None = None) -> CertificateOptions:
        """A context factory for ``listenSSL``; with *clients*, only clients with a certificate of that authority may connect."""
        authorities = () if clients is None else (Certificate.loadPEM(clients.certificate_pem),)
        options = self.private_certificate().options(*authorities)
        assert isinstance(options, CertificateOptions), "that is what it makes"
        return options


class Authority:
    """
    A certificate authority that lives as long as the test.

    :param age: how long ago its certificates, and those it signs, began to hold.
    :param life: how long they hold from then on; shorter than *age*: they have expired.
    """

    def __init__(
        self, name: str = "kdns test authority", *, age: datetime.timedelta = DAY, life: datetime.timedelta = 365 * DAY
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _distinguished(name)
        self._begin = datetime.datetime.now(datetime.UTC) - age
        self._end = self._begin + life
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        built = (
            self._builder(self._name, self._key.public_key())
            .add_extension(constraints, critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_pem: bytes = built.public_bytes(serialization.Encoding.PEM)

    def server(self, *hosts: str) -> Identity:
        """An identity of a server with these names and addresses."""
        names = [_general_name(host) for host in hosts]
        return self.server_with(x509.SubjectAlternativeName(names) if names else None, hosts[0] if hosts else "server")

    def server_with(self, names: x509.ExtensionType | None, common_name: str = "server") -> Identity:
        """A server identity with any alternative names, none, or bytes that are no names."""
        return self._sign(_distinguished(common_name), ExtendedKeyUsageOID.SERVER_AUTH, names)

    def peer(self, *hosts: str) -> Identity:
        """An identity of a server that is a client, too, as members of etcd are."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        subject = _distinguished(hosts[0])
        return self._sign(subject, ExtendedKeyUsageOID.SERVER_AUTH, names, ExtendedKeyUsageOID.CLIENT_AUTH)

    def client(self, common_name: str, organizations: Sequence[str] = ()) -> Identity:
        """An identity of a client; Kubernetes reads user and groups from these two."""
        return self._sign(_distinguished(common_name, organizations), ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def trust_root(self) -> object:
        """The ``trustRoot`` for Twisted's ``optionsForClientTLS`` to trust this authority only."""
        return trustRootFromCertificates([Certificate.loadPEM(self.certificate_pem)])

    def _sign(
        self,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        names: x509.ExtensionType | None,
        *more: x509.ObjectIdentifier,
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage, *more]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return Identity(
            signed.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begin)
            .not_valid_after(self._end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority_key, critical=False)
        )


def _distinguished(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
