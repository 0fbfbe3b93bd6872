# -*- test-case-name: tests.cluster.test_reflector -*-
"""An open watch that is being read, as something a coroutine can wait for."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kdns.cluster.api import OpenWatch
from kdns.cluster.bodies import LineStream
from kdns.cluster.lines import Overlong
from kdns.cluster.timing import Clock


class Following:
    """
    Reads a watch from its beginning on.

    :param work: is given each line; it may be exchanged while the watch runs.
    :ivar ended: whether the stream is over; *failure* is then why, None if in good order.
    """

    def __init__(
        self, opened: OpenWatch, clock: Clock, work: Callable[[bytes | Overlong], None], patience: float
    ) -> None:
        self.work = work
        self.began = clock.seconds()
        self.ended = False
        self.failure: BaseException | None = None
        self._opened = opened
        self._news: Deferred[None] | None = None
        self.stream = LineStream(clock, self._line, patience)
        self.stream.done.addBoth(self._end)

    def begin(self) -> None:
        """Begin to read; the first lines may be worked off before this returns."""
        self._opened.deliver(self.stream)

    def _line(self, line: bytes | Overlong) -> None:
        self.work(line)

    def _end(self, result: Failure | None) -> None:
        self.ended = True
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.failure = result.value
        self.notify()

    async def news(self) -> None:
        """Wait until :meth:`notify` is called or the stream is over."""
        if self.ended:
            return
        self._news = Deferred()
        try:
            await self._news
        finally:
            self._news = None

    def notify(self) -> None:
        """Wake who waits for :meth:`news`."""
        waiting, self._news = self._news, None
        if waiting is not None:
            waiting.callback(None)

    def close(self) -> None:
        """Stop reading and cut the connection."""
        if not self.ended:
            self.stream.done.cancel()
        self._opened.close()
