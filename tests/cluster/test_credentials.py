"""Tests of the credentials that are found, and of what an operator reads when they are not."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.credentials import (
    MAX_FILE,
    REREAD,
    Access,
    AccessOptions,
    CredentialsError,
    FileCredentials,
    Server,
    Source,
    parse_server,
)
from kdns.cluster.kubeconfig import ExecCredentials, KubeconfigCredentials, find_credentials
from kdns.testing.certificates import Authority

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class Folder(SynchronousTestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)

    def write(self, name: str, content: bytes | str) -> str:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def kubeconfig(self, cluster: dict[str, Any], user: dict[str, Any], **more: Any) -> str:
        """A kubeconfig with one context, ``here``."""
        return self.write(
            "config",
            yaml.safe_dump(
                {
                    "current-context": "here",
                    "clusters": [{"name": "c", "cluster": {"server": "https://api.test:6443", **cluster}}],
                    "users": [{"name": "u", "user": user}],
                    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                    **more,
                }
            ),
        )

    def access(self, wanted: AccessOptions, environ: dict[str, str] | None = None, **more: Any) -> Access:
        """What is found."""
        found = find_credentials(Clock(), wanted, environ or {}, **more).current(0.0)
        assert isinstance(found, Access), "no program is run here"
        return found

    def refusal(self, wanted: AccessOptions, environ: dict[str, str] | None = None, **more: Any) -> str:
        """The text of the error."""
        problem = self.assertRaises(CredentialsError, find_credentials, Clock(), wanted, environ or {}, **more)
        return str(problem)


class ServerTests(SynchronousTestCase):
    """URLs of API servers."""

    def test_urls(self) -> None:
        """Scheme, host, port and path, with the defaults that are usual."""
        for text, server, url in (
            ("https://10.0.0.1", Server("https", "10.0.0.1", 443), "https://10.0.0.1:443"),
            ("http://api.test:8080/", Server("http", "api.test", 8080), "http://api.test:8080"),
            ("api.test:8080", Server("http", "api.test", 8080), "http://api.test:8080"),
            (
                "https://[fd00::1]:6443/k8s/c-1/",
                Server("https", "fd00::1", 6443, "/k8s/c-1"),
                "https://[fd00::1]:6443/k8s/c-1",
            ),
        ):
            self.assertEqual(parse_server(text), server)
            self.assertEqual(server.url, url)

    def test_none(self) -> None:
        """What is no URL of a server is refused and quoted."""
        for text in ("ftp://api.test", "https://", "https://api.test:port", "https://[fd00"):
            problem = self.assertRaises(CredentialsError, parse_server, text)
            self.assertEqual(str(problem), f'"{text}" is not the URL of an API server')


class InClusterTests(Folder):
    """What a pod finds."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority().certificate_pem
        self.write("token", "first\n")
        self.write("ca.crt", self.authority)

    def find(self) -> FileCredentials:
        """The credentials of the pod."""
        self.complaints: list[str] = []
        found = find_credentials(
            Clock(), AccessOptions(), IN_A_POD, service_account=str(self.folder), complain=self.complaints.append
        )
        assert isinstance(found, FileCredentials)
        return found

    def test_found(self) -> None:
        """Server, token and authority."""
        access = self.find().current(0.0)
        self.assertEqual(access.server.url, "https://10.96.0.1:443")
        self.assertEqual(access.authorization, b"Bearer first")
        self.assertEqual((access.trust.authority, access.trust.verify), (self.authority, True))

    def test_ipv6(self) -> None:
        """The API may have an IPv6 address."""
        environ = {**IN_A_POD, "KUBERNETES_SERVICE_HOST": "fd00:10:96::1"}
        access = self.access(AccessOptions(), environ, service_account=str(self.folder))
        self.assertEqual(access.server.url, "https://[fd00:10:96::1]:443")

    def test_no_pod(self) -> None:
        """Outside of a pod there is nothing, and the text is the one that operators know."""
        text = "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
        self.assertEqual(self.refusal(AccessOptions()), text)
        self.assertEqual(self.refusal(AccessOptions(), {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}), text)

    def test_missing_files(self) -> None:
        """A file that is not mounted is named."""
        (self.folder / "token").unlink()
        path = str(self.folder / "token")
        text = self.refusal(AccessOptions(), IN_A_POD, service_account=str(self.folder))
        self.assertEqual(text, f"open {path}: no such file or directory")

    def test_bad_authority(self) -> None:
        """So is one that holds no certificate."""
        path = self.write("ca.crt", "nothing")
        text = self.refusal(AccessOptions(), IN_A_POD, service_account=str(self.folder))
        self.assertEqual(text, f"unable to load root certificates: no PEM certificate in {path}")

    def test_bad_token(self) -> None:
        """A token that could not be sent is refused without being quoted."""
        self.write("token", "two\nlines")
        text = self.refusal(AccessOptions(), IN_A_POD, service_account=str(self.folder))
        self.assertEqual(text, "the token holds characters that a token cannot have")

    def test_reread(self) -> None:
        """Token and authority are read again after a minute."""
        found = self.find()
        found.current(100.0)
        self.write("token", "second")
        other = Authority().certificate_pem
        self.write("ca.crt", other)
        self.assertEqual(found.current(100.0 + REREAD - 1).authorization, b"Bearer first")
        renewed = found.current(100.0 + REREAD)
        self.assertEqual((renewed.authorization, renewed.trust.authority), (b"Bearer second", other))

    def test_refused(self) -> None:
        """After a refusal they are read at once, but not for a refusal of something older."""
        found = self.find()
        first = found.current(0.0)
        self.write("token", "second")
        found.refused(first)
        second = found.current(1.0)
        self.assertEqual(second.authorization, b"Bearer second")
        self.write("token", "third")
        found.refused(first)
        self.assertEqual(found.current(1.0), second)

    def test_gone(self) -> None:
        """A file that cannot be read any more counts with its last content, and is complained of."""
        found = self.find()
        first = found.current(0.0)
        (self.folder / "token").unlink()
        self.assertEqual(found.current(REREAD), first)
        self.assertEqual(self.complaints, [f"open {self.folder / 'token'}: no such file or directory"])


