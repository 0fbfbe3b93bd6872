"""Spans as JSON."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from google.protobuf.json_format import Parse  # type: ignore[import-untyped]  # it has no annotations
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.attempts import Attempt, SocketAddress
from kdns.plugins.trace.encoding import otlp, zipkin
from kdns.plugins.trace.spans import MOST_SPANS, Span, Trace, conclude, describe
from kdns.testing.plugin import a_request

EPOCH = 1_700_000_000.0


def a_trace() -> Trace:
    """A query to which an upstream did not reply."""
    now = [10.0]
    trace = Trace(lambda: now[0], Random(1), EPOCH, 5.0)
    top = trace.span("servedns", None, 9.5)
    describe(top, a_request("WWW.example.org", "AAAA", client="fd00::1"))
    plugin = top.child("Forward")
    attempt = Attempt(
        "tls://9.9.9.9:853", SocketAddress("9.9.9.9", 853), None, "tls", b"", b"", 5.0, 7.0, "i/o timeout"
    )
    plugin.asked_upstream(attempt)
    now[0] = 12.25
    plugin.end()
    conclude(top, 2, "i/o timeout")
    return trace


class EncodingTests(SynchronousTestCase):
    def test_zipkin(self) -> None:
        """The fields of Zipkin's version 2, with CoreDNS's tags."""
        trace = a_trace()
        top, plugin, attempt = json.loads(zipkin(trace.spans, "CoreDNS", ("127.0.0.1", 53)))
        self.assertEqual(
            top,
            {
                "traceId": trace.text,
                "id": f"{trace.spans[0].number:016x}",
                "name": "servedns",
                "kind": "SERVER",
                "timestamp": 1_700_000_009_500_000,
                "duration": 2_750_000,
                "localEndpoint": {"serviceName": "coredns", "ipv4": "127.0.0.1", "port": 53},
                "tags": {
                    "coredns.io/name": "www.example.org.",
                    "coredns.io/type": "AAAA",
                    "coredns.io/proto": "udp",
                    "coredns.io/remote": "fd00::1",
                    "coredns.io/rcode": "SERVFAIL",
                    "error": "true",
                },
                "annotations": [
                    {"timestamp": 1_700_000_012_250_000, "value": "event:error"},
                    {"timestamp": 1_700_000_012_250_000, "value": "error:i/o timeout"},
                ],
            },
        )
        self.assertEqual(
            (plugin["name"], plugin["parentId"], plugin["traceId"]), ("forward", top["id"], top["traceId"])
        )
        self.assertEqual((attempt["name"], attempt["parentId"]), ("connect", plugin["id"]))
        self.assertEqual(attempt["tags"]["peer.address"], "9.9.9.9:853")
        self.assertEqual((attempt["timestamp"], attempt["duration"]), (1_700_000_010_000_000, 2_000_000))
        self.assertEqual(len({span["id"] for span in (top, plugin, attempt)}), 3)

    def test_otlp(self) -> None:
        """The protocol buffers of OpenTelemetry take it, and find the same in it."""
        trace = a_trace()
        found = Parse(otlp(trace.spans, "kdns", None), ExportTraceServiceRequest())
        (resource,) = found.resource_spans
        attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
        self.assertEqual(attributes["service.name"], "kdns")
        top, plugin, attempt = resource.scope_spans[0].spans
        self.assertEqual((top.kind, plugin.kind, attempt.kind), (2, 1, 3))
        self.assertEqual((top.parent_span_id, plugin.parent_span_id), (b"", top.span_id))
        self.assertEqual(
            (top.start_time_unix_nano, top.end_time_unix_nano), (1_700_000_009_500_000_000, 1_700_000_012_250_000_000)
        )
        self.assertEqual((top.status.code, top.status.message, plugin.status.code), (2, "i/o timeout", 0))
        tags = {one.key: one.value.string_value for one in top.attributes}
        self.assertEqual(tags["coredns.io/rcode"], "SERVFAIL")
        raw: Any = json.loads(otlp(trace.spans, "kdns", None))
        raw_top = raw["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        self.assertEqual(
            (raw_top["traceId"], len(raw_top["traceId"]), len(raw_top["spanId"])), (f"{trace.number:032x}", 32, 16)
        )

    def test_not_ended(self) -> None:
        """A span that nobody ended ends where it began."""
        trace = Trace(lambda: 1.0, Random(1), EPOCH)
        trace.span("x", None)
        self.assertEqual(json.loads(zipkin(trace.spans, "a", ("::1", 1)))[0]["duration"], 1)

    def test_bounded(self) -> None:
        """A trace has so many spans at most, and none after its end."""
        trace = Trace(lambda: 1.0, Random(1), EPOCH)
        top = trace.span("x", None)
        for _ in range(MOST_SPANS):
            last: Span = top.child("y")
        last.end("still no error")
        self.assertEqual(len(trace.spans), MOST_SPANS)
        trace = Trace(lambda: 1.0, Random(1), EPOCH)
        trace.finished = True
        trace.span("late", None)
        self.assertEqual(trace.spans, [])
