"""Tests of :mod:`kdns.plugins.prometheus.process`."""

from __future__ import annotations

import gc
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.prometheus.process import ProcessMetrics, network_bytes

DEVICES = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  5000      10    0    0    0     0          0         0     5000      10    0    0    0     0       0          0
  eth0:  1000      10    0    0    0     0          0         0      200      10    0    0    0     0       0          0
  eth1:1          10    0    0    0     0          0         0        2      10    0    0    0     0       0          0
"""


class ProcessTests(SynchronousTestCase):
    """What is shown of the process."""

    def test_names(self) -> None:
        """The metrics that every exporter has."""
        names = {line.partition(" ")[0].partition("{")[0] for line in ProcessMetrics().lines()}
        for wanted in (
            "process_cpu_seconds_total",
            "process_max_fds",
            "process_network_receive_bytes_total",
            "process_network_transmit_bytes_total",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes",
            "python_info",
            "python_gc_collections_total",
        ):
            self.assertIn(wanted, names)

    def test_network(self) -> None:
        """Octets of all devices but loopback."""
        path = Path(self.mktemp())
        path.write_text(DEVICES)
        self.assertEqual(network_bytes(path), (1001, 202))

    def test_no_network(self) -> None:
        """Where the kernel shows none there are none."""
        self.assertEqual(network_bytes(Path("/nonexistent")), (0, 0))

    def test_runtime(self) -> None:
        """On demand there is more, and nothing of it stays behind."""
        before = list(gc.callbacks)
        metrics = ProcessMetrics()
        metrics.measure_runtime()
        metrics.measure_runtime()
        gc.collect()
        names = {line.partition(" ")[0].partition("{")[0] for line in metrics.lines()}
        for wanted in (
            "python_gc_pause_seconds_count",
            "python_allocated_blocks",
            "python_threads",
            "python_context_switches",
        ):
            self.assertIn(wanted, names)
        metrics.stop()
        self.assertEqual(gc.callbacks, before)