class EndpointTests(Folder):
    """``endpoint`` and ``tls``."""

    def test_plain(self) -> None:
        """An endpoint alone proves nothing; over HTTPS the authorities of the system count."""
        access = self.access(AccessOptions(endpoint="https://api.test:6443"))
        self.assertEqual((access.authorization, access.trust.authority, access.trust.verify), (b"", None, True))

    def test_tls(self) -> None:
        """Certificate, key and authority, in that order."""
        authority = Authority()
        pair = authority.client("kdns")
        files = (
            self.write("cert", pair.certificate_pem),
            self.write("key", pair.key_pem),
            self.write("ca", authority.certificate_pem),
        )
        trust = self.access(AccessOptions(endpoint="https://api.test", tls=files)).trust
        self.assertEqual(
            (trust.certificate, trust.key, trust.authority),
            (pair.certificate_pem, pair.key_pem, authority.certificate_pem),
        )

    def test_errors(self) -> None:
        """A missing file, a key of another certificate, and files in the wrong order are told apart."""
        authority = Authority()
        pair, other = authority.client("kdns"), authority.client("other")
        cert, key, ca = (
            self.write("cert", pair.certificate_pem),
            self.write("key", pair.key_pem),
            self.write("ca", authority.certificate_pem),
        )
        wrong = self.write("wrong", other.key_pem)

        def text(*tls: str) -> str:
            assert len(tls) == 3
            return self.refusal(AccessOptions(endpoint="https://api.test", tls=tls))

        self.assertEqual(text("nofile", key, ca), "open nofile: no such file or directory")
        self.assertEqual(text(cert, wrong, ca), "tls: private key does not match public key")
        self.assertEqual(text(key, cert, ca), "tls: failed to find any PEM data in certificate input")
        self.assertIn("no PEM certificate in", text(cert, key, wrong))


