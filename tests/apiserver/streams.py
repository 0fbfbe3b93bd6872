# -*- test-case-name: tests.apiserver.test_http -*-
"""
The shell of one watch: writes its lines while the client reads, keeps its two timers, and suffers its faults.

Which lines there are is decided by watching.py, what faults make of them by faults.py.
"""

from __future__ import annotations

from tests.apiserver.faults import BREAKING, Fault, FaultKind, LineTrouble
from tests.apiserver.http import Exchange
from tests.apiserver.rest import JSON, WatchOrder
from tests.apiserver.status import ApiError
from tests.apiserver.timing import Clock, Timer
from tests.apiserver.watching import Line, Watch, error_line

BATCH = 32  # lines taken at once: few enough that a pause of the client is soon heeded


class WatchStream:
    """A watch being written to a connection."""

    def __init__(
        self,
        exchange: Exchange,
        order: WatchOrder,
        clock: Clock,
        timeout: float,
        bookmark_interval: float,
    ) -> None:
        """
        :param timeout: seconds until the watch ends by itself.
        :param bookmark_interval: seconds between bookmarks.
        """
        self.exchange = exchange
        self.watch: Watch = order.watch
        self.trouble = LineTrouble()
        self._clock = clock
        self._deadline = clock.seconds() + timeout
        self._timeout = timeout
        self._bookmarks = order.bookmarks
        self._bookmark_interval = bookmark_interval
        self._calls: dict[str, Timer] = {}
        self._fresh = True
        self._pumping = False

    def start(self) -> None:
        """Send the head and the first lines."""
        exchange = self.exchange
        exchange.on_end.append(self._stop)
        exchange.on_resume = self.pump
        exchange.head(200, JSON, None)
        self._calls["end"] = self._clock.callLater(self._timeout, self._time_is_up)
        if self._bookmarks:
            self._plan_bookmark()
        exchange.stream()
        self.pump()

    def pump(self) -> None:
        """Write what there is to tell, as long as the client reads."""
        exchange = self.exchange
        # Writing may call back into here through resumeProducing; the loop below goes on anyway.
        if self._pumping or self.trouble.silent:
            return
        self._pumping = True
        try:
            while not exchange.paused and not exchange.over:
                try:
                    lines = self.watch.take(BATCH)
                except ApiError as problem:
                    self._gone(problem)
                    return
                self._fresh = False
                if not lines:
                    return
                self._write(lines)
        finally:
            self._pumping = False

    def _gone(self, problem: ApiError) -> None:
        # A watch that starts too late is told so; one that has fallen behind is closed, and told when it returns.
        if self._fresh:
            self._write([error_line(problem)])
        self.exchange.finish()

    def _write(self, lines: list[Line]) -> None:
        if self.exchange.over:
            return
        data: list[bytes] = []
        for line in lines:
            data.append(self.trouble.pass_on(line))
            if self.trouble.broken:
                break
        self.exchange.write(b"".join(data))
        broken = self.trouble.broken
        if broken is None:
            return
        if broken.kind is FaultKind.STATUS:
            self._fail(broken)
        else:
            self.exchange.breaks(broken.kind)

    def _fail(self, fault: Fault) -> None:
        problem = ApiError(fault.code, fault.message, retry_after=fault.retry_after)
        self.exchange.write(error_line(problem).data)
        self.exchange.finish()

    def suffer(self, fault: Fault) -> None:
        """Let a fault strike this watch from here on."""
        kind = fault.kind
        if kind is FaultKind.STATUS and fault.after_lines is None:
            self._fail(fault)
        elif kind is FaultKind.HANG:
            self.trouble.silent = True
        elif kind in BREAKING and fault.after_bytes is None and fault.after_lines is None and not fault.mid_line:
            self.exchange.breaks(kind)
        else:
            self.trouble.add(fault)
            self.exchange.trouble(fault)

    def _plan_bookmark(self) -> None:
        # As the real server does, the last bookmark comes two seconds before the end.
        left = self._deadline - self._clock.seconds()
        wait = min(self._bookmark_interval, left - 2.0)
        if wait <= 0:
            wait = self._bookmark_interval
        if wait < left:
            self._calls["bookmark"] = self._clock.callLater(wait, self._bookmark)

    def _bookmark(self) -> None:
        del self._calls["bookmark"]
        self.pump()  # past what happened to other resources, of which nothing is told here
        line = self.watch.bookmark()
        if line is not None and not self.exchange.paused:
            self._write([line])
        if not self.exchange.over:
            self._plan_bookmark()

    def _time_is_up(self) -> None:
        del self._calls["end"]
        if not self.trouble.silent:
            self.exchange.finish()

    def _stop(self) -> None:
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
