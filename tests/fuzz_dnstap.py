"""
Fuzz target for what readers of *dnstap* send: control frames.

Whatever comes, nothing is raised; the connection goes on or is closed.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from kdns.core.metrics import Registry
from kdns.plugins.dnstap.frames import CONTENT_TYPE, Control, control_frame
from kdns.plugins.dnstap.writer import FrameQueue, FrameWriter

READERS = (
    control_frame(Control.ACCEPT, CONTENT_TYPE) + control_frame(Control.FINISH),
    control_frame(Control.ACCEPT),
    control_frame(Control.READY, CONTENT_TYPE),
)
"""What readers send, as a corpus."""


class Transport(StringTransport):
    """A transport that can be aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


class Ended:
    """Keeps why a connection ended."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, writer: FrameWriter, problem: str) -> None:
        self.problems.append(problem)


def run_dnstap(octets: bytes) -> None:
    """Send bytes to the writing side, before and behind its STOP."""
    for ending in (False, True):
        clock = Clock()
        registry = Registry()
        counters = [registry.counter(name, "Frames.").counter() for name in ("sent_total", "dropped_total")]
        queue = FrameQueue(10, 1000, *counters)
        ended = Ended()
        writer = FrameWriter(queue, clock, ended)
        transport = Transport()
        writer.makeConnection(transport)
        queue.put(b"frame")
        middle = len(octets) // 2
        writer.dataReceived(octets[:middle])
        if ending:
            writer.finish()
        if not transport.disconnecting:
            writer.dataReceived(octets[middle:])
        writer.connectionLost()
        assert len(ended.problems) == 1
        assert not clock.getDelayedCalls()
