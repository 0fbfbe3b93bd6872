# -*- test-case-name: tests.deployment.test_monitoring -*-
"""The dashboard and the alerts ask for metrics and labels that a kdns with the default Corefile has, in words that Prometheus reads."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance import test_metrics
from tests.deployment.objects import BASE, as_written, one
from tests.integration.programs import ROOT

MONITORING = ROOT / "conf" / "monitoring"
PROMTOOL = shutil.which("promtool")

OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""

AFTER_TROUBLE = {
    "coredns_proxy_healthcheck_failures_total": {"proxy_name", "to"},
    "kdns_kubernetes_watch_errors_total": {"resource", "cause"},
    "kdns_loop_detected": {"zone", "to"},
}
"""What is shown only when something went wrong, with its labels, as the plugins' pages have them."""

OF_REAL_SOCKETS = {"kdns_udp_send_errors_total": set[str]()}
"""What a server in memory does not show."""


def dashboard() -> Any:
    """The dashboard as Grafana reads it."""
    return json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard and of the alerts, with where it stands."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
            yield f"panel {panel['title']}", text
    for rule in rules():
        yield f"alert {rule['alert']}", rule["expr"]


def rules() -> list[Any]:
    """The alerts."""
    (group,) = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    found: list[Any] = group["rules"]
    return found


def asked(node: Any, labels: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """
    The metrics that a parsed expression selects, each with the labels that it must have.

    :param labels: those that the expressions around this one group by.
    """
    import promql_parser as promql

    match node:
        case promql.VectorSelector():
            named = {matcher.name for matcher in node.matchers.matchers}
            yield node.name or "", labels | named
        case promql.MatrixSelector():
            yield from asked(node.vector_selector, labels)
        case promql.AggregateExpr():
            by = node.modifier.labels if node.modifier is not None else []
            yield from asked(node.expr, labels | frozenset(by))
        case promql.Call():
            for argument in node.args:
                yield from asked(argument, labels)
        case promql.BinaryExpr():
            yield from asked(node.lhs, labels)
            yield from asked(node.rhs, labels)
        case promql.ParenExpr() | promql.UnaryExpr():
            yield from asked(node.expr, labels)
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case _:
            raise AssertionError(f"no expression of the kind {type(node).__name__} has been used yet")


class ExpressionTests(SynchronousTestCase):
    """What the expressions ask for is there."""

    def test_names_and_labels(self) -> None:
        """Every metric is in a live scrape of a kdns with the default Corefile, with every label that is asked for."""
        try:
            import promql_parser
        except ImportError:
            raise SkipTest("promql-parser is not installed") from None
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        page = test_metrics.live_page(folder)
        there: dict[str, set[str]] = {name: set(labels) for name, labels in (AFTER_TROUBLE | OF_REAL_SOCKETS).items()}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                there.setdefault(sample.name, set()).update(sample.labels)
        wrong = []
        for where, text in expressions():
            for name, labels in asked(promql_parser.parse(text)):
                if name not in there:
                    wrong.append(f"{where}: no {name}")
                elif missing := labels - there[name] - OF_PROMETHEUS:
                    wrong.append(f"{where}: {name} has no {', '.join(sorted(missing))}")
        self.assertEqual(wrong, [])

    def test_documented(self) -> None:
        """What only trouble shows is on the plugins' pages with the same labels."""
        pages = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "plugins").glob("*.md"))
        for name, labels in AFTER_TROUBLE.items():
            found = re.search(rf"`{name}\{{([\w,]+)\}}`", pages)
            self.assertEqual(set(found[1].split(",")) if found else None, labels, name)

    def test_finds_what_is_wrong(self) -> None:
        """Names and labels are found in the depth of an expression."""
        try:
            import promql_parser
        except ImportError:
            raise SkipTest("promql-parser is not installed") from None
        parsed = promql_parser.parse(
            'histogram_quantile(0.9, sum by (le, x) (rate(a_bucket{y="1"}[5m]))) > -b / on (z) (c)'
        )
        found = list(asked(parsed))
        self.assertEqual(found, [("a_bucket", {"le", "x", "y"}), ("b", set()), ("c", set())])


