"""Tests of :mod:`kdns.plugins.prometheus.webconfig`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import ClientFactory
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kdns.plugins.prometheus import directive
from kdns.plugins.prometheus.webconfig import BadWebConfig, WebTls, read_settings
from kdns.testing.certificates import Authority, Identity
from kdns.testing.memory import MemoryReactor
from tests.plugins.web import Client, Talk, memory_house
from tests.support import built


class FileTestCase(SynchronousTestCase):
    """With a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "web.yml"
        self.authority = Authority()
        self.put(self.authority.server("127.0.0.1"))

    def put(self, identity: Identity) -> None:
        """Write certificate and key as files."""
        for name, octets in (("server.crt", identity.certificate_pem), ("server.key", identity.key_pem)):
            new = self.folder / f"{name}.new"
            new.write_bytes(octets)
            os.replace(new, self.folder / name)

    def write(self, *lines: str) -> None:
        """Write the settings, those of the two files before *lines*."""
        always = ("tls_server_config:", "  cert_file: server.crt", "  key_file: server.key")
        self.path.write_text("\n".join((*always, *lines)) + "\n")


class SettingsTests(FileTestCase):
    """What the file may say."""

    def test_paths(self) -> None:
        """Files are relative to the settings."""
        self.write("  min_version: TLS13")
        self.assertEqual(
            read_settings(self.path),
            {
                "cert_file": str(self.folder / "server.crt"),
                "key_file": str(self.folder / "server.key"),
                "min_version": "TLS13",
            },
        )

    def test_errors(self) -> None:
        """What cannot be done is refused by name: the page must not be more open than the file says."""
        for text, wanted in [
            ("", "no tls_server_config"),
            ("tls_server_config: 3", "no tls_server_config"),
            ("tls_server_config:\n  cert_file: a", "missing key_file"),
            ("tls_server_config:\n  key_file: a", "missing cert_file"),
            (
                "tls_server_config: {cert_file: a, key_file: b}\nbasic_auth_users: {a: b}",
                "basic_auth_users is not supported",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [x]}", "cipher_suites is not supported"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequestClientCert}",
                "client_auth_type RequestClientCert is not supported",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
                "client_ca_file and client_auth_type belong together",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
                "client_ca_file and client_auth_type belong together",
            ),
            ("tls_server_config: {cert_file: a, key_file: b, min_version: SSL3}", "unknown min_version SSL3"),
        ]:
            self.path.write_text(text)
            error = self.assertRaises(BadWebConfig, read_settings, self.path)
            self.assertEqual(str(error), f"web configuration {self.path}: {wanted}")

    def test_no_yaml(self) -> None:
        """A file that is no YAML, or is not there, is named."""
        self.path.write_text("{")
        error = self.assertRaises(BadWebConfig, read_settings, self.path)
        self.assertIn(f"web configuration {self.path}: ", str(error))
        self.assertRaises(BadWebConfig, read_settings, self.folder / "none.yml")

    def test_wrong_key(self) -> None:
        """A key that does not belong to the certificate is refused."""
        self.write()
        (self.folder / "server.key").write_bytes(self.authority.server("127.0.0.1").key_pem)
        error = self.assertRaises(BadWebConfig, WebTls, str(self.path))
        self.assertIn("certificates: ", str(error))
        (self.folder / "server.key").unlink()
        self.assertRaises(BadWebConfig, WebTls, str(self.path))

    def test_equal(self) -> None:
        """Two for one file are one to those who share listeners."""
        self.write()
        one, two = WebTls(str(self.path)), WebTls(str(self.path))
        self.assertEqual(one, two)
        self.assertEqual(hash(one), hash(two))
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, one))


class PageTests(FileTestCase):
    """The page over TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactor(["127.0.0.1"])

    def start(self) -> None:
        """The page of a Corefile that names the settings."""
        corefile = f". {{\n prometheus :9153 {{\n  tls {self.path}\n }}\n}}"
        builder = built(directive, corefile, memory_house(self.reactor))
        for resource in builder.resources:
            resource.start()
            self.addCleanup(resource.stop)

    def scrape(self, identity: Identity | None = None) -> Talk:
        """Ask as a client that trusts the authority, with a certificate of its own or without."""
        talk = Talk(b"GET /metrics HTTP/1.0\r\n\r\n")
        factory: ClientFactory[Talk] = ClientFactory()
        factory.noisy = False
        factory.protocol = lambda: talk
        own = identity.private_certificate() if identity is not None else None
        options = optionsForClientTLS("127.0.0.1", Certificate.loadPEM(self.authority.certificate_pem), own)
        tls = TLSMemoryBIOFactory(options, True, cast(Any, factory), cast(Any, self.reactor))
        tls.noisy = False
        self.reactor.connectTCP("127.0.0.1", 9153, tls)
        self.reactor.settle()
        return talk

    def test_scrape(self) -> None:
        """The page is there for those who speak TLS, and only for them."""
        self.write()
        self.start()
        self.assertIn(b"coredns_panics_total 0", self.scrape().received)
        plain = Client(self.reactor).connect(9153, b"GET /metrics HTTP/1.0\r\n\r\n")
        self.assertNotIn(b"coredns", plain.received)

    def test_client_certificates(self) -> None:
        """Where the settings want it, only clients with a certificate of the authority see it."""
        (self.folder / "ca.crt").write_bytes(self.authority.certificate_pem)
        self.write("  client_auth_type: RequireAndVerifyClientCert", "  client_ca_file: ca.crt")
        self.start()
        self.assertIn(b"coredns_panics_total 0", self.scrape(self.authority.client("prometheus")).received)
        for identity in (None, Authority().client("stranger")):
            self.assertEqual(self.scrape(identity).received, b"")
        self.flushLoggedErrors(SSL.Error)

    def test_renewed_certificate(self) -> None:
        """A certificate that was replaced is used for the next connection; one that is no good is not."""
        self.write()
        self.start()
        self.assertIn(b"coredns", self.scrape().received)
        old, self.authority = self.authority, Authority()
        self.put(self.authority.server("127.0.0.1"))
        self.assertIn(b"coredns", self.scrape().received)
        (self.folder / "server.crt").write_text("nothing")
        with capturedLogs() as events:
            self.assertIn(b"coredns", self.scrape().received)
            self.assertIn(b"coredns", self.scrape().received)
        lines = [formatEvent(event) or "" for event in events if event["log_namespace"] == "plugin/prometheus"]
        self.assertEqual(len(lines), 1)
        self.assertIn("the certificates read before stay in use", lines[0])
        self.assertNotEqual(old.certificate_pem, self.authority.certificate_pem)
