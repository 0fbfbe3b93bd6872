# -*- test-case-name: tests.plugins.prometheus.test_process -*-
"""
The ``process_*`` metrics that every exporter has, ``python_*`` for the runtime, and the lag of the reactor.

Most come from prometheus_client's collectors, on a separate registry; the others are read here. A timer measures the reactor's lag: how
long a query waits for its turn.
"""

from __future__ import annotations

import gc
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from twisted.logger import Logger

from kdns.core.metrics import Registry
from kdns.core.timing import Clock
from kdns.plugin.seam import Resource
from kdns.plugins.prometheus.observer import LAG_BUCKETS

log = Logger(namespace="plugin/prometheus")

PERIOD = 0.25
"""Seconds between two measurements: often enough to notice a long block, rare enough to cost nothing."""

LONG = 0.05
"""Seconds of lag that cause a warning: ten times what one turn may take."""

QUIET = 60.0
"""Seconds between two warnings."""


class ReactorLag(Resource):
    """Measures while any block has the directive."""

    def __init__(self, reactor: Clock, clock: Callable[[], float], registry: Registry) -> None:
        self._reactor = reactor
        self._clock = clock
        self._lag = registry.histogram(
            "kdns_reactor_lag_seconds", "How late timers fire: the time that a query waits for its turn.", LAG_BUCKETS
        ).histogram()
        self._call: Any = None
        self._due = 0.0
        self._worst = 0.0
        self._long = 0
        self._quiet_until = float("-inf")

    def start(self) -> None:
        self._due = self._clock() + PERIOD
        self._call = self._reactor.callLater(PERIOD, self._measure)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _measure(self) -> None:
        now = self._clock()
        lag = max(0.0, now - self._due)
        self._lag.observe(lag)
        if lag > LONG:
            self._long += 1
            self._worst = max(self._worst, lag)
        if self._long and now >= self._quiet_until:
            log.warn(
                "The reactor was busy for more than {limit} ms {times} times, at worst for {worst} ms",
                limit=round(LONG * 1000),
                times=self._long,
                worst=round(self._worst * 1000),
            )
            self._long, self._worst, self._quiet_until = 0, 0.0, now + QUIET
        self.start()


NO_LIMIT = 2.0**64
"""Value of ``process_virtual_memory_max_bytes`` without a limit, as in exporters written in Go."""

PAUSE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
"""Seconds."""


class ProcessMetrics:
    """
    The metrics of this process.

    :param proc: the mount point of procfs.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        # Imported late: it costs memory and time, also for a Corefile without the directive.
        from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

        self._collected = CollectorRegistry()
        ProcessCollector(registry=self._collected, proc=str(proc))
        PlatformCollector(registry=self._collected)
        GCCollector(registry=self._collected)
        self._network = proc / "self" / "net" / "dev"
        self._own = Registry()
        self._received = self._own.counter(
            "process_network_receive_bytes_total", "Number of bytes received over the network of the process."
        ).counter()
        self._sent = self._own.counter(
            "process_network_transmit_bytes_total", "Number of bytes sent over the network of the process."
        ).counter()
        self._own.gauge(
            "process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes."
        ).gauge(read=_memory_limit)
        self._pauses: GarbagePauses | None = None

    def lines(self) -> Iterator[str]:
        """All of them in the text format of Prometheus."""
        from prometheus_client import generate_latest

        yield from generate_latest(self._collected).decode().splitlines()
        self._received.value, self._sent.value = network_bytes(self._network)
        yield from self._own.lines()

    def measure_runtime(self) -> None:
        """Add the pauses of the garbage collector, memory blocks, threads and context switches."""
        if self._pauses is not None:
            return
        own = self._own
        self._pauses = GarbagePauses(own)
        own.gauge("python_allocated_blocks", "Memory blocks that the interpreter has allocated.").gauge(
            read=sys.getallocatedblocks
        )
        own.gauge("python_threads", "Threads that run.").gauge(read=threading.active_count)
        switches = own.gauge("python_context_switches", "Context switches since the start of the process.", ["kind"])
        switches.gauge("voluntary", read=lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw)
        switches.gauge("involuntary", read=lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)

    def stop(self) -> None:
        """Remove the callback from the garbage collector."""
        if self._pauses is not None:
            self._pauses.stop()


def network_bytes(device_table: Path) -> tuple[int, int]:
    """Bytes received and sent by all devices but loopback, from a table like ``/proc/self/net/dev``; zeros when there is none."""
    received = sent = 0
    try:
        lines = device_table.read_text().splitlines()[2:]
    except OSError:
        return 0, 0
    for line in lines:
        device, _, numbers = line.partition(":")
        columns = numbers.split()
        if device.strip() != "lo" and len(columns) > 8:
            received += int(columns[0])
            sent += int(columns[8])
    return received, sent


def _memory_limit() -> float:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return NO_LIMIT if limit == resource.RLIM_INFINITY else limit


class GarbagePauses:
    """Durations of garbage collections."""

    def __init__(self, registry: Registry) -> None:
        self._pauses = registry.histogram(
            "python_gc_pause_seconds",
            "Seconds that a garbage collection stops the process.",
            PAUSE_BUCKETS,
            ["generation"],
        )
        self._began = 0.0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = perf_counter()
        elif self._began:
            self._pauses.histogram(str(info["generation"])).observe(perf_counter() - self._began)

    def stop(self) -> None:
        """Stop measuring."""
        if self._called in gc.callbacks:
            gc.callbacks.remove(self._called)
