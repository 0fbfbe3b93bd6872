# -*- test-case-name: tests.cluster.test_threads -*-
"""Work in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.threads import in_thread


class FakeReactor:
    """Keeps what threads ask for until the test runs it, in the test's own thread."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Keep it."""
        self.calls.put((call, arguments))

    def turn(self) -> None:
        """Wait for one call, and run it."""
        call, arguments = self.calls.get(timeout=10)
        call(*arguments)


class InThreadTests(SynchronousTestCase):
    """What blocks runs elsewhere; its outcome comes back."""

    def test_result(self) -> None:
        """The work runs in another thread, its result comes in the reactor's, and then the thread is gone."""
        reactor = FakeReactor()
        before = threading.active_count()
        done = in_thread(reactor, threading.current_thread)
        reactor.turn()
        thread = self.successResultOf(done)
        self.assertIsNot(thread, threading.current_thread())
        thread.join(10)
        self.assertEqual(threading.active_count(), before)

    def test_failure(self) -> None:
        """What the work raises is the Deferred's failure."""
        reactor = FakeReactor()
        done = in_thread(reactor, lambda: 1 // 0)
        reactor.turn()
        self.failureResultOf(done, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """After a cancellation nobody hears of the outcome."""
        reactor = FakeReactor()
        done = in_thread(reactor, lambda: 1)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        reactor.turn()
