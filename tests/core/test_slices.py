"""Long work in slices: how much of it runs in a turn, and how it ends."""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.slices import PORTION, in_portions, in_slices


class Turns(Clock):
    """A reactor of which a test runs one turn at a time."""

    def turn(self) -> None:
        """Make the calls that are due now; what they plan waits for the next turn."""
        due, self.calls = self.calls, []
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)


class SlicesTests(SynchronousTestCase):
    """Work whose steps take a millisecond each."""

    def setUp(self) -> None:
        self.clock = Turns()
        self.steps = 0
        self.closed = False
        self.done: Deferred[str] | None = None

    def work(self, steps: int, cancel_at: int = -1, fail_at: int = -1) -> Generator[None, None, str]:
        """So many steps."""
        try:
            for step in range(steps):
                self.clock.rightNow += 0.001
                self.steps += 1
                if step == fail_at:
                    raise ValueError("broken")
                if step == cancel_at:
                    assert self.done is not None
                    self.done.cancel()
                yield
        finally:
            self.closed = True
        return "whole"

    def test_short(self) -> None:
        """Work that fits into a slice is done at once, and its result is the generator's."""
        self.assertEqual(self.successResultOf(in_slices(self.clock, self.work(2), 0.005)), "whole")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long(self) -> None:
        """Each turn takes one slice, and one step more at most, until the end."""
        done = in_slices(self.clock, self.work(12), 0.0045)
        seen = [self.steps]
        while not done.called:
            self.assertNoResult(done)
            self.clock.turn()
            seen.append(self.steps)
        self.assertEqual(seen, [5, 10, 12])
        self.assertEqual(self.successResultOf(done), "whole")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_later(self) -> None:
        """Work that is not urgent begins in the next turn."""
        done = in_slices(self.clock, self.work(1), at_once=False)
        self.assertEqual(self.steps, 0)
        self.clock.turn()
        self.assertEqual(self.successResultOf(done), "whole")

    def test_failure(self) -> None:
        """What a step raises is the outcome."""
        done = in_slices(self.clock, self.work(12, fail_at=7), 0.0045)
        self.clock.turn()
        self.failureResultOf(done, ValueError)
        self.assertEqual((self.steps, self.clock.getDelayedCalls()), (8, []))

    def test_cancel(self) -> None:
        """Cancelling closes the generator, and nothing more runs."""
        done = in_slices(self.clock, self.work(12), 0.0045)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.steps, self.closed, self.clock.getDelayedCalls()), (5, True, []))

    def test_cancel_before_the_first(self) -> None:
        """Work can be cancelled before its first slice."""
        done = in_slices(self.clock, self.work(12), at_once=False)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual((self.steps, self.clock.getDelayedCalls()), (0, []))

    def test_cancelled_by_itself(self) -> None:
        """A step that cancels the work is the last one."""
        self.done = in_slices(self.clock, self.work(12, cancel_at=6), 0.0045)
        self.clock.turn()
        self.failureResultOf(self.done, CancelledError)
        self.assertEqual((self.steps, self.closed, self.clock.getDelayedCalls()), (7, True, []))


class PortionsTests(SynchronousTestCase):
    """Work that cannot be stopped."""

    def turns(self, seconds: float) -> list[int]:
        """How many steps of that length each turn has, when there are a hundred."""
        clock = Turns()
        done = [0]

        def work() -> Generator[None, None, None]:
            for _ in range(100):
                clock.rightNow += seconds
                done[-1] += 1
                yield

        in_portions(clock, work())
        while clock.calls:
            done.append(0)
            clock.turn()
        return done

    def test_short(self) -> None:
        """Short steps are taken a few dozen at a time."""
        self.assertEqual(self.turns(0.0), [PORTION] * 3 + [100 - 3 * PORTION])

    def test_long(self) -> None:
        """Of long steps a turn has as many as its time allows, and one at least."""
        self.assertEqual(self.turns(0.0015), [2] * 50 + [0])
        self.assertEqual(self.turns(0.003), [1] * 100 + [0])
