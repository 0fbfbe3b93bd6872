"""Tests of :mod:`kdns.plugins.forward.policy`, and of the words of failures."""

from __future__ import annotations

from itertools import product
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.forward.failures import dial_error, reason
from kdns.plugins.forward.policy import (
    MOVES,
    AttemptPlan,
    DialTime,
    Event,
    Health,
    Order,
    Policy,
    UpstreamHealth,
)


class HealthTests(SynchronousTestCase):
    """The machine of one upstream."""

    def reach(self, state: Health) -> UpstreamHealth:
        """A health in that state."""
        health = UpstreamHealth(max_fails=2, interval=0.5)
        if state is Health.WITHDRAWN:
            health.withdraw()
        elif state is not Health.HEALTHY:
            health.failed(0.0)
            for now in range(3 if state is Health.DOWN else 0):
                health.check_failed(float(now))
        self.assertIs(health.state, state)
        return health

    def happen(self, health: UpstreamHealth, event: Event) -> None:
        """Let it happen, by the call that stands for it."""
        match event:
            case Event.QUERY_FAILED:
                health.failed(10.0)
            case Event.CHECK_FAILED:
                health.fails = 0
                health.check_failed(10.0)
            case Event.CHECKS_EXHAUSTED:
                health.fails = 2
                health.check_failed(10.0)
            case Event.CHECK_PASSED:
                health.check_passed()
            case Event.WITHDRAWN:
                health.withdraw()
            case Event.RESTORED:
                health.restore()

    def test_every_arrow_and_every_missing_one(self) -> None:
        """What is in the table happens, all else is an error of the caller."""
        for state, event in product(Health, Event):
            health = self.reach(state)
            if (state, event) in MOVES:
                self.happen(health, event)
                self.assertIs(health.state, MOVES[state, event], (state, event))
            else:
                self.assertRaises(KeyError, self.happen, health, event)

    def test_checks(self) -> None:
        """The first check is due at once, the next an interval after a failed one, none after success."""
        health = UpstreamHealth(2, 0.5)
        self.assertIsNone(health.next_deadline())
        health.failed(7.0)
        self.assertEqual(health.next_deadline(), 7.0)
        health.check_begun()
        health.failed(7.5)
        self.assertIsNone(health.next_deadline())
        health.check_failed(8.0)
        self.assertEqual(health.next_deadline(), 8.5)
        health.check_passed()
        self.assertEqual((health.next_deadline(), health.fails), (None, 0))

    def test_greater_than_max_fails(self) -> None:
        """With N allowed, the check number N + 1 is the end."""
        for most in (1, 2, 5):
            health = UpstreamHealth(most, 0.5)
            health.failed(0.0)
            for _ in range(most):
                health.check_failed(0.0)
                self.assertTrue(health.usable)
            health.check_failed(0.0)
            self.assertFalse(health.usable)


class PlanTests(SynchronousTestCase):
    """Whom to ask next."""

    def plan(self, order: str, down: str = "", **options: int) -> AttemptPlan[str]:
        """A plan for upstreams that are letters."""
        return AttemptPlan(list(order), lambda one: one not in down, Random(1), 0.0, **options)  # type: ignore[arg-type]  # failfast is a bool

    def test_wraps(self) -> None:
        """The order is gone through again and again, until the attempts are used up."""
        plan = self.plan("abc", most=5)
        self.assertEqual([plan.next(0.0) for _ in range(6)], ["a", "b", "c", "a", "b", None])

    def test_time(self) -> None:
        """No attempt begins five seconds after the query."""
        plan = self.plan("a")
        self.assertEqual((plan.next(4.99), plan.next(5.0)), ("a", None))

    def test_down(self) -> None:
        """Those that are down are passed over."""
        plan = self.plan("abc", "ac", most=3)
        self.assertEqual([plan.next(0.0) for _ in range(4)], ["b", "b", "b", None])

    def test_all_down(self) -> None:
        """One of them is drawn, once; with failfast none."""
        plan = self.plan("ab", "ab")
        self.assertIn(plan.next(0.0), ("a", "b"))
        self.assertTrue(plan.broken)
        self.assertIsNone(plan.next(0.0))
        self.assertIsNone(self.plan("ab", "ab", failfast=True).next(0.0))

    def test_replied(self) -> None:
        """One whose reply was not wanted is not asked again; when none is left it is no fault of the checks."""
        plan = self.plan("abc", "b")
        self.assertEqual(plan.next(0.0), "a")
        plan.replied("a")
        self.assertEqual(plan.next(0.0), "c")
        plan.replied("c")
        self.assertIsNone(plan.next(0.0))
        self.assertFalse(plan.broken)

    def test_nobody(self) -> None:
        """Without upstreams there is nobody to ask."""
        self.assertIsNone(self.plan("").next(0.0))


class PolicyTests(SynchronousTestCase):
    """In which order."""

    def test_orders(self) -> None:
        """Each policy gives every upstream once."""
        for policy in Policy:
            order = Order(policy, Random(1))
            for _ in range(5):
                self.assertEqual(sorted(order.next("abcd")), list("abcd"))

    def test_round_robin(self) -> None:
        """The start advances, the rest follows."""
        order = Order(Policy.ROUND_ROBIN, Random(1))
        self.assertEqual(["".join(order.next("abc")) for _ in range(4)], ["abc", "bca", "cab", "abc"])

    def test_random_spreads(self) -> None:
        """Every upstream is the first one some time."""
        order = Order(Policy.RANDOM, Random(1))
        self.assertEqual({order.next("abc")[0] for _ in range(40)}, set("abc"))


class DialTests(SynchronousTestCase):
    """How long connecting may take."""

    def test_average(self) -> None:
        """Twice the moving average, a new value counting a quarter, between 1 and 2.4 seconds."""
        time = DialTime()
        self.assertEqual(time.limit, 2.4)
        time.took(1.0)
        self.assertEqual((time.average, time.limit), (11.5, 2.4))
        for _ in range(40):
            time.took(0.001)
        self.assertEqual(time.limit, 1.0)


class TextTests(SynchronousTestCase):
    """How failures are worded."""

    def test_blame(self) -> None:
        """A lack of descriptors is nobody's fault but ours."""
        self.assertFalse(dial_error("udp", "10.0.0.1:53", 24).blame)
        self.assertTrue(dial_error("udp", "10.0.0.1:53", 111).blame)
        self.assertEqual(reason(111), "connection refused")