class KubeconfigTests(Folder):
    """Kubeconfig files."""

    def find(self, path: str, context: str = "") -> Access:
        """The access that a file gives."""
        return self.access(AccessOptions(kubeconfig=path, context=context, endpoint="http://ignored.test"))

    def test_token(self) -> None:
        """A token; the kubeconfig wins over an endpoint."""
        access = self.find(self.kubeconfig({}, {"token": "abc"}))
        self.assertEqual((access.server.url, access.authorization), ("https://api.test:6443", b"Bearer abc"))

    def test_token_file(self) -> None:
        """A token file, relative to the kubeconfig; it wins over a token."""
        self.write("secret", "from-file\n")
        access = self.find(self.kubeconfig({}, {"token": "abc", "tokenFile": "secret"}))
        self.assertEqual(access.authorization, b"Bearer from-file")

    def test_basic(self) -> None:
        """User name and password."""
        access = self.find(self.kubeconfig({}, {"username": "me", "password": "it's"}))
        self.assertEqual(access.authorization, b"Basic " + b64encode(b"me:it's"))

    def test_certificate(self) -> None:
        """A client certificate and an authority, embedded or in files beside the kubeconfig."""
        authority = Authority()
        pair = authority.client("kdns")
        embedded = self.find(
            self.kubeconfig(
                {"certificate-authority-data": b64encode(authority.certificate_pem).decode()},
                {
                    "client-certificate-data": b64encode(pair.certificate_pem).decode(),
                    "client-key-data": b64encode(pair.key_pem).decode(),
                },
            )
        )
        for name, content in (
            ("c.crt", pair.certificate_pem),
            ("c.key", pair.key_pem),
            ("ca.crt", authority.certificate_pem),
        ):
            self.write(name, content)
        user = {"client-certificate": "c.crt", "client-key": "c.key"}
        in_files = self.find(self.kubeconfig({"certificate-authority": "ca.crt"}, user))
        for trust in (embedded.trust, in_files.trust):
            self.assertEqual(
                (trust.certificate, trust.key, trust.authority),
                (pair.certificate_pem, pair.key_pem, authority.certificate_pem),
            )

    def test_verification(self) -> None:
        """The server is verified, unless the file says so in as many words; the name to verify may be another."""
        self.assertTrue(self.find(self.kubeconfig({}, {})).trust.verify)
        self.assertFalse(self.find(self.kubeconfig({"insecure-skip-tls-verify": True}, {})).trust.verify)
        self.assertTrue(self.find(self.kubeconfig({"insecure-skip-tls-verify": "yes"}, {})).trust.verify)
        self.assertEqual(self.find(self.kubeconfig({"tls-server-name": "x.test"}, {})).trust.server_name, "x.test")

    def test_contexts(self) -> None:
        """A context by name wins over the current one."""
        path = self.kubeconfig(
            {},
            {"token": "abc"},
            contexts=[
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
                {"name": "anonymous", "context": {"cluster": "c"}},
            ],
        )
        self.assertEqual(self.find(path).authorization, b"Bearer abc")
        self.assertEqual(self.find(path, "anonymous").authorization, b"")

    def test_errors(self) -> None:
        """Each trouble with a file has a text of its own."""
        token = {"token": "abc"}
        rows: list[tuple[Callable[[], str], str, str]] = [
            (lambda: "nofile", "", "stat nofile: no such file or directory"),
            (lambda: self.kubeconfig({}, token), "nocontext", 'context "nocontext" does not exist'),
            (
                lambda: self.kubeconfig({}, token, **{"current-context": ""}),
                "",
                "{path}: no context is named, and there is no current-context",
            ),
            (lambda: self.kubeconfig({}, token, clusters=[]), "", 'cluster "c" does not exist'),
            (lambda: self.kubeconfig({}, token, users=None), "", 'auth info "u" does not exist'),
            (lambda: self.kubeconfig({"server": ""}, token), "", '{path}: the cluster of context "here" has no server'),
            (lambda: self.kubeconfig({"server": "x://y"}, token), "", '"x://y" is not the URL of an API server'),
            (lambda: self.kubeconfig({}, {"token": ["a"]}), "", "kubeconfig: token is no text"),
            (lambda: self.kubeconfig({}, {"tokenFile": "/nofile"}), "", "open /nofile: no such file or directory"),
            (
                lambda: self.kubeconfig({"certificate-authority-data": "%"}, token),
                "",
                "{path}: certificate-authority-data is not base64",
            ),
            (
                lambda: self.kubeconfig({"certificate-authority-data": b64encode(b"x").decode()}, token),
                "",
                "unable to load root certificates: no PEM certificate in the kubeconfig",
            ),
            (lambda: self.kubeconfig({"proxy-url": "http://p"}, token), "", "{path}: proxy-url is not supported"),
            (lambda: self.write("config", "[]"), "", "error loading config file {path}: it is no mapping"),
        ]
        for make, context, text in rows:
            path = make()
            found = self.refusal(AccessOptions(kubeconfig=path, context=context))
            self.assertEqual(found, text.replace("{path}", path))
        path = self.write("config", "a: [b")
        self.assertIn(f"error loading config file {path}: ", self.refusal(AccessOptions(kubeconfig=path)))

    def test_rewritten(self) -> None:
        """A file that is written anew counts after a minute, and at once after a refusal; a bad one changes nothing."""
        complaints: list[str] = []
        path = self.kubeconfig({}, {"token": "first"})
        found = KubeconfigCredentials(path, complain=complaints.append).load()
        first = found.current(0.0)
        self.kubeconfig({}, {"token": "the-second"})
        self.assertEqual(found.current(1.0), first)
        second = found.current(REREAD + 1)
        self.assertEqual(second.authorization, b"Bearer the-second")
        self.kubeconfig({}, {"token": "the-third-one"})
        found.refused(second)
        self.assertEqual(found.current(REREAD + 2).authorization, b"Bearer the-third-one")
        self.write("config", "[]")
        found.refused(found.current(REREAD + 2))
        self.assertEqual(found.current(REREAD + 2).authorization, b"Bearer the-third-one")
        self.assertEqual(complaints, [f"error loading config file {path}: it is no mapping"])


