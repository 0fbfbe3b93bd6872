"""Bounds on connections that follow from the file descriptors."""

from __future__ import annotations

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.descriptors import CLIENTS_MOST, PAGES_MOST, client_connections, page_connections


class BoundTests(SynchronousTestCase):
    """What follows from the limit."""

    def test_connections(self) -> None:
        """With few descriptors, clients and pages together leave a third for everything else."""
        for descriptors in (64, 256, 1024, 20_000, 1 << 20):
            clients, pages = client_connections(descriptors), page_connections(descriptors)
            self.assertLessEqual(clients + 3 * pages, descriptors * 0.7, descriptors)
        self.assertEqual(client_connections(1024), 512)
        self.assertEqual((client_connections(20_000), page_connections(20_000)), (CLIENTS_MOST, PAGES_MOST))

    def test_raise_descriptor_limit(self) -> None:
        """The soft limit becomes the hard one; a process of its own, because it cannot be lowered for this one and raised again."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(hard, 512)
        program = (
            "import resource as r; from kdns.plugin.descriptors import *\n"
            f"r.setrlimit(r.RLIMIT_NOFILE, (64, {wanted}))\n"
            "raise_descriptor_limit(); raise_descriptor_limit(); print(descriptor_limit(), client_connections())"
        )
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        self.assertEqual(shown.split(), [str(wanted), str(wanted // 2)])
