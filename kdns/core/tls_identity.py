# -*- test-case-name: tests.core.test_tls_identity -*-
"""
Check that the certificate of a TLS server is for the name we wanted to reach.

Twisted's own check accepts a certificate whose names service_identity cannot read: it refuses only a ``VerificationError``, and a
certificate without names, or with a malformed one, raises ``CertificateError``. Every TLS client of kdns wraps Twisted's options::

    creator = NameCheckedCreator(optionsForClientTLS(name, trustRoot=root), name)
"""

from __future__ import annotations

import ipaddress
from typing import Any
from weakref import ref

from cryptography import x509
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER, Connection
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

Wanted = DNS_ID | IPAddress_ID

MOST_SHOWN = 5
"""Names of a certificate that an error message quotes."""


class CertificateRefused(Exception):
    """A server's certificate is for other names than the one we wanted, or its names cannot be read."""


class NameCheckedCreator:
    """
    An ``IOpenSSLClientConnectionCreator`` that lets a connection pass only when its certificate is for *name*.

    The chain of certificates is checked as *creator* says, before the name.

    :param creator: what ``optionsForClientTLS`` made.
    :raises ValueError: *name* is neither an IP address nor a host name.
    """

    def __init__(self, creator: Any, name: str) -> None:
        self._creator = creator
        self._wanted = wanted_name(name)
        directlyProvides(self, providedBy(creator))

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        """A connection whose handshake fails when the certificate is for another name."""
        connection: Connection = self._creator.clientConnectionForTLS(tlsProtocol)
        wanted = self._wanted
        protocol = ref(tlsProtocol)  # the protocol owns the connection, and the connection this function

        def verify(_: Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
            if not ok or depth:
                return bool(ok)
            try:
                check_certificate(certificate.to_cryptography(), wanted)
            except Exception as reason:  # OpenSSL loses what a callback raises: whatever it is, it is no yes
                refused = reason if isinstance(reason, CertificateRefused) else CertificateRefused(repr(reason))
                there = protocol()
                if there is not None:
                    there.failVerification(Failure(refused))
                return False
            return True

        connection.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection


def wanted_name(name: str) -> Wanted:
    """
    An IP address or a host name as certificates are compared with it.

    :raises ValueError: *name* is neither.
    """
    try:
        return IPAddress_ID(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return DNS_ID(name)
    except (ValueError, UnicodeError):
        raise ValueError(f"no certificate can be for {name!a}: neither an IP address nor a host name") from None


def check_certificate(certificate: x509.Certificate, wanted: Wanted) -> None:
    """
    Return when one of the certificate's alternative names is *wanted*. The common name is not looked at (RFC 9525 section 2).

    A name that cannot be read matches nothing. It does not invalidate the others: many certificates of clusters hold an IP address as a DNS
    name next to the right one.

    :raises CertificateRefused: none is.
    :raises ValueError: the certificate's extensions cannot be read.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise CertificateRefused("the certificate has no subject alternative name") from None
    if isinstance(wanted, IPAddress_ID):
        if wanted.ip in names.get_values_for_type(x509.IPAddress):
            return
    elif any(_matches(wanted, name) for name in names.get_values_for_type(x509.DNSName)):
        return
    shown = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    more = ", ..." if len(shown) > MOST_SHOWN else ""
    found = ", ".join(ascii(name)[1:-1] for name in shown[:MOST_SHOWN]) or "no host name and no IP address"
    name = str(wanted.ip) if isinstance(wanted, IPAddress_ID) else wanted.hostname.decode()
    raise CertificateRefused(f"the certificate is for {found}{more}, not for {name}")


def _matches(wanted: DNS_ID, name: str) -> bool:
    try:
        return wanted.verify(DNSPattern.from_bytes(name.encode()))
    except (CertificateError, UnicodeError):
        return False
