# -*- test-case-name: tests.plugins.etcd.test_fake -*-
"""The etcd for tests answers as a real one does; :mod:`tests.integration.test_etcd` runs the same checks on that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.timing import pause
from kdns.plugins.stores.rest import RestClient
from kdns.testing.memory import MemoryReactor
from tests.plugins.etcd.checks import check_lease, check_probe, check_range, check_watch
from tests.plugins.etcd.fake import FakeEtcd

PREFIX = b"/skydns/"


class _Changed:
    """The face of the checks."""

    def __init__(self, etcd: FakeEtcd, url: str) -> None:
        self._etcd = etcd
        self.url = url

    async def put(self, key: str, value: str, lease: int = 0) -> None:
        self._etcd.put(key, value, lease)

    async def delete(self, key: str) -> None:
        self._etcd.delete(key)

    async def grant(self, seconds: int) -> int:
        return self._etcd.grant(seconds)

    async def compact(self) -> None:
        self._etcd.compact()


class FakeTests(SynchronousTestCase):
    """tests.plugins.etcd.fake."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.etcd = FakeEtcd(self.reactor)
        self.changed = _Changed(self.etcd, self.etcd.start())
        self.client = RestClient(self.reactor)

    def run_check(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a check to its end; nothing is left behind."""
        done = Deferred.fromCoroutine(work)
        results: list[Any] = []
        done.addBoth(results.append)
        for _ in range(200):
            if results:
                break
            self.reactor.advance(0.1)
        self.client.stop()
        self.etcd.end()
        self.reactor.advance(30)
        self.assertEqual(self.reactor.leftovers(), [])
        self.assertEqual(results, [None])

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        for _ in range(100):
            if true():
                return
            await pause(self.reactor, 0.05)
        raise AssertionError("it does not come about")

    def test_range(self) -> None:
        """See the check."""
        self.run_check(check_range(self.client, self.changed, PREFIX))

    def test_probe(self) -> None:
        """See the check."""
        self.run_check(check_probe(self.client, self.changed, PREFIX))

    def test_watch(self) -> None:
        """See the check."""
        until: Callable[[Callable[[], bool]], Awaitable[None]] = self.until
        self.run_check(check_watch(self.client, self.changed, PREFIX, until))

    def test_lease(self) -> None:
        """See the check."""
        self.run_check(check_lease(self.client, self.changed))