class DashboardTests(SynchronousTestCase):
    """The dashboard's shape."""

    def test_written(self) -> None:
        """The JSON is what dashboard.py writes."""
        spec = importlib.util.spec_from_file_location("dashboard", MONITORING / "dashboard.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        import sys

        sys.modules["dashboard"] = module  # where dataclasses look themselves up
        self.addCleanup(sys.modules.pop, "dashboard")
        spec.loader.exec_module(module)
        self.assertEqual(dashboard(), module.dashboard())

    def test_places(self) -> None:
        """No panel covers another, and none is wider than the page."""
        taken: set[tuple[int, int]] = set()
        for panel in dashboard()["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertTrue(all(x < 24 for x, _ in cells), panel["title"])
            taken |= cells

    def test_legends(self) -> None:
        """A legend names only labels that its expression keeps, and tells lines of one panel apart."""
        for panel in dashboard()["panels"]:
            legends = [target["legendFormat"] for target in panel.get("targets", ())]
            self.assertEqual(len(legends), len(set(legends)), panel["title"])
            for target in panel.get("targets", ()):
                named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                grouped = re.search(r"by \(([\w, ]+)\)", target["expr"])
                if grouped:
                    self.assertLessEqual(named, set(grouped[1].split(", ")), target["expr"])


class RuleTests(SynchronousTestCase):
    """The alerts."""

    def test_operator(self) -> None:
        """The object for the Prometheus operator has the same rules."""
        found = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))
        plain = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))
        self.assertEqual((found["kind"], found["spec"]), ("PrometheusRule", plain))

    def test_explained(self) -> None:
        """docs/operations.md says of each alert what to do."""
        text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        explained = re.findall(r"^\| `(Kdns\w+)` \|", text, re.MULTILINE)
        self.assertEqual(explained, [rule["alert"] for rule in rules()])

    def test_fire(self) -> None:
        """Each alert fires when it should, and none while all is well."""
        if PROMTOOL is None:
            raise SkipTest("promtool is not on PATH")
        firing = [{"labels": f'{{alertname="{rule["alert"]}"}}', "value": 1} for rule in rules()]
        text = (Path(__file__).with_name("rules_test.yaml")).read_text(encoding="utf-8")
        tests = text.replace("[RULES]", json.dumps([str(MONITORING / "rules.yaml")])).replace(
            "FIRING", json.dumps(firing)
        )
        file = Path(self.mktemp()).absolute()
        file.write_text(tests)
        for command in (["check", "rules", str(MONITORING / "rules.yaml")], ["test", "rules", str(file)]):
            done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class MonitorTests(SynchronousTestCase):
    """What tells the Prometheus operator where to scrape."""

    def test_fit(self) -> None:
        """Both monitors choose what the base has, by a port that has this name there."""
        base = as_written(BASE)
        service = one(base, "Service", "kube-dns")
        pod = one(base, "Deployment")["spec"]["template"]
        for name, labels, ports, part in (
            ("servicemonitor", service["metadata"]["labels"], service["spec"]["ports"], "endpoints"),
            ("podmonitor", pod["metadata"]["labels"], pod["spec"]["containers"][0]["ports"], "podMetricsEndpoints"),
        ):
            monitor = yaml.safe_load((MONITORING / f"{name}.yaml").read_text(encoding="utf-8"))
            self.assertEqual((monitor["kind"].lower(), monitor["metadata"]["namespace"]), (name, "kube-system"))
            self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), labels.items())
            self.assertIn(monitor["spec"]["jobLabel"], labels)
            (endpoint,) = monitor["spec"][part]
            self.assertIn(endpoint["port"], [port["name"] for port in ports])
