"""Tests of :mod:`kdns.plugins.prometheus.families`: names, types, labels and buckets are those that dashboards know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.metrics import Family, Registry
from kdns.plugin.line_budget import held_lines
from kdns.plugins.health import HealthMetrics
from kdns.plugins.prometheus.families import DnsFamilies, declare, enabled_plugins
from kdns.server.output import LineWriter

ROOT = Path(__file__).parent.parent.parent.parent


@dataclass(frozen=True)
class Golden:
    """A row of the golden list."""

    name: str
    kind: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    at_start: bool


def golden() -> dict[str, Golden]:
    """The rows by name, those of Go's runtime left out."""
    rows = {}
    for line in (ROOT / "tests" / "conformance" / "cases" / "metrics.txt").read_text().splitlines():
        if not line or line.startswith(("#", "go_")):
            continue
        name, kind, *rest = line.removesuffix(" *").split()
        values = dict(item.split("=", 1) for item in rest)
        labels = () if values["labels"] == "-" else tuple(values["labels"].split(","))
        bounds = tuple(float(bound) for bound in values.get("buckets", "+Inf").split(",")[:-1])
        rows[name] = Golden(name, kind, labels, bounds, line.endswith(" *"))
    return rows


def all_families() -> dict[str, Family]:
    """What this plugin declares."""
    registry = Registry()
    declare(registry)
    DnsFamilies(registry)
    enabled_plugins(registry)
    return {family.name: family for family in registry.families()}


def documented(page: str) -> dict[str, tuple[str, ...]]:
    """Labels by metric, from the table of a plugin's page."""
    text = (ROOT / "docs" / "plugins" / page).read_text()
    rows = re.findall(r"^\| `(\w+)(?:\{([\w, ]+)\})?` \|", text, re.MULTILINE)
    return {name: tuple(label.strip() for label in labels.split(",")) if labels else () for name, labels in rows}


class GoldenTests(SynchronousTestCase):
    """Against the golden list."""

    def test_known_names(self) -> None:
        """Type, labels and buckets of every metric that CoreDNS has are CoreDNS's."""
        rows, compared = golden(), 0
        for name, family in all_families().items():
            if not name.startswith("coredns_"):
                continue
            row = rows[name]
            self.assertEqual((family.kind, tuple(sorted(family.labels))), (row.kind, row.labels), name)
            self.assertEqual(family.bounds, row.bounds, name)
            compared += 1
        self.assertGreaterEqual(compared, 16)

    def test_shown_from_the_start(self) -> None:
        """Every metric without labels that CoreDNS shows before the first query is shown here too."""
        registry = Registry()
        declare(registry)
        shown = {family.name for family in registry.families() if family.cells}
        wanted = {row.name for row in golden().values() if row.at_start and not row.labels}
        self.assertEqual({name for name in wanted if not name.startswith("process_")} - shown, set())

    def test_build_info(self) -> None:
        """The gauge tells version and language."""
        registry = Registry()
        declare(registry)
        (line,) = (line for line in registry.lines() if line.startswith("coredns_build_info{"))
        self.assertRegex(line, r'^coredns_build_info\{version="[^"]+",revision="",goversion="python3\.[0-9.]+\S*"\} 1$')


class PageTests(SynchronousTestCase):
    """Against the plugins' pages."""

    def test_prometheus(self) -> None:
        """The page has a row for each metric of the plugin, with its labels."""
        rows = documented("prometheus.md")
        families = all_families()
        own = {"coredns_build_info", "coredns_panics_total", "coredns_plugin_enabled", "kdns_reactor_lag_seconds"}
        own |= {name for name in families if name.startswith("coredns_dns_")}
        self.assertEqual({name: rows.get(name) for name in own}, {name: families[name].labels for name in own})
        self.assertEqual({name for name in rows if name.startswith(("coredns_", "kdns_"))} - own, set())

    def test_health(self) -> None:
        """So has the one of health."""
        registry = Registry()
        HealthMetrics(registry)
        self.assertEqual(documented("health.md"), {family.name: family.labels for family in registry.families()})

    def test_log(self) -> None:
        """And the one of log; errors shares one of them."""
        registry = Registry()
        LineWriter(1, registry)
        held_lines(registry, "log", "sample")
        found = {family.name: family.labels for family in registry.families()}
        self.assertEqual(documented("log.md"), found)
        self.assertEqual(documented("errors.md").items() - found.items(), set())
