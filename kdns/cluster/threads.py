# -*- test-case-name: tests.cluster.test_threads -*-
"""
Blocking work in a thread that ends with it.

The reactor keeps the threads of its pool until the process ends. Reading files is rare, and a service that was stopped inside another
program should leave no thread behind, so nothing is saved by keeping one.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def in_thread(reactor: Any, work: Callable[[], T]) -> Deferred[T]:
    """
    Run *work* in a new thread, and fire with what it returned or raised.

    Cancelling does not end the work, which nothing can; its outcome is dropped then.
    """
    done: Deferred[T] = Deferred(lambda cancelled: None)

    def finish(outcome: T | Failure) -> None:
        if not done.called:
            done.callback(outcome)  # a Failure takes the way of errors

    def run() -> None:
        try:
            outcome: T | Failure = work()
        except BaseException:
            outcome = Failure()
        reactor.callFromThread(finish, outcome)

    Thread(target=run, name="kdns-blocking", daemon=True).start()
    return done
