"""A named pipe in place of any file that a configuration names: refused or passed over at once, never waited for."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import Resource
from kdns.server.assembly import assemble, read
from kdns.testing.memory import MemoryReactor
from tests.server.support import a_house

REASON = "is a named pipe, not a regular file"

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: it
contexts: [{name: it, context: {cluster: it, user: it}}]
clusters: [{name: it, cluster: {server: "https://127.0.0.1:1"CLUSTER}}]
users: [{name: it, user: {USER}}]
"""

WEB = "tls_server_config: {cert_file: CERT, key_file: KEY}\n"

HUNG = 20
"""Seconds after which a test that waits for the pipe is ended; the tests themselves take milliseconds."""


class NamedPipeTests(SynchronousTestCase):
    """Each directive that names a file, given a pipe that nobody writes to."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.pipe = self.path("pipe")
        os.mkfifo(self.pipe)
        before = signal.signal(signal.SIGALRM, self.hung)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.addCleanup(signal.alarm, 0)
        signal.alarm(HUNG)

    def hung(self, number: int, frame: FrameType | None) -> None:
        """The pipe was waited for."""
        raise AssertionError("waits for the named pipe")

    def path(self, name: str) -> str:
        """The absolute path of a file in the folder of the test."""
        return str(self.folder.resolve() / name)

    def write(self, name: str, text: str) -> str:
        """Write a file, and return its path."""
        Path(self.path(name)).write_text(text)
        return self.path(name)

    def complaints(self, directives: str) -> str:
        """What a server with these directives says when it starts: why it does not, or what it logs."""
        reactor = MemoryReactor()
        context = a_house(reactor)
        with capturedLogs() as events:
            try:
                corefile = read(self.write("Corefile", f".:53 {{\n{directives}\n}}\n"), {})
                resources: list[Resource] = list(assemble(corefile, context).resources)
            except CorefileError as error:
                return str(error)
            for resource in resources:
                try:
                    resource.start()
                except (OSError, CorefileError) as error:  # the start fails
                    return str(error)
            reactor.advance(10)
            for resource in resources:
                resource.stop()
            reactor.advance(10)
        return "\n".join(text for event in events if (text := formatEvent(event)))

    def test_corefile(self) -> None:
        """The Corefile itself, and what it imports."""
        self.assertIn(REASON, str(self.assertRaises(CorefileError, read, self.pipe, {})))
        self.assertIn("is not a regular file", self.complaints(f"import {self.pipe}"))

    def test_plugins(self) -> None:
        """The files of plugins."""
        for directives in (
            f"hosts {self.pipe}",
            f"forward . {self.pipe}",
            f"forward . tls://127.0.0.1 {{\ntls {self.pipe}\n}}",
            f"forward . tls://127.0.0.1 {{\ntls {self.pipe} {self.pipe}\n}}",
            f"loadbalance weighted {self.pipe}\nwhoami",
            f"prometheus :9153 {{\ntls {self.pipe}\n}}\nwhoami",
        ):
            self.assertIn(REASON, self.complaints(directives), directives)

    def test_certificates_of_metrics(self) -> None:
        """The files that the web configuration of ``prometheus`` names."""
        for name in ("CERT", "KEY"):
            text = WEB.replace(name, self.pipe).replace("CERT", self.write("cert", "")).replace("KEY", self.pipe)
            web = self.write("web.yml", text)
            self.assertIn(REASON, self.complaints(f"prometheus :9153 {{\ntls {web}\n}}\nwhoami"))

    def test_cluster(self) -> None:
        """Kubeconfigs, what they name, and snapshots."""
        for options in (
            f"kubeconfig {self.pipe}",
            f"endpoint https://127.0.0.1\ntls {self.pipe} {self.pipe} {self.pipe}",
        ):
            self.assertIn(REASON, self.complaints(f"kubernetes cluster.local {{\n{options}\n}}"), options)
        for cluster, user in (
            (f", certificate-authority: {self.pipe}", ""),
            ("", f"tokenFile: {self.pipe}"),
            ("", f"client-certificate: {self.pipe}, client-key: {self.pipe}"),
        ):
            path = self.write("kubeconfig", KUBECONFIG.replace("CLUSTER", cluster).replace("USER", user))
            self.assertIn(REASON, self.complaints(f"kubernetes cluster.local {{\nkubeconfig {path}\n}}"))

    def test_manifests(self) -> None:
        """Manifests are read in a thread, which would stay for ever."""
        text = self.complaints(f"kubernetes cluster.local {{\nmanifests {self.pipe}\nsnapshot {self.pipe}\n}}")
        self.assertIn(f"snapshot {self.pipe} is not used: {self.pipe}: {REASON}", text)
        self.assertIn(f"manifests: {self.pipe}: {REASON}", text)
