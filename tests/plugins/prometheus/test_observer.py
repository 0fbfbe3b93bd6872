"""Tests of :mod:`kdns.plugins.prometheus.observer`."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import NO_REPLY, Answer, Sections
from kdns.core.metrics import Registry
from kdns.core.observe import Exchange
from kdns.core.request import Request, Transport
from kdns.core.tally import TallyBook
from kdns.plugins.prometheus.observer import DnsMetrics
from kdns.wire.constants import AAAA, DO, NXDOMAIN, REFUSED
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import a_or_aaaa
from tests.support import FakeServer, a_request


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
