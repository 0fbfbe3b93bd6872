# -*- test-case-name: tests.core.test_metrics -*-
"""
Counters, gauges and histograms, and their page in the text format of Prometheus.

prometheus_client is not used: its counter costs 0.6 to 2.6 microseconds where an addition costs 0.2, and its page of 2,000 series takes
74 ms in one turn of the reactor.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from math import isfinite, isinf, isnan

from msgspec import Struct

TIME_BUCKETS = tuple(0.00025 * 2**n for n in range(16))
"""Upper bounds in seconds: 0.00025 to 8.192, each twice the one before."""

SIZE_BUCKETS = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
"""Upper bounds in bytes of a message."""


class Counter:
    """A number that grows; it is a :class:`~kdns.core.tally.Charge`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, by: float = 1) -> None:
        """Count *by* more."""
        self.value += by

    def charge(self, times: int) -> None:
        """Count *times* more."""
        self.value += times


class Gauge(Counter):
    """A number that goes up and down. With *read*, that function gives the number when it is scraped."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.read = read

    def set(self, value: float) -> None:
        """The number is now *value*."""
        self.value = value


class Histogram:
    """Counts of observations by upper bound, and the sum of their values."""

    __slots__ = ("_charges", "bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum: float = 0.0
        self._charges: dict[float, ObservedAgain] = {}

    def observe(self, value: float, times: int = 1) -> None:
        """Count *times* observations of *value*."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def again(self, value: float) -> ObservedAgain:
        """A charge that observes *value*; the same object for the same value, so that tallies are shared."""
        charge = self._charges.get(value)
        if charge is None:
            if len(self._charges) > 4096:
                self._charges.clear()
            charge = self._charges[value] = ObservedAgain(self, value)
        return charge


class ObservedAgain:
    """A charge that observes one value in one histogram."""

    __slots__ = ("_histogram", "_value")

    def __init__(self, histogram: Histogram, value: float) -> None:
        self._histogram = histogram
        self._value = value

    def charge(self, times: int) -> None:
        """Observe the value *times* times."""
        self._histogram.observe(self._value, times)


class CellReport(Struct, frozen=True, array_like=True):
    """The value of a cell at one moment."""

    labels: tuple[str, ...]
    value: float
    """Of a counter or gauge, or the sum of a histogram."""

    counts: list[int] = []
    """Of a histogram."""


class FamilyReport(Struct, frozen=True, array_like=True):
    """A metric at one moment, for another process."""

    name: str
    text: str
    kind: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    greatest: bool
    cells: list[CellReport]


