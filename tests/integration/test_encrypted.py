# -*- test-case-name: tests.integration.test_encrypted -*-
"""Encrypted listeners, asked by programs that others have written, with a certificate that is renewed meanwhile."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
from base64 import urlsafe_b64encode
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import dns.message
import dns.query
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kdns.testing.certificates import Authority
from tests.integration.programs import PATIENCE, Program, free_port

NAME = "dns.example.org"
COREFILE = """\
tls://.:{tls} https://.:{https} quic://.:{quic} https3://.:{https} grpc://.:{grpc} {{
    bind 127.0.0.1
    tls server.pem server.key
    hosts {{
        192.0.2.1 www.example.org
    }}
}}
"""


CALL = """\
import sys
import grpc
with open(sys.argv[1], "rb") as file:
    credentials = grpc.ssl_channel_credentials(file.read())
options = (("grpc.ssl_target_name_override", sys.argv[2]),)
with grpc.secure_channel(sys.argv[3], credentials, options) as channel:
    query = channel.unary_unary("/coredns.dns.DnsService/Query")
    for _ in range(3):
        message = bytes.fromhex(sys.argv[4])
        print(query(bytes((10, len(message))) + message, timeout=5).hex())
    try:
        channel.unary_unary("/coredns.dns.DnsService/Other")(b"", timeout=5)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""
"""A client of gRPC's own library, in a process of its own: it has threads."""


class EncryptedTests(SynchronousTestCase):
    """One server for each test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = Authority()
        (self.folder / "ca.pem").write_bytes(self.authority.certificate_pem)
        self.write_certificate()
        self.tls, self.https, self.quic, self.grpc = free_port(), free_port(), free_port(), free_port()
        ports = {"tls": self.tls, "https": self.https, "quic": self.quic, "grpc": self.grpc}
        (self.folder / "Corefile").write_text(COREFILE.format(**ports))
        program = Program(["-m", "kdns", "-conf", "Corefile"], None, self.folder)
        self.addCleanup(program.__exit__, None, None, None)
        program.wait_for("kdns-")

    def write_certificate(self) -> None:
        """A new certificate for the same name."""
        identity = self.authority.server(NAME)
        (self.folder / "server.key").write_bytes(identity.key_pem)
        (self.folder / "server.pem").write_bytes(identity.certificate_pem)

    def run_program(self, *command: str) -> str:
        """What a program prints; the test is skipped where it is not installed."""
        if shutil.which(command[0]) is None:
            raise SkipTest(f"{command[0]} is not installed")
        found = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
        return found.stdout.decode("latin-1") + found.stderr.decode("latin-1")

    def test_kdig(self) -> None:
        """kdig asks over TLS and HTTPS, by GET and POST, and checks the certificate."""
        for port, words in (
            (self.tls, ["+tls"]),
            (self.tls, ["+tls", "+padding"]),
            (self.https, ["+https"]),
            (self.https, ["+https", "+https-get"]),
        ):
            said = self.run_program(
                "kdig", "@127.0.0.1", "-p", str(port), *words, f"+tls-ca={self.folder}/ca.pem", f"+tls-hostname={NAME}",
                "+timeout=5", "+retry=0", "www.example.org", "A",
            )  # fmt: skip
            self.assertIn("192.0.2.1", said, words)
            self.assertIn("status: NOERROR", said, words)

    def test_kdig_quic(self) -> None:
        """kdig asks over QUIC, where it can."""
        if "+[no]quic" not in self.run_program("kdig", "--help"):
            raise SkipTest("this kdig does not speak QUIC")
        said = self.run_program(
            "kdig", "@127.0.0.1", "-p", str(self.quic), f"+tls-ca={self.folder}/ca.pem",
            f"+tls-hostname={NAME}", "+quic", "+timeout=5", "+retry=0", "www.example.org", "A",
        )  # fmt: skip
        self.assertIn("192.0.2.1", said)
        self.assertIn("QUIC", said)

    def test_dnspython_quic(self) -> None:
        """dnspython asks over QUIC and over HTTP/3, and checks the certificate."""
        query = dns.message.make_query("www.example.org", "A")
        for _ in range(2):
            reply = dns.query.quic(
                query, "127.0.0.1", PATIENCE, self.quic, verify=str(self.folder / "ca.pem"), server_hostname=NAME
            )
            self.assertEqual(str(reply.answer[0][0]), "192.0.2.1")
            reply = dns.query.https(
                query,
                f"https://{NAME}:{self.https}/dns-query",
                PATIENCE,
                verify=str(self.folder / "ca.pem"),
                bootstrap_address="127.0.0.1",
                http_version=dns.query.HTTPVersion.HTTP_3,
            )
            self.assertEqual(str(reply.answer[0][0]), "192.0.2.1")

    def test_grpc(self) -> None:
        """The library of gRPC calls."""
        if find_spec("grpc") is None:
            raise SkipTest("grpcio is not installed")
        query = dns.message.make_query("www.example.org", "A", id=7).to_wire()
        said = self.run_program(
            sys.executable, "-c", CALL, f"{self.folder}/ca.pem", NAME, f"127.0.0.1:{self.grpc}", query.hex()
        )
        *packets, error = said.splitlines()[-4:]
        for packet in packets:
            reply = dns.message.from_wire(bytes.fromhex(packet)[2:])
            self.assertEqual((reply.id, str(reply.answer[0][0])), (7, "192.0.2.1"))
        self.assertEqual(error, "UNIMPLEMENTED unknown method Other for service coredns.dns.DnsService")

    def test_curl(self) -> None:
        """curl asks over HTTP/1.1 and HTTP/2."""
        query = dns.message.make_query("www.example.org", "A", id=0).to_wire()
        text = urlsafe_b64encode(query).rstrip(b"=").decode()
        for version, spoken in (("--http1.1", "1.1"), ("--http2", "2")):
            said = self.run_program(
                "curl", "-s", version, "--cacert", f"{self.folder}/ca.pem", "--resolve", f"{NAME}:{self.https}:127.0.0.1",
                "-o", str(self.folder / "reply"), "-w", "%{http_version} %{http_code}",
                f"https://{NAME}:{self.https}/dns-query?dns={text}",
            )  # fmt: skip
            self.assertEqual(said, f"{spoken} 200")
            reply = dns.message.from_wire((self.folder / "reply").read_bytes())
            self.assertEqual(str(reply.answer[0][0]), "192.0.2.1")

    def test_renewed(self) -> None:
        """dnspython is answered while the certificate is renewed; then it sees the new one."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

        def shown() -> bytes:
            sock = dns.query.make_ssl_socket(socket.AF_INET, socket.SOCK_STREAM, context, NAME)
            with sock:
                sock.settimeout(PATIENCE)
                sock.connect(("127.0.0.1", self.tls))
                while True:
                    try:
                        sock.do_handshake()
                        break
                    except (ssl.SSLWantReadError, BlockingIOError):
                        sleep(0.01)
                query = dns.message.make_query("www.example.org", "A")
                sock.setblocking(False)
                reply = dns.query.tls(query, "127.0.0.1", timeout=PATIENCE, sock=sock)
                self.assertEqual(str(reply.answer[0][0]), "192.0.2.1")
                return sock.getpeercert(binary_form=True) or b""

        before = shown()
        self.write_certificate()
        end = monotonic() + PATIENCE
        while shown() == before:
            self.assertLess(monotonic(), end, "the renewed certificate is not shown")
            sleep(0.1)
