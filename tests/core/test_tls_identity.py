"""Tests of :mod:`kdns.core.tls_identity`: which certificates are for a name."""

from __future__ import annotations

from cryptography import x509
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import optionsForClientTLS
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.tls_identity import CertificateRefused, NameCheckedCreator, check_certificate, wanted_name
from kdns.testing.certificates import Authority
from tests.certificate_cases import ADDRESS, CASES, NAME

AUTHORITY = Authority()


def certificate_with(names: x509.ExtensionType | None, common_name: str = "server") -> x509.Certificate:
    """A certificate with these alternative names."""
    return x509.load_pem_x509_certificate(AUTHORITY.server_with(names, common_name).certificate_pem)


class CertificateTests(SynchronousTestCase):
    """Certificates compared with a name and with an address."""

    def test_each(self) -> None:
        """A readable alternative name that is the wanted one is a yes; everything else is not."""
        self.assertGreaterEqual(len(CASES), 20)
        for case in CASES:
            certificate = certificate_with(case.names, case.common_name)
            for wanted, accepted in ((NAME, case.for_name), (ADDRESS, case.for_address)):
                try:
                    check_certificate(certificate, wanted_name(wanted))
                    found = True
                except (CertificateRefused, ValueError):
                    found = False
                self.assertEqual(found, accepted, f"{case.text}: {wanted}")

    def test_refusal_quotes_names(self) -> None:
        """A refusal tells which names the certificate has: not all of many, and nothing that a terminal obeys."""
        many = x509.SubjectAlternativeName([x509.DNSName(f"h{number}.example.com") for number in range(6)])
        with self.assertRaises(CertificateRefused) as caught:
            check_certificate(certificate_with(many), wanted_name(NAME))
        names = ", ".join(f"h{number}.example.com" for number in range(5))
        self.assertEqual(str(caught.exception), f"the certificate is for {names}, ..., not for {NAME}")
        escape = x509.SubjectAlternativeName([x509.DNSName("\x1b[2J")])
        with self.assertRaises(CertificateRefused) as caught:
            check_certificate(certificate_with(escape), wanted_name(ADDRESS))
        self.assertEqual(str(caught.exception), f"the certificate is for \\x1b[2J, not for {ADDRESS}")


class CreatorTests(SynchronousTestCase):
    """The creator of connections."""

    def test_interface(self) -> None:
        """Twisted takes it where it takes what it wraps."""
        creator = NameCheckedCreator(optionsForClientTLS(NAME), NAME)
        self.assertTrue(IOpenSSLClientConnectionCreator.providedBy(creator))

    def test_names_that_are_none(self) -> None:
        """A name that no certificate can have is an error when the creator is made."""
        for name in ("", "two words", "a/b"):
            self.assertRaises(ValueError, NameCheckedCreator, optionsForClientTLS(NAME), name)
