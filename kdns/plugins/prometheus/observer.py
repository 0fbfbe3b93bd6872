# -*- test-case-name: tests.plugins.prometheus.test_observer -*-
"""Counts exchanges, whether a plugin made the reply or the answer table did."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from kdns.core.metrics import SIZE_BUCKETS, TIME_BUCKETS, Counter, Histogram, Registry
from kdns.core.observe import Exchange, Observer, Repeat
from kdns.core.tally import Charge
from kdns.plugin.replies import reply_size
from kdns.plugin.seam import Resource
from kdns.plugins.prometheus.families import DnsFamilies
from kdns.wire.constants import (
    AAAA,
    ANY,
    AXFR,
    CNAME,
    DNSKEY,
    DS,
    HTTPS,
    IXFR,
    MX,
    NS,
    NSEC,
    NSEC3,
    PTR,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    TXT,
    A,
    rcode_text,
    type_text,
)  # fmt: skip

NAMED_TYPES = frozenset(
    (A, AAAA, ANY, AXFR, CNAME, DNSKEY, DS, HTTPS, IXFR, MX, NS, NSEC, NSEC3, PTR, RRSIG, SOA, SRV, SVCB, TXT)
)
"""Types with a label of their own. Clients can ask for 65,536 types, so the others share one."""


class _Cells(NamedTuple):
    """The counters and histograms of one exchange."""

    requests: Counter
    responses: Counter
    do: Counter | None
    request_size: Histogram
    response_size: Histogram
    duration: Histogram


OTHER = -1
"""All types without a label of their own."""


class DnsMetrics(Resource, Observer):
    """
    The observer of all blocks with the directive. They share one, so that a query that no block took is counted once.

    It is a resource so that it is kept from one configuration to the next.
    """

    repeats = True

    def __init__(self, registry: Registry) -> None:
        self._families = DnsFamilies(registry)
        self._known: dict[tuple[object, ...], _Cells] = {}

    def alike(self, zone: bytes) -> bool:
        """Replies are counted by what they are and their lengths."""
        return True

    def finished(self, exchange: Exchange) -> None:
        """Count an exchange."""
        cells = self._cells(exchange)
        cells.requests.value += 1
        cells.responses.value += 1
        if cells.do is not None:
            cells.do.value += 1
        # Histogram.observe(), inlined three times: this runs for every query that the answer table does not answer.
        size = exchange.request.size
        cells.request_size.counts[bisect_left(SIZE_BUCKETS, size)] += 1
        cells.request_size.sum += size
        size = reply_size(exchange)
        cells.response_size.counts[bisect_left(SIZE_BUCKETS, size)] += 1
        cells.response_size.sum += size
        seconds = exchange.seconds
        cells.duration.counts[bisect_left(TIME_BUCKETS, seconds)] += 1
        cells.duration.sum += seconds

    def repeat(self, exchange: Exchange) -> Repeat:
        """The same, charged for each repetition."""
        cells = self._cells(exchange)
        charges: tuple[Charge, ...] = (
            cells.requests,
            cells.responses,
            cells.request_size.again(exchange.request.size),
            cells.response_size.again(reply_size(exchange)),
        )
        if cells.do is not None:
            charges += (cells.do,)
        return Repeat(charges, (cells.duration,))

    def _cells(self, exchange: Exchange) -> _Cells:
        request, answer = exchange.request, exchange.answer
        qtype = request.qtype if request.qtype in NAMED_TYPES else OTHER
        label, zone, view, ipv6 = request.server.label, exchange.zone, exchange.view, ":" in request.client
        # One look-up instead of one in each family; there is an entry for each combination of label values.
        key = (label, zone, view, request.transport, ipv6, qtype, answer.rcode, answer.source, request.do)
        cells = self._known.get(key)
        if cells is None:
            cells = self._known[key] = self._cells_for(exchange, (label, zone, view), qtype)
        return cells

    def _cells_for(self, exchange: Exchange, where: tuple[str, str, str], qtype: int) -> _Cells:
        families = self._families
        request = exchange.request
        proto = request.transport.protocol
        return _Cells(
            families.requests.counter(
                *where, proto, "2" if request.ipv6 else "1", "other" if qtype == OTHER else type_text(qtype)
            ),
            families.responses.counter(*where, rcode_text(exchange.answer.rcode), exchange.answer.source),
            families.do.counter(*where) if request.do else None,
            families.request_size.histogram(*where, proto),
            families.response_size.histogram(*where, proto),
            families.duration.histogram(*where),
        )
