"""The certificate that listeners show: what clients must have, and what becomes of files that change."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import SetupError
from kdns.plugin import ServerContext
from kdns.plugins.tls.certificates import LOOK_INTERVAL, WATCH_INTERVAL, BadCertificate, ServerCertificate
from kdns.plugins.tls.config import ClientAuth, TlsConfig
from kdns.testing.certificates import DAY, Authority, Identity


class _Spoken:
    """A TLS protocol, as far as a certificate looks at it."""

    spoken: tuple[bytes, ...] = (b"dot",)

    @property
    def factory(self) -> _Spoken:
        """Its factory."""
        return self


def shaken(server: SSL.Connection, client: SSL.Connection) -> None:
    """
    Shake hands in memory.

    :raises SSL.Error: one side refuses.
    """
    server.set_accept_state()
    client.set_connect_state()
    ends = (client, server)
    for _ in range(6):
        for one, other in (ends, ends[::-1]):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(one.bio_read(65536))
            except SSL.WantReadError:
                pass
    try:
        server.recv(1)
    except SSL.WantReadError:
        pass


class CertificateTests(SynchronousTestCase):
    """One certificate in files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = Authority()
        self.clock = Clock()
        self.context = ServerContext(
            self.clock, clock=self.clock.seconds, wall=datetime.datetime.now().timestamp, kernel_sockets=False
        )
        self.write(self.authority.server("dns.test"))
        (self.folder / "ca.pem").write_bytes(self.authority.certificate_pem)

    def write(self, identity: Identity) -> None:
        """Put a certificate and its key in place, as a mounted Secret changes: all at once."""
        for name, pem in (("new.pem", identity.certificate_pem), ("new.key", identity.key_pem)):
            (self.folder / name).write_bytes(pem)
            os.replace(self.folder / name, self.folder / f"server{Path(name).suffix}")

    def made(
        self, auth: ClientAuth = ClientAuth.NONE, authority: str = "ca.pem", key_log: str = ""
    ) -> ServerCertificate:
        """The certificate, read and watched."""
        certificate, key = (str(self.folder / name) for name in ("server.pem", "server.key"))
        config = TlsConfig(certificate, key, str(self.folder / authority) if authority else "", auth, key_log)
        made = ServerCertificate(self.context, config)
        made.start()
        self.addCleanup(made.stop)
        return made

    def shown(self, made: ServerCertificate, identity: Identity | None = None) -> tuple[bytes, bytes]:
        """What a client sees: the certificate's serial, and the protocol agreed on."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_alpn_protos([b"x", b"dot"])
        if identity is not None:
            own = identity.private_certificate()
            context.use_certificate(own.original)
            context.use_privatekey(own.privateKey.original)
        client = SSL.Connection(context, None)
        protocol: Any = _Spoken()
        server = made.serverConnectionForTLS(protocol)
        server.set_app_data(protocol)
        shaken(server, client)
        certificate = client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None, "a server shows one"
        return certificate.serial_number.to_bytes(32, "big"), client.get_alpn_proto_negotiated()

    def names(self) -> list[str]:
        """What is degraded."""
        return [state.name.rpartition("/")[2] for state in self.context.degraded]

    def test_identity(self) -> None:
        """For QUIC the files are given as they were read: the same as long as they do not change, and as long as new ones are broken."""
        made = self.made(ClientAuth.REQUEST, key_log=str(self.folder / "keys"))
        before = made.identity()
        self.assertEqual(before.key.public_key(), before.certificate.public_key())
        self.assertEqual(before.chain, ())
        self.clock.advance(LOOK_INTERVAL)
        self.assertIs(made.identity(), before)
        (self.folder / "server.pem").write_text("nothing")
        self.clock.advance(LOOK_INTERVAL)
        self.assertIs(made.identity(), before)
        renewed = self.authority.server("dns.test")
        self.write(renewed)
        self.clock.advance(LOOK_INTERVAL)
        shown = made.identity().certificate.public_bytes(Encoding.PEM)
        self.assertEqual(shown, renewed.certificate_pem)
        self.assertEqual((made.asks_clients, made.logs_keys), (True, True))
        made.log_key(b"a line\n")
        self.assertEqual((self.folder / "keys").read_bytes(), b"a line\n")

    def test_client_fault(self) -> None:
        """Over QUIC each mode takes the clients that it takes over TLS."""
        other = Authority()
        own = x509.load_pem_x509_certificate(self.authority.client("reader").certificate_pem)
        servers = x509.load_pem_x509_certificate(self.authority.server("dns.test").certificate_pem)
        foreign = x509.load_pem_x509_certificate(other.client("reader").certificate_pem)
        expired = Authority(age=3 * DAY, life=DAY)
        (self.folder / "old.pem").write_bytes(expired.certificate_pem)
        old = x509.load_pem_x509_certificate(expired.client("reader").certificate_pem)
        for auth, wanted in (
            (ClientAuth.REQUEST, (True, True, True, True)),
            (ClientAuth.REQUIRE, (False, True, True, True)),
            (ClientAuth.VERIFY_IF_GIVEN, (True, True, False, False)),
            (ClientAuth.REQUIRE_AND_VERIFY, (False, True, False, False)),
        ):
            made = self.made(auth)
            taken = [not made.client_fault(shown, ()) for shown in (None, own, foreign, servers)]
            self.assertEqual(tuple(taken), wanted, auth)
        made = self.made(ClientAuth.REQUIRE_AND_VERIFY, "old.pem")
        self.assertIn("expired", made.client_fault(old, ()))
        made = self.made(ClientAuth.REQUIRE_AND_VERIFY, "")
        self.assertIn("certificate", made.client_fault(own, ()))  # the system does not know this authority

    def test_protocol(self) -> None:
        """The listener's protocol is agreed on."""
        self.assertEqual(self.shown(self.made())[1], b"dot")

    def test_clients(self) -> None:
        """Each kind of client is taken or not, by the words of the Corefile."""
        stranger = Authority("another").client("somebody")
        ours = self.authority.client("us")
        taken = {}
        for auth in ClientAuth:
            made = self.made(auth)
            told = []
            for identity in (None, stranger, ours):
                try:
                    self.shown(made, identity)
                    told.append(True)
                except SSL.Error:
                    told.append(False)
            taken[auth] = tuple(told)
        self.assertEqual(
            taken,
            {
                ClientAuth.NONE: (True, True, True),
                ClientAuth.REQUEST: (True, True, True),
                ClientAuth.REQUIRE: (False, True, True),
                ClientAuth.VERIFY_IF_GIVEN: (True, False, True),
                ClientAuth.REQUIRE_AND_VERIFY: (False, False, True),
            },
        )

    def test_system_authorities(self) -> None:
        """Without an authority clients are compared with those of the system, which do not know ours."""
        made = self.made(ClientAuth.VERIFY_IF_GIVEN, authority="")
        self.assertRaises(SSL.Error, self.shown, made, self.authority.client("us"))

    def test_renewed(self) -> None:
        """A renewed certificate is shown to the next client, a second later at most."""
        made = self.made()
        before = self.shown(made)
        self.write(self.authority.server("dns.test"))
        self.clock.advance(LOOK_INTERVAL)
        self.assertNotEqual(self.shown(made), before)

    def test_broken(self) -> None:
        """A file that cannot be used changes nothing, and is degraded until it can."""
        made = self.made()
        before = self.shown(made)
        for content in (b"nonsense", self.authority.server("other.test").certificate_pem):
            (self.folder / "server.pem").write_bytes(content)
            self.clock.advance(LOOK_INTERVAL)
            self.assertEqual(self.shown(made), before)
            self.assertEqual(self.names(), ["server.pem"])
        (self.folder / "server.pem").unlink()
        self.clock.advance(WATCH_INTERVAL)  # without a client
        self.assertEqual(self.shown(made), before)
        self.assertIn("no such file", next(iter(self.context.degraded)).text)
        self.write(self.authority.server("dns.test"))
        self.clock.advance(WATCH_INTERVAL)
        self.assertEqual(self.names(), [])
        self.assertNotEqual(self.shown(made), before)

    def test_expired(self) -> None:
        """An expired certificate is degraded, and its end is a metric."""
        old = Authority(age=10 * DAY, life=5 * DAY).server("dns.test")
        self.write(old)
        made = self.made()
        self.assertEqual(self.names(), ["server.pem"])
        family = next(
            one for one in self.context.registry.families() if one.name == "kdns_tls_certificate_expiry_seconds"
        )
        read = family.gauge(str(self.folder / "server.pem")).read
        assert read is not None, "it is a function of the certificate"
        self.assertEqual(read(), made.expires)
        self.write(self.authority.server("dns.test"))
        self.clock.advance(WATCH_INTERVAL)
        self.assertEqual(self.names(), [])

    def test_wrong_clock(self) -> None:
        """A certificate has not expired any more when the clock that said so is put right."""
        self.made()
        right = self.context.wall
        for wrong, names in ((400 * DAY, ["server.pem"]), (0 * DAY, [])):
            self.context.wall = lambda wrong=wrong: right() + wrong.total_seconds()  # type: ignore[misc]  # a default for a closure
            self.clock.advance(WATCH_INTERVAL)
            self.assertEqual(self.names(), names)

    def test_key_log(self) -> None:
        """Session keys are appended to a file that nobody else can read."""
        path = self.folder / "keys.log"
        made = self.made(key_log=str(path))
        self.shown(made)
        self.assertIn("CLIENT_TRAFFIC_SECRET_0", path.read_text())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        os.mkfifo(self.folder / "pipe")
        self.assertRaisesRegex(SetupError, "named pipe", self.made, key_log=str(self.folder / "pipe"))

    def test_unusable(self) -> None:
        """What cannot be used at the start is an error that names the file or says what is wrong."""
        (self.folder / "server.key").write_bytes(b"x")
        self.assertRaisesRegex(BadCertificate, "server.key", self.made)
        os.unlink(self.folder / "server.key")
        os.mkfifo(self.folder / "server.key")
        self.assertRaisesRegex(BadCertificate, "named pipe", self.made)
