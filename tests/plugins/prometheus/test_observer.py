"""Metrics of queries and replies, and the names of all metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.metrics import Family, Registry
from kdns.core.observe import Exchange
from kdns.core.request import Request, Transport
from kdns.core.tally import TallyBook
from kdns.plugin.line_budget import held_lines
from kdns.plugins.health import HealthMetrics
from kdns.plugins.prometheus.observer import DnsFamilies, DnsMetrics, declare, enabled_plugins
from kdns.server.output import LineWriter
from kdns.wire.constants import AAAA, DO, NXDOMAIN, REFUSED
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import a_or_aaaa
from tests.support import FakeServer, a_request

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


def exchange_of(request: Request, answer: Answer, zone: str = ".", seconds: float = 0.0003) -> Exchange:
    """The end of a query."""
    return Exchange(request, answer, None if answer.silent else bytes(12), zone, "inside", seconds)


class CountTests(SynchronousTestCase):
    """What one exchange counts."""

    def setUp(self) -> None:
        self.registry = Registry()
        self.metrics = DnsMetrics(self.registry)

    def lines(self) -> set[str]:
        """All samples that are not zero."""
        return {line for line in self.registry.lines() if not line.startswith("#") and not line.endswith(" 0")}

    def finish(self, request: Request, answer: Answer, zone: str = ".") -> set[str]:
        """The samples after an exchange, but for buckets."""
        self.metrics.finished(exchange_of(request, answer, zone))
        return {line for line in self.lines() if "_bucket" not in line}

    def test_exchange(self) -> None:
        """Every family, with all its labels."""
        record = a_or_aaaa(from_text("a.test."), 5, bytes(4))
        where = 'server="dns://:53",zone=".",view="inside"'
        self.assertEqual(
            self.finish(a_request("a.test."), Answer(body=Sections(answer=(record,)), source="hosts")),
            {
                f'coredns_dns_requests_total{{{where},proto="udp",family="1",type="A"}} 1',
                f'coredns_dns_responses_total{{{where},rcode="NOERROR",plugin="hosts"}} 1',
                f'coredns_dns_request_size_bytes_sum{{{where},proto="udp"}} 24',
                f'coredns_dns_request_size_bytes_count{{{where},proto="udp"}} 1',
                f'coredns_dns_response_size_bytes_sum{{{where},proto="udp"}} 46',
                f'coredns_dns_response_size_bytes_count{{{where},proto="udp"}} 1',
                f"coredns_dns_request_duration_seconds_sum{{{where}}} 0.0003",
                f"coredns_dns_request_duration_seconds_count{{{where}}} 1",
            },
        )
        self.assertIn(f'coredns_dns_request_duration_seconds_bucket{{{where},le="0.0005"}} 1', self.lines())

    def test_labels(self) -> None:
        """Family, transport, type, response code and DO show."""
        server = FakeServer("dns://127.0.0.1:53")
        edns = Edns(1232, DO, 0, b"")
        request = a_request("a.test.", AAAA, client="::1", transport=Transport.TLS, server=server, edns=edns)
        found = self.finish(request, Answer(NXDOMAIN), "test.")
        where = 'server="dns://127.0.0.1:53",zone="test.",view="inside"'
        for wanted in (
            f'coredns_dns_requests_total{{{where},proto="tcp",family="2",type="AAAA"}} 1',
            f'coredns_dns_responses_total{{{where},rcode="NXDOMAIN",plugin=""}} 1',
            f"coredns_dns_do_requests_total{{{where}}} 1",
        ):
            self.assertIn(wanted, found)

    def test_types(self) -> None:
        """Types that few ask for are one."""
        for qtype, wanted in [(28, "AAAA"), (255, "ANY"), (252, "AXFR"), (64, "SVCB"), (99, "other"), (65280, "other")]:
            registry = Registry()
            DnsMetrics(registry).finished(exchange_of(a_request("a.test.", qtype), Answer()))
            self.assertTrue(any(f'type="{wanted}"' in line for line in registry.lines()), qtype)

    def test_nothing_sent(self) -> None:
        """A query without a reply counts as NOERROR of no size, as dashboards know it."""
        found = self.finish(a_request("a.test."), NO_REPLY)
        where = 'server="dns://:53",zone=".",view="inside"'
        self.assertIn(f'coredns_dns_responses_total{{{where},rcode="NOERROR",plugin=""}} 1', found)
        self.assertIn(f'coredns_dns_response_size_bytes_count{{{where},proto="udp"}} 1', found)
        self.assertNotIn("response_size_bytes_sum", str(found))

    def test_no_block(self) -> None:
        """What no block took is a zone of its own."""
        self.metrics.finished(replace(exchange_of(a_request("a.test."), Answer(REFUSED)), zone="dropped", view=""))
        wanted = 'coredns_dns_responses_total{server="dns://:53",zone="dropped",view="",rcode="REFUSED",plugin=""} 1'
        self.assertIn(wanted, self.lines())

    def test_repetition(self) -> None:
        """Answers from the table leave the same numbers behind as answers from the chain."""
        record = a_or_aaaa(from_text("a.test."), 5, bytes(4))
        request = a_request("a.test.", edns=Edns(1232, DO, 0, b""))
        exchange = exchange_of(request, Answer(body=Sections(answer=(record,)), source="hosts"), seconds=0.001)
        for _ in range(7):
            self.metrics.finished(exchange)
        wanted = list(self.registry.lines())

        registry = Registry()
        metrics, tallies = DnsMetrics(registry), TallyBook()
        metrics.finished(exchange)
        for _ in range(2):
            repeat = metrics.repeat(exchange)
            self.assertIsNone(repeat.each)
            tally = tallies.tally(repeat.charges, repeat.durations)
            tally.hits += 3
            tallies.touched.append(tally)
            for durations in tally.durations:
                for _ in range(3):
                    durations.observe(0.001)
            tallies.fold()
        self.assertEqual(list(registry.lines()), wanted)

    def test_one_tally(self) -> None:
        """Answers of equal size and kind are counted in one cell of the table."""
        one, two = a_request("a.test."), a_request("b.test.")
        charges = [self.metrics.repeat(exchange_of(request, Answer())).charges for request in (one, two)]
        self.assertEqual(charges[0], charges[1])
