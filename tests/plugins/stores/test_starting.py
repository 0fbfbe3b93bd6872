# -*- test-case-name: tests.plugins.stores.test_starting -*-
"""How long a start waits for a store."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.stores.starting import START_PATIENCE, StartWait


class StartWaitTests(SynchronousTestCase):
    """kdns.plugins.stores.starting."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wait = StartWait(self.clock)
        self.waiting = self.wait.begin()

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended(self) -> None:
        """The start goes on in the turn after, once."""
        self.wait.end()
        self.assertNoResult(self.waiting)
        self.assertTrue(self.wait.waits)
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(self.waiting))
        self.wait.end()
        self.assertFalse(self.wait.waits)

    def test_patience(self) -> None:
        """It goes on without the store after some seconds."""
        self.clock.advance(START_PATIENCE)
        self.successResultOf(self.waiting)

    def test_stopped(self) -> None:
        """A store that stops lets the start go on."""
        self.wait.end()
        self.wait.stop()
        self.successResultOf(self.waiting)

    def test_given_up(self) -> None:
        """A start that is given up leaves nothing."""
        self.waiting.addErrback(lambda failure: None)
        self.waiting.cancel()
        self.assertFalse(self.wait.waits)
