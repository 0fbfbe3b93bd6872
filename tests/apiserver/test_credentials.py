"""Files by which clients log in say what they should, and change in one step."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import subprocess
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from kdns.testing.certificates import Identity
from kdns.testing.memory import MemoryReactor
from tests.apiserver.__main__ import main, parse, serve
from tests.apiserver.credentials import InCluster, Login, write_exec_token, write_kubeconfig


class KubeconfigTests(SynchronousTestCase):
    """write_kubeconfig."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def user(self, login: Login) -> dict[str, object]:
        """The user in a kubeconfig for this login."""
        path = write_kubeconfig(self.folder / "config", "https://127.0.0.1:1", b"PEM", login)
        config = yaml.safe_load(path.read_text())
        self.assertEqual(config["current-context"], config["contexts"][0]["name"])
        cluster = config["clusters"][0]["cluster"]
        self.assertEqual(cluster["server"], "https://127.0.0.1:1")
        self.assertEqual(base64.b64decode(cluster["certificate-authority-data"]), b"PEM")
        user: dict[str, object] = config["users"][0]["user"]
        return user

    def test_logins(self) -> None:
        """Each kind of login is written as kubectl reads it."""
        self.assertEqual(self.user(Login()), {})
        self.assertEqual(self.user(Login(token="t")), {"token": "t"})
        self.assertEqual(self.user(Login(token_file=Path("/t"))), {"tokenFile": "/t"})
        self.assertEqual(self.user(Login(basic=("u", "p"))), {"username": "u", "password": "p"})
        pair = self.user(Login(certificate=Identity(b"C", b"K")))
        self.assertEqual(set(pair), {"client-certificate-data", "client-key-data"})

    def test_exec(self) -> None:
        """The program prints the token of the moment, and leaves a trace of each call."""
        user = self.user(Login(exec_token="first"))
        command = user["exec"]["command"]  # type: ignore[index]  # a mapping, if the test is right
        answer = json.loads(subprocess.run([command], capture_output=True, check=True).stdout)
        self.assertEqual((answer["kind"], answer["status"]["token"]), ("ExecCredential", "first"))
        write_exec_token(self.folder, "second")
        answer = json.loads(subprocess.run([command], capture_output=True, check=True).stdout)
        self.assertEqual(answer["status"]["token"], "second")
        self.assertEqual(len((self.folder / "exec-calls").read_text().splitlines()), 2)

    def test_in_cluster(self) -> None:
        """A pod finds three files and two variables."""
        files = InCluster(self.folder / "account", "127.0.0.1", 6443)
        files.write("t", b"PEM")
        found = {path.name: path.read_bytes() for path in (self.folder / "account").iterdir()}
        self.assertEqual(found, {"token": b"t", "ca.crt": b"PEM", "namespace": b"kube-system"})
        files.write_token("u")
        self.assertEqual(files.token_file.read_text(), "u")
        self.assertEqual(files.environment, {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"})


class ProgramTests(SynchronousTestCase):
    """The program, short of running the reactor."""

    def test_refused(self) -> None:
        """What cannot be loaded is told in a line, and the exit code is 1."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "bad.yaml").write_text("{kind: Secret, metadata: {name: a}}")
        for name, wanted in (("absent.yaml", "No such file"), ("bad.yaml", "404 NotFound")):
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                self.assertEqual(main(["--manifests", str(folder / name)]), 1)
            self.assertIn(wanted, said.getvalue())
            self.assertEqual(said.getvalue().count("\n"), 1)

    def test_serve(self) -> None:
        """Manifests are loaded, objects made, the token required, and the kubeconfig leads there."""
        folder = Path(self.mktemp())
        folder.mkdir()
        manifest, config = folder / "m.yaml", folder / "config"
        manifest.write_text("{kind: Namespace, apiVersion: v1, metadata: {name: prod}}")
        reactor = MemoryReactor()
        arguments = ["--manifests", str(manifest), "--tls", "--token", "t", "--populate", "3"]
        api = serve(parse([*arguments, "--kubeconfig-out", str(config)]), reactor)
        self.assertEqual(api.get("namespace", "", "prod")["status"], {"phase": "Active"})
        self.assertEqual(len(api.objects("services")), 1 + 3)
        self.assertEqual(set(api.access.tokens), {"t"})
        written = yaml.safe_load(config.read_text())
        self.assertEqual(written["clusters"][0]["cluster"]["server"], api.url)
        self.assertTrue(api.url.startswith("https://127.0.0.1:"))
        self.assertEqual(written["users"][0]["user"], {"token": "t"})
        stopped = api.stop()
        reactor.settle()
        self.successResultOf(stopped)
        self.assertEqual(reactor.leftovers(), [])
