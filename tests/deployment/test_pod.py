# -*- test-case-name: tests.deployment.test_pod -*-
"""
A pod of the base, as far as a machine without Kubernetes can have one: the image's root, the ConfigMap as the kubelet mounts it, the
service account's files, the ports as they are, in a network of its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from urllib.error import HTTPError
from urllib.request import urlopen

import yaml
from twisted.names import dns
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.cases import CASES
from tests.deployment.objects import BASE, as_written, one
from tests.deployment.roots import CONTAINER, image
from tests.integration.programs import PATIENCE, Program, ask

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def in_network_of_its_own(scenario: Callable[[], None]) -> None:
    """
    Run this in a thread with a new network, which has nothing but loopback; programs that it starts are in there as well.

    :raises SkipTest: no network may be made here.
    """

    def run() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise SkipTest(f"no new network may be made here: {os.strerror(ctypes.get_errno())}")
        with socket.socket(type=socket.SOCK_DGRAM) as any_socket:
            name = b"lo".ljust(16, b"\0")
            (flags,) = struct.unpack("16xh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, name + bytes(2))[:18])
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, name + struct.pack("h14x", flags | _IFF_UP))
        scenario()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(run).result()


def page(path: str) -> tuple[int, str]:
    """Status and text of a page on this machine."""
    try:
        with urlopen(f"http://127.0.0.1{path}", timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


class PodTests(SynchronousTestCase):
    """From its start to its end, as docs/operations.md has it."""

    def setUp(self) -> None:
        """What the kubelet mounts."""
        self.root = image()
        self.folder = Path(self.mktemp()).absolute()
        self.config, self.account = self.folder / "config", self.folder / "account"
        self.account.mkdir(parents=True)
        self.config.mkdir()
        (self.account / "token").write_text("secret")
        (self.folder / "resolv.conf").write_text("nameserver 192.0.2.53\n")
        objects = as_written(BASE)
        self.corefile = one(objects, "ConfigMap")["data"]["Corefile"]
        (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        self.arguments = container["args"]
        self.mount(self.corefile)

    def mount(self, corefile: str) -> None:
        """The kubelet's way to exchange what a ConfigMap shows: a new folder, and a symbolic link moved to it in one step."""
        number = len(list(self.config.iterdir()))
        version = self.config / f"..{number}"
        version.mkdir()
        (version / "Corefile").write_text(corefile)
        (self.config / "..data_tmp").symlink_to(version.name)
        (self.config / "..data_tmp").rename(self.config / "..data")
        if not (self.config / "Corefile").is_symlink():
            (self.config / "Corefile").symlink_to("..data/Corefile")

    def pod(self) -> Program:
        """Start kdns as the Deployment does."""
        account = "/var/run/secrets/kubernetes.io/serviceaccount"
        mounts = {self.config: "/etc/coredns", self.account: account, self.folder / "resolv.conf": "/etc/resolv.conf"}
        pairs = ",".join(f"{source}:{target}" for source, target in mounts.items())
        environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        return Program([CONTAINER, str(self.root), pairs, "/kdns/bin/kdns", *self.arguments], environment)

    def test_life(self) -> None:
        """
        It becomes ready, answers for the cluster, survives a Corefile that is none, takes over the next, and ends with 0.

        While it ends readiness is closed, liveness is not, and queries are answered.
        """
        in_network_of_its_own(self.life)

    def life(self) -> None:
        """The test, inside."""
        config = self.folder / "kubeconfig"
        words = ["--tls", "--token", "secret", "--port", "6443", "--kubeconfig-out", str(config)]
        manifests = [str(CASES / name) for name in ("every-cluster.yaml", "cluster.yaml")]
        api = Program(["-m", "tests.apiserver", *words, "--manifests", *manifests])
        with api:
            api.wait_for("listening")
            cluster = yaml.safe_load(config.read_text())["clusters"][0]["cluster"]
            (self.account / "ca.crt").write_bytes(b64decode(cluster["certificate-authority-data"]))
            with self.pod() as pod:
                pod.wait_for("python")
                self.until(lambda: page(":8181/ready")[0] == 200)
                self.assertEqual(page(":8080/health"), (200, "OK"))
                self.until(lambda: "coredns_build_info{" in page(":9153/metrics")[1])
                self.assertEqual(self.ttl(), 30)
                self.assertEqual(ask(53, "nope.default.svc.cluster.local").rCode, dns.ENAME)
                for command in ("explain kubernetes.default.svc.cluster.local", "status --once", "cache list"):
                    status, said = self.execute(pod, "kdns", *command.split())
                    self.assertEqual((status, "kubernetes" in said), (0, True), said)
                self.mount(self.corefile.replace("cache 30", "cahce 30"))
                pod.send(signal.SIGUSR1)
                pod.wait_for("/etc/coredns/Corefile:16 - Error during parsing: Unknown directive 'cahce'")
                self.until(lambda: "kdns_reload_config_bad 1\n" in page(":9153/metrics")[1])
                self.assertEqual(self.ttl(), 30)
                self.mount(self.corefile.replace("ttl 30", "ttl 17"))
                pod.send(signal.SIGUSR1)
                pod.wait_for("Reloading complete")
                self.assertEqual(self.ttl(), 17)
                self.until(lambda: "kdns_reload_config_bad 0\n" in page(":9153/metrics")[1])
                pod.send(signal.SIGTERM)
                pod.wait_for("lameduck")
                self.until(lambda: not self.open(8181) or page(":8181/ready")[0] == 503)
                self.assertEqual((page(":8080/health")[0], self.ttl()), (200, 17))
                status, _, errors = pod.end()
            self.assertEqual((status, errors), (0, ""))

    def execute(self, pod: Program, *words: str) -> tuple[int, str]:
        """Run a command in the container, as ``kubectl exec`` would: exit status, and what it said."""
        command = ["nsenter", f"--target={pod.process.pid}", "--mount", "--root", "--setuid=65532", "--setgid=65532"]
        environment = {**os.environ, "PATH": f"/kdns/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def ttl(self) -> int | None:
        """The TTL of a name of the cluster."""
        (answer,) = ask(53, "kubernetes.default.svc.cluster.local").answers
        return answer.ttl

    def open(self, port: int) -> bool:
        """Whether something listens there."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def until(self, true: Callable[[], bool]) -> None:
        """Ask again and again; the metrics page, for one, is made once a second."""
        end = monotonic() + PATIENCE
        while not true():
            self.assertLess(monotonic(), end)