class SourceTests(Folder):
    """Files as such."""

    def test_bounded(self) -> None:
        """A large file is not read into memory, and a device that never ends is not read for ever."""
        path = self.write("large", "")
        os.truncate(path, MAX_FILE + 1)
        problem = self.assertRaises(CredentialsError, Source(path).load)
        self.assertEqual(str(problem), f"open {path}: file is larger than {MAX_FILE} bytes")
        problem = self.assertRaises(CredentialsError, Source("/dev/zero").load)
        self.assertEqual(str(problem), "open /dev/zero: is a device, not a regular file")

    def test_folder(self) -> None:
        """A folder is no file."""
        problem = self.assertRaises(CredentialsError, Source(str(self.folder)).load)
        self.assertEqual(str(problem), f"open {self.folder}: is a directory")


class SecrecyTests(SynchronousTestCase):
    """What must not get into a log."""

    def test_repr(self) -> None:
        """The text of credentials shows no secret."""
        found = FileCredentials(
            Server("https", "api.test", 443),
            token=Source(value=b"hush"),
            password=b"hush",
            key=Source(value=b"hush"),
        )
        found.load()
        self.assertNotIn("hush", repr(found) + repr(found.current(0.0)))


class ExecTests(Folder):
    """Credentials that a program prints, with the program left out."""

    def setUp(self) -> None:
        super().setUp()
        from twisted.internet.defer import Deferred

        self.now = 1000.0
        self.runs: list[Deferred[bytes]] = []

        def run() -> Deferred[bytes]:
            self.runs.append(Deferred())
            return self.runs[-1]

        path = self.kubeconfig({}, {"exec": {"command": "x", "apiVersion": "v1"}})
        self.credentials = ExecCredentials(KubeconfigCredentials(path).load(), run, lambda: self.now)

    def answer(self, **answer: Any) -> None:
        """The program ends and has printed this."""
        self.runs[-1].callback(json.dumps(answer).encode())

    def ask(self) -> Any:
        """The access, or the Deferred that waits for it."""
        return self.credentials.current(self.now)

    def test_one_run(self) -> None:
        """However many wait, one program runs; what it printed is then there at once."""
        first, second = self.ask(), self.ask()
        self.assertEqual(len(self.runs), 1)
        self.answer(authorization="Bearer abc")
        self.assertEqual(self.successResultOf(first).authorization, b"Bearer abc")
        self.assertEqual(self.successResultOf(second).authorization, b"Bearer abc")
        self.assertEqual(self.ask().authorization, b"Bearer abc")
        self.assertEqual(len(self.runs), 1)

    def test_renewed(self) -> None:
        """A minute before its end a credential is renewed; one that lives two minutes, 24 seconds before."""
        for lifetime, margin in ((3600.0, 60.0), (120.0, 24.0)):
            self.ask()
            end = self.now + lifetime
            self.answer(authorization="Bearer abc", expires=end)
            runs = len(self.runs)
            self.now = end - margin - 1
            self.assertEqual(self.ask().authorization, b"Bearer abc")
            self.now = end - margin
            self.assertNoResult(self.ask())
            self.assertEqual(len(self.runs), runs + 1)
            self.answer(authorization="Bearer abc", expires=self.now)

    def test_refused(self) -> None:
        """What the server refused is thrown away; a second refusal of the same has no effect on what came after."""
        self.ask()
        self.answer(authorization="Bearer one")
        old = self.ask()
        self.credentials.refused(old)
        self.ask()
        self.answer(authorization="Bearer two")
        self.credentials.refused(old)
        self.assertEqual(self.ask().authorization, b"Bearer two")
        self.assertEqual(len(self.runs), 2)

    def test_failed(self) -> None:
        """A program that fails, or prints something else, fails those who wait; the next request tries again."""
        first = self.ask()
        self.runs[-1].errback(CredentialsError("exec plugin: no luck"))
        self.assertEqual(str(self.failureResultOf(first, CredentialsError).value), "exec plugin: no luck")
        second = self.ask()
        self.runs[-1].callback(b"hello")
        self.failureResultOf(second, CredentialsError)
        self.assertEqual(len(self.runs), 2)

    def test_stopped(self) -> None:
        """Who gives up last takes the program along."""
        from twisted.internet.defer import CancelledError

        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(self.runs[0])
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.runs[0].called)

    def test_certificate(self) -> None:
        """A program may print a certificate."""
        waiting = self.ask()
        self.answer(certificate="C", key="K")
        trust = self.successResultOf(waiting).trust
        self.assertEqual((trust.certificate, trust.key), (b"C", b"K"))
