"""A few reloads, good and bad, a restart and the end, under load; ``python -m tests.integration.life`` goes through more of them."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic
from urllib.error import URLError
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.credentials import Login, write_kubeconfig
from tests.integration.life import live
from tests.integration.programs import PATIENCE, Program, ask, free_port


class LifeTests(SynchronousTestCase):
    """A process, its clients, its cluster and its upstream."""

    def test_life(self) -> None:
        """
        No query is lost over reloads, a restart that hands the port over, and lameduck; watches, counters and connections of clients stay.

        Bad Corefiles are named with file and line, change nothing, and show in a metric until they are mended.
        """
        report = live(10, 6, udp=500, tcp=50, lameduck="500ms")
        self.assertEqual(report.faults, [], report)
        self.assertEqual((len(report.reloads), len(report.bad)), (10, 6))
        self.assertGreater(report.load.answered, 500)
        self.assertGreater(report.load.answered_tcp, 50)


class StartTests(SynchronousTestCase):
    """Starting while the cluster is away."""

    def setUp(self) -> None:
        """The default Corefile, with a kubeconfig for an API server that nobody runs, and ports that are free."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        kubeconfig = write_kubeconfig(folder / "kubeconfig", f"http://127.0.0.1:{free_port()}", None, Login())
        self.port, self.ready = free_port(), free_port()
        self.corefile = folder / "Corefile"
        self.corefile.write_text(
            f".:{self.port} {{\n    bind 127.0.0.1\n    errors\n    ready 127.0.0.1:{self.ready}\n"
            f"    kubernetes cluster.local {{\n        kubeconfig {kubeconfig}\n    }}\n    cache 30\n    reload\n    whoami\n}}\n"
        )

    def test_without_api_server(self) -> None:
        """After five seconds it answers: SERVFAIL for names of the cluster, and it is not ready."""
        began = monotonic()
        with Program(["-m", "kdns", "-conf", str(self.corefile)]) as program:
            program.wait_for("linux/")
            self.assertGreater(monotonic() - began, 4.9)
            self.assertLess(monotonic() - began, 5.0 + PATIENCE / 2)
            self.assertEqual(ask(self.port, "web.prod.svc.cluster.local").rCode, 2)
            self.assertEqual(ask(self.port, "www.example.org").rCode, 0)
            with self.assertRaises(URLError):
                urlopen(f"http://127.0.0.1:{self.ready}/ready", timeout=PATIENCE)
            program.send(signal.SIGTERM)
            self.assertEqual(program.end()[0], 0)

    def test_end_during_the_start(self) -> None:
        """SIGTERM while the start waits for the API server ends the process at once, with 0."""
        with Program(["-m", "kdns", "-conf", str(self.corefile)]) as program:
            program.wait_for("plugin/kubernetes")
            began = monotonic()
            program.send(signal.SIGTERM)
            status, _, errors = program.end()
            self.assertEqual((status, errors), (0, ""))
            self.assertLess(monotonic() - began, 4.0)

    def test_interrupted_twice_at_once(self) -> None:
        """A second SIGINT right behind the first leaves 0 or 2, whenever it comes, and never the death by a signal."""
        self.corefile.write_text(f".:{self.port} {{\n    bind 127.0.0.1\n    whoami\n}}\n")
        for pause in (0.0, 0.002, 0.004, 0.008):
            with Program(["-m", "kdns", "-conf", str(self.corefile)]) as program:
                program.wait_for("linux/")
                program.send(signal.SIGINT)
                until = monotonic() + pause
                while monotonic() < until:
                    pass
                program.send(signal.SIGINT)
                self.assertIn(program.end()[0], (0, 2), pause)
