# -*- test-case-name: tests.plugins.trace.test_encoding -*-
"""
Spans as JSON for collectors: Zipkin's version 2, and OpenTelemetry's OTLP over HTTP. A core module of *trace*.

The OpenTelemetry SDK is not used: its exporters block in threads of their own, and these two formats are a page of code.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from msgspec import json

from kdns import __version__
from kdns.plugins.trace.spans import Span

SERVER, INTERNAL, CLIENT = 2, 1, 3
"""Kinds of spans in OTLP."""

FAILED = 2
"""The status code ``ERROR`` of OTLP."""


def _ends(span: Span) -> float:
    """A span that never ended, because nobody waited for it, ends where it began."""
    return span.began if span.ended is None else span.ended


def _micros(span: Span, seconds: float) -> int:
    return round((seconds + span.trace.offset) * 1e6)


def zipkin(spans: Sequence[Span], service: str, address: tuple[str, int] | None) -> bytes:
    """
    A list of spans for ``/api/v2/spans``.

    :param address: of this server, if it is bound to one.
    """
    local: dict[str, Any] = {"serviceName": service.lower()}
    if address is not None:
        family = "ipv6" if ip_address(address[0]).version == 6 else "ipv4"
        local |= {family: address[0], "port": address[1]}
    return json.encode([_zipkin(span, local) for span in spans])


def _zipkin(span: Span, local: dict[str, Any]) -> dict[str, Any]:
    began, ended = _micros(span, span.began), _micros(span, _ends(span))
    made: dict[str, Any] = {
        "traceId": span.trace.text,
        "id": f"{span.number:016x}",
        "name": span.name.lower(),
        "timestamp": began,
        "duration": max(1, ended - began),
        "localEndpoint": local,
        "tags": dict(span.tags),
    }
    if span.parent is None:
        made["kind"] = "SERVER"
    else:
        made["parentId"] = f"{span.parent.number:016x}"
    if span.error:
        made["tags"]["error"] = "true"
        made["annotations"] = [{"timestamp": ended, "value": text} for text in ("event:error", f"error:{span.error}")]
    return made


def otlp(spans: Sequence[Span], service: str, address: tuple[str, int] | None) -> bytes:
    """An ExportTraceServiceRequest for ``/v1/traces``, in the JSON mapping of OTLP."""
    resource = [_attribute("service.name", service), _attribute("telemetry.sdk.name", "kdns")]
    if address is not None:
        resource += [_attribute("server.address", address[0]), _attribute("server.port", str(address[1]))]
    scope = {"name": "kdns", "version": __version__}
    return json.encode(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": resource},
                    "scopeSpans": [{"scope": scope, "spans": [_otlp(span) for span in spans]}],
                }
            ]
        }
    )


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _otlp(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": f"{span.trace.number:032x}",
        "spanId": f"{span.number:016x}",
        "name": span.name,
        "kind": SERVER if span.parent is None else CLIENT if span.name == "connect" else INTERNAL,
        # 64-bit numbers are texts in the JSON of protocol buffers; microseconds are what is measured.
        "startTimeUnixNano": str(_micros(span, span.began) * 1000),
        "endTimeUnixNano": str(_micros(span, _ends(span)) * 1000),
        "attributes": [_attribute(key, value) for key, value in span.tags.items()],
    }
    if span.parent is not None:
        made["parentSpanId"] = f"{span.parent.number:016x}"
    if span.error:
        made["status"] = {"code": FAILED, "message": span.error}
    return made
