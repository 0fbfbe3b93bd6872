"""
One suite, two networks: the memory network and the loopback of this machine.

A test of a verified fake is a coroutine in a mixin, marked with :func:`verified`. It uses ``self.reactor`` and waits with ``await``;
:class:`OnMemory` moves the time until it is done, :class:`OnLoopback` lets the real reactor do that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kdns.testing.memory import MemoryReactor

Work = Coroutine[Deferred[Any], Any, None]


def verified(test: Callable[[Any], Work]) -> Callable[[Any], object]:
    """Make a test of the coroutine function *test*, which its class drives."""

    @functools.wraps(test)
    def run(self: Any) -> object:
        return self.drive(test(self))

    return run


class OnMemory(SynchronousTestCase):
    """Drive a coroutine by moving the time of a :class:`MemoryReactor`."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()

    def drive(self, work: Work) -> None:
        """Run *work* to its end, within a minute of the reactor's time; it must leave nothing behind."""
        done = Deferred.fromCoroutine(work)
        for _ in range(600):
            if done.called:
                break
            self.reactor.advance(0.1)
        self.successResultOf(done)
        self.reactor.settle()
        self.assertEqual(self.reactor.leftovers(), [])


class OnLoopback(TestCase):
    """Drive a coroutine by the real reactor; trial looks for what is left behind."""

    timeout: ClassVar[float] = 20.0

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor

    def drive(self, work: Work) -> Deferred[None]:
        """Let trial wait for *work*."""
        return Deferred.fromCoroutine(work)


async def until(reactor: Any, condition: Callable[[], object]) -> None:
    """Wait until *condition* holds; the caller's driver sets the limit."""
    while not condition():
        await deferLater(reactor, 0.001)
