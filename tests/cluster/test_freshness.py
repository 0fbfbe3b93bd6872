"""Tests of what is told of the age of the data, and of how often it is told."""

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.freshness import Complaints, Freshness, FreshnessMetrics, grouped
from kdns.core.metrics import Registry


class FreshnessTests(SynchronousTestCase):
    """One watch."""

    def test_ages(self) -> None:
        """There are none as long as nothing came."""
        watch = Freshness("services")
        self.assertEqual((watch.event_age(130.0), watch.sync_age(130.0)), (None, None))
        watch.last_event, watch.last_sync = 128.0, 110.0
        self.assertEqual((watch.event_age(130.0), watch.sync_age(130.0)), (2.0, 20.0))

    def test_why_not_ready(self) -> None:
        """The best reason that is known."""
        watch = Freshness("services")
        self.assertEqual(watch.why_not_ready(), "no answer of the API server yet")
        watch.entered = 7
        self.assertEqual(watch.why_not_ready(), "7 objects so far")
        watch.problem = "forbidden"
        self.assertEqual(watch.why_not_ready(), "forbidden")
        watch.last_sync = 1.0
        self.assertEqual(watch.why_not_ready(), "")

    def test_grouped(self) -> None:
        """What is the same for several resources is said once."""
        self.assertEqual(grouped([("a", "down"), ("b", ""), ("c", "slow"), ("d", "down")]), "a, d: down; c: slow")
        self.assertEqual(grouped([("a", "")]), "")

    def test_metrics(self) -> None:
        """Ages are those of the moment of the scrape, and go with the watch."""
        now = [100.0]
        registry = Registry()
        metrics = FreshnessMetrics(registry, lambda: now[0])
        watch = Freshness("services")
        metrics.show(watch)
        for age in ("event", "sync"):
            wanted = f'kdns_kubernetes_last_{age}_age_seconds{{resource="services"}} +Inf'
            self.assertIn(wanted, list(registry.lines()))
        self.assertIn('kdns_kubernetes_synced{resource="services"} 0', list(registry.lines()))
        watch.last_event = 90.0
        now[0] = watch.last_sync = 105.0
        self.assertIn('kdns_kubernetes_last_event_age_seconds{resource="services"} 15', list(registry.lines()))
        self.assertIn('kdns_kubernetes_synced{resource="services"} 1', list(registry.lines()))
        metrics.hide(watch)
        self.assertFalse([line for line in registry.lines() if "age_seconds{" in line or "synced{" in line])
        self.assertIn('kdns_kubernetes_bad_objects_total{resource="services"} 0', list(registry.lines()))


class ComplaintsTests(SynchronousTestCase):
    """Log lines that do not flood."""

    def test_summed_up(self) -> None:
        """A complaint is said at once, then once a minute with the number of those left out."""
        complaints = Complaints()
        said = [complaints.hear("no route", float(now)) for now in range(0, 121, 10)]
        self.assertEqual([text for text in said if text], ["no route", *["no route (5 times more since)"] * 2])

    def test_another(self) -> None:
        """Another complaint is said at once, and so is the same one after it had worked."""
        complaints = Complaints()
        self.assertEqual([complaints.hear(text, 0.0) for text in ("a", "b", "b")], ["a", "b", ""])
        complaints.forget()
        self.assertEqual(complaints.hear("b", 1.0), "b")