class Family:
    """
    One metric: a cell for each combination of label values, made at its first use.

    :ivar greatest: whether the greatest value of all worker processes is shown in place of their sum.
    """

    greatest = False

    def __init__(self, name: str, text: str, kind: str, labels: Sequence[str], bounds: Sequence[float] = ()) -> None:
        self.name = name
        self.text = text
        self.kind = kind
        self.labels = tuple(labels)
        self.bounds = tuple(bounds)
        self.cells: dict[tuple[str, ...], Counter | Histogram] = {}

    def counter(self, *values: str) -> Counter:
        """The counter or gauge with these label values."""
        cell = self.cells.get(values)
        if cell is None:
            self._check(values)
            cell = self.cells[values] = Gauge() if self.kind == "gauge" else Counter()
        assert isinstance(cell, Counter)
        return cell

    def gauge(self, *values: str, read: Callable[[], float] | None = None) -> Gauge:
        """The gauge with these label values; *read* replaces its function."""
        cell = self.counter(*values)
        assert isinstance(cell, Gauge)
        if read is not None:
            cell.read = read
        return cell

    def read_from(self, *values: str, read: Callable[[], float]) -> None:
        """Show a number that is kept elsewhere: *read* gives it when it is scraped."""
        self._check(values)
        self.cells[values] = Gauge(read)

    def histogram(self, *values: str) -> Histogram:
        """The histogram with these label values."""
        cell = self.cells.get(values)
        if cell is None:
            self._check(values)
            cell = self.cells[values] = Histogram(self.bounds)
        assert isinstance(cell, Histogram)
        return cell

    def forget(self, *values: str) -> None:
        """Drop the cell with these label values."""
        self.cells.pop(values, None)

    def report(self) -> FamilyReport:
        """The metric at this moment."""
        cells = []
        for values, cell in list(self.cells.items()):
            if isinstance(cell, Histogram):
                cells.append(CellReport(values, cell.sum, list(cell.counts)))
            else:
                value = cell.read() if isinstance(cell, Gauge) and cell.read is not None else cell.value
                cells.append(CellReport(values, value))
        return FamilyReport(self.name, self.text, self.kind, self.labels, self.bounds, self.greatest, cells)

    def include(self, report: FamilyReport, extra: tuple[str, ...] = ()) -> None:
        """Add the cells of a report, with *extra* label values behind its own."""
        for one in report.cells:
            values = one.labels + extra
            if self.kind == "histogram":
                histogram = self.histogram(*values)
                histogram.counts = [mine + more for mine, more in zip(histogram.counts, one.counts, strict=True)]
                histogram.sum += one.value
            else:
                known = values in self.cells
                cell = self.counter(*values)
                cell.value = max(cell.value, one.value) if known and self.greatest else cell.value + one.value

    def _check(self, values: tuple[str, ...]) -> None:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has labels {self.labels}, not {values}")

    def lines(self) -> Iterator[str]:
        """The metric in the text format of Prometheus, line by line, without line ends."""
        yield f"# HELP {self.name} {self.text}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, cell in list(self.cells.items()):
            pairs = [f'{label}="{_escaped(value)}"' for label, value in zip(self.labels, values, strict=True)]
            if isinstance(cell, Histogram):
                yield from self._histogram_lines(pairs, cell)
            else:
                value = cell.read() if isinstance(cell, Gauge) and cell.read is not None else cell.value
                yield f"{self.name}{_braced(pairs)} {_number(value)}"

    def _histogram_lines(self, pairs: list[str], cell: Histogram) -> Iterator[str]:
        total = 0
        for bound, count in zip((*cell.bounds, float("inf")), cell.counts, strict=True):
            total += count
            le = 'le="+Inf"' if isinf(bound) else f'le="{_number(bound)}"'
            yield f"{self.name}_bucket{_braced([*pairs, le])} {total}"
        yield f"{self.name}_sum{_braced(pairs)} {_number(cell.sum)}"
        yield f"{self.name}_count{_braced(pairs)} {total}"


class Registry:
    """The metrics of a process. A metric that is declared twice is the same object."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Family:
        """Declare a counter; without labels it is on the page from the start."""
        return self._family(name, text, "counter", labels, ())

    def gauge(self, name: str, text: str, labels: Sequence[str] = (), *, greatest: bool = False) -> Family:
        """
        Declare a gauge; without labels it is on the page from the start.

        :param greatest: for shares, times and settings, which several worker processes do not add up: the greatest is shown.
        """
        family = self._family(name, text, "gauge", labels, ())
        family.greatest = family.greatest or greatest
        return family

    def histogram(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Family:
        """Declare a histogram with upper *bounds*; without labels it is on the page from the start."""
        return self._family(name, text, "histogram", labels, bounds)

    def _family(self, name: str, text: str, kind: str, labels: Sequence[str], bounds: Sequence[float]) -> Family:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(name, text, kind, labels, bounds)
            if not labels:
                family.histogram() if kind == "histogram" else family.counter()
        elif (family.kind, family.labels) != (kind, tuple(labels)):
            raise ValueError(f"{name} is already a {family.kind} with labels {family.labels}")
        return family

    def include(self, report: FamilyReport, labels: Sequence[str] = (), values: tuple[str, ...] = ()) -> None:
        """
        Add the metric of another process.

        :param labels: further labels of each cell, with these *values*.
        """
        family = self._families.get(report.name)
        if family is None:
            family = Family(report.name, report.text, report.kind, (*report.labels, *labels), report.bounds)
            family.greatest = report.greatest
            self._families[report.name] = family
        family.include(report, values)

    def families(self) -> list[Family]:
        """All metrics, sorted by name."""
        return [self._families[name] for name in sorted(self._families)]

    def lines(self) -> Iterator[str]:
        """All metrics that have cells, in the text format of Prometheus."""
        for family in self.families():
            if family.cells:
                yield from family.lines()


def _number(value: float) -> str:
    if not isfinite(value):
        return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braced(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""
