"""Counters, and the page that a scraper reads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import SIZE_BUCKETS, TIME_BUCKETS, Histogram, Registry


def samples(registry: Registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples as Prometheus's own parser reads them."""
    text = "\n".join(registry.lines()) + "\n"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class PageTests(SynchronousTestCase):
    """The text format."""

    def test_counters_and_gauges(self) -> None:
        """Those without labels are shown from the start, others with their first value."""
        registry = Registry()
        registry.counter("kdns_one_total", "One.")
        registry.counter("kdns_two_total", "Two.", ["server"])
        gauge = registry.gauge("kdns_three", "Three.", ["server", "zone"])
        self.assertEqual(samples(registry), {("kdns_one_total", ()): 0})
        registry.counter("kdns_two_total", "Two.", ["server"]).counter("dns://:53").inc(2.5)
        gauge.gauge("dns://:53", ".").set(-7)
        self.assertEqual(
            samples(registry),
            {
                ("kdns_one_total", ()): 0,
                ("kdns_two_total", (("server", "dns://:53"),)): 2.5,
                ("kdns_three", (("server", "dns://:53"), ("zone", "."))): -7,
            },
        )

    def test_gauge_that_is_asked(self) -> None:
        """A gauge may ask for its number when somebody looks."""
        registry, numbers = Registry(), iter((1.0, 2.0))
        registry.gauge("kdns_asked", "Asked.").gauge(read=lambda: next(numbers))
        self.assertEqual(samples(registry), {("kdns_asked", ()): 1})
        self.assertEqual(samples(registry), {("kdns_asked", ()): 2})

    def test_histogram(self) -> None:
        """Buckets are cumulative, a value on a bound belongs below it, and sum and count are right."""
        registry = Registry()
        cell = registry.histogram("kdns_sizes_bytes", "Sizes.", (1, 2.5), ["server"]).histogram("s")
        cell.observe(1)
        cell.observe(2, times=3)
        cell.observe(9)
        found = samples(registry)
        self.assertEqual(
            {dict(labels)["le"]: value for (name, labels), value in found.items() if name.endswith("_bucket")},
            {"1": 1, "2.5": 4, "+Inf": 5},
        )
        self.assertEqual(found[("kdns_sizes_bytes_sum", (("server", "s"),))], 16)
        self.assertEqual(found[("kdns_sizes_bytes_count", (("server", "s"),))], 5)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.text(max_size=30))
    def test_label_values(self, value: str) -> None:
        """Any text is a label value and comes back whole."""
        registry = Registry()
        registry.counter("kdns_one_total", "One.", ["label"]).counter(value).inc()
        line = list(registry.lines())[-1]
        if len(line.splitlines()) == 1:  # the parser splits at more line ends than the format knows
            self.assertEqual(samples(registry), {("kdns_one_total", (("label", value),)): 1})
        self.assertNotIn("\n", line)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_numbers(self, number: float) -> None:
        """Any number comes back whole."""
        registry = Registry()
        registry.gauge("kdns_number", "A number.").gauge().set(number)
        self.assertEqual(samples(registry), {("kdns_number", ()): number})

    def test_odd_numbers(self) -> None:
        """Infinity and what is no number are shown as the format writes them."""
        registry = Registry()
        family = registry.gauge("kdns_number", "A number.", ["which"])
        family.gauge("more").set(float("inf"))
        family.gauge("less").set(float("-inf"))
        family.gauge("none").set(float("nan"))
        found = {dict(labels)["which"]: value for (_, labels), value in samples(registry).items()}
        self.assertEqual((found["more"], found["less"]), (float("inf"), float("-inf")))
        self.assertNotEqual(found["none"], found["none"])

    def test_families_are_shared(self) -> None:
        """Asking a second time gives the same family; another kind or other labels are a mistake."""
        registry = Registry()
        family = registry.counter("kdns_one_total", "One.", ["server"])
        self.assertIs(registry.counter("kdns_one_total", "One.", ["server"]), family)
        self.assertRaises(ValueError, registry.gauge, "kdns_one_total", "One.", ["server"])
        self.assertRaises(ValueError, registry.counter, "kdns_one_total", "One.", ["zone"])
        self.assertRaises(ValueError, family.counter, "a", "b")

    def test_forget(self) -> None:
        """A cell can be taken back."""
        registry = Registry()
        family = registry.counter("kdns_one_total", "One.", ["server"])
        family.counter("a").inc()
        family.forget("a")
        self.assertEqual(samples(registry), {})


class BoundsTests(SynchronousTestCase):
    """The bounds that dashboards know."""

    def test_time(self) -> None:
        """0.25 ms to 8.192 s, each twice the one before."""
        self.assertEqual((TIME_BUCKETS[0], TIME_BUCKETS[-1], len(TIME_BUCKETS)), (0.00025, 8.192, 16))

    def test_sizes(self) -> None:
        """A reply of 512 octets is above 511."""
        histogram = Histogram(SIZE_BUCKETS)
        histogram.observe(512)
        self.assertEqual(histogram.counts.index(1), SIZE_BUCKETS.index(1023))

    def test_charges_are_bounded(self) -> None:
        """A histogram does not keep a charge for every value for ever."""
        histogram = Histogram((1,))
        for number in range(10_000):
            histogram.again(float(number)).charge(1)
        self.assertLessEqual(len(histogram._charges), 4097)
        self.assertEqual(sum(histogram.counts), 10_000)
