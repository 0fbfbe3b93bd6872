"""Metrics of the process, and the reactor's lag."""

from __future__ import annotations

import gc
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Registry
from kdns.plugins.prometheus.process import PERIOD, QUIET, ProcessMetrics, ReactorLag, network_bytes


class LagTests(SynchronousTestCase):
    """How late timers are."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.late = 0.0
        self.registry = Registry()
        self.lag = ReactorLag(self.clock, lambda: self.clock.seconds() + self.late, self.registry)
        self.lag.start()

    def turn(self, late: float) -> list[str]:
        """The next measurement comes so late; what is logged meanwhile."""
        self.late += late
        with capturedLogs() as events:
            self.clock.advance(PERIOD)
        return [formatEvent(event) for event in events]

    def test_histogram(self) -> None:
        """Each measurement is one observation."""
        for late in (0.0, 0.003, 0.02):
            self.assertEqual(self.turn(late), [])
        lines = list(self.registry.lines())
        self.assertIn('kdns_reactor_lag_seconds_bucket{le="0.001"} 1', lines)
        self.assertIn('kdns_reactor_lag_seconds_bucket{le="0.005"} 2', lines)
        self.assertIn("kdns_reactor_lag_seconds_count 3", lines)

    def test_warning(self) -> None:
        """A long turn is worth a warning; more of them within a minute are summed up."""
        text = "The reactor was busy for more than 50 ms {} times, at worst for {} ms"
        self.assertEqual(self.turn(0.08), [text.format(1, 80)])
        self.assertEqual(self.turn(0.1), [])
        self.assertEqual(self.turn(0.3), [])
        later = [line for _ in range(int(QUIET / PERIOD)) for line in self.turn(0.0)]
        self.assertEqual(later, [text.format(2, 300)])

    def test_stop(self) -> None:
        """Nothing runs afterwards, however often it is stopped."""
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


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
