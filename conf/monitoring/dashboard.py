"""
Write the Grafana dashboard: ``python conf/monitoring/dashboard.py > conf/monitoring/dashboard.json``.

The panels are a table here, because nobody reads the JSON. A test holds the JSON to it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

ME = '{job=~"$job",instance=~"$instance"}'
"""The servers that the reader chose above the panels."""


@dataclass(frozen=True, slots=True)
class Panel:
    """
    A panel of lines.

    :ivar lines: an expression and its legend each; ``ME`` stands for the chosen servers, ``WINDOW`` for Grafana's window of rates.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    about: str = ""
    stacked: bool = False


def rate(metric: str, by: str) -> str:
    """The rate of a counter, summed up by labels."""
    return f"sum by ({by}) (rate({metric}{ME}[WINDOW]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram, over all servers, by labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{ME}[WINDOW])))"


def percentiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """The usual three."""
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple((quantile(share, metric, by), f"{legend}p{round(share * 100)}") for share in (0.5, 0.9, 0.99))


SHARE_OF_SERVFAIL = (
    f'sum(rate(coredns_dns_responses_total{{job=~"$job",instance=~"$instance",rcode="SERVFAIL"}}[WINDOW])) / '
    f"sum(rate(coredns_dns_responses_total{ME}[WINDOW]))"
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Overview",
        (
            Panel(
                "Queries", "reqps", ((rate("coredns_dns_requests_total", "instance"), "{{instance}}"),), stacked=True
            ),
            Panel("Share of SERVFAIL", "percentunit", ((SHARE_OF_SERVFAIL, "SERVFAIL"),)),
            Panel(
                "Latency",
                "s",
                percentiles("coredns_dns_request_duration_seconds"),
                "What is forwarded waits for upstreams; see their own panel.",
            ),
            Panel(
                "Saturation",
                "percentunit",
                ((f"kdns_saturation{ME}", "{{instance}}"),),
                "Share of the processor time that a server can have. The HorizontalPodAutoscaler scales by it.",
            ),
        ),
    ),
    (
        "Traffic",
        (
            Panel(
                "By protocol",
                "reqps",
                ((rate("coredns_dns_requests_total", "proto, family"), "{{proto}}, family {{family}}"),),
            ),
            Panel("By type", "reqps", ((rate("coredns_dns_requests_total", "type"), "{{type}}"),)),
            Panel("By zone", "reqps", ((rate("coredns_dns_requests_total", "zone"), "{{zone}}"),)),
            Panel("Reply codes", "reqps", ((rate("coredns_dns_responses_total", "rcode"), "{{rcode}}"),)),
            Panel("Answered by", "reqps", ((rate("coredns_dns_responses_total", "plugin"), "{{plugin}}"),)),
            Panel(
                "Share of the most frequent",
                "percentunit",
                ((f"max by (of, top) (kdns_top_ratio{ME})", "{{of}}, first {{top}}"),),
                "Clients, names, and names that do not exist.",
            ),
            Panel(
                "Wasted on search paths",
                "percentunit",
                ((f"kdns_search_waste_ratio{ME}", "{{instance}}"),),
                "Queries that a pod's search path made up, and whose names do not exist.",
            ),
            Panel(
                "Sizes, p99",
                "bytes",
                (
                    (quantile(0.99, "coredns_dns_request_size_bytes", "proto"), "{{proto}} queries"),
                    (quantile(0.99, "coredns_dns_response_size_bytes", "proto"), "{{proto}} replies"),
                ),
            ),
        ),
    ),
    (
        "Cache and table",
        (
            Panel(
                "Cache",
                "reqps",
                (
                    (rate("coredns_cache_hits_total", "type"), "hits, {{type}}"),
                    (rate("coredns_cache_misses_total", "zones"), "misses, {{zones}}"),
                ),
                "Names of the cluster are not cached with the usual Corefile, and count as misses.",
            ),
            Panel("Cache entries", "short", ((f"sum by (type) (coredns_cache_entries{ME})", "{{type}}"),)),
            Panel(
                "Answer table",
                "reqps",
                (
                    (rate("kdns_answer_table_hits_total", "kind"), "answered by a {{kind}}"),
                    (rate("kdns_answer_table_misses_total", "job"), "plugins were asked"),
                ),
                "Finished replies in front of all plugins. What it answers does not come to the cache.",
            ),
            Panel("Finished replies", "short", ((f"kdns_answer_table_entries{ME}", "{{instance}}"),)),
            Panel(
                "Size of the answer table",
                "bytes",
                (
                    (f"kdns_answer_table_bytes{ME}", "{{instance}}"),
                    (f"min(kdns_answer_table_room_bytes{ME})", "room"),
                ),
            ),
            Panel(
                "Finished replies that went",
                "ops",
                (
                    (rate("kdns_answer_table_outdated_total", "instance"), "outdated, {{instance}}"),
                    (rate("kdns_answer_table_evicted_total", "instance"), "no room, {{instance}}"),
                ),
            ),
        ),
    ),
    (
        "Upstreams",
        (
            Panel("Exchanges", "reqps", ((rate("coredns_proxy_request_duration_seconds_count", "to"), "{{to}}"),)),
            Panel(
                "Latency of upstreams, p99",
                "s",
                ((quantile(0.99, "coredns_proxy_request_duration_seconds", "to"), "{{to}}"),),
            ),
            Panel(
                "Their reply codes",
                "reqps",
                ((rate("coredns_proxy_request_duration_seconds_count", "rcode"), "{{rcode}}"),),
            ),
            Panel(
                "Trouble",
                "ops",
                (
                    (rate("coredns_proxy_healthcheck_failures_total", "to"), "check failed, {{to}}"),
                    (rate("coredns_forward_healthcheck_broken_total", "instance"), "all are down, {{instance}}"),
                    (rate("coredns_forward_max_concurrent_rejects_total", "instance"), "too many wait, {{instance}}"),
                ),
            ),
        ),
    ),
    (
        "Kubernetes",
        (
            Panel(
                "Age of what is known",
                "s",
                ((f"max by (resource) (kdns_kubernetes_last_event_age_seconds{ME})", "{{resource}}"),),
                "Since the API server last said anything. It does so about once a minute even if nothing happens.",
            ),
            Panel(
                "Programming latency",
                "s",
                percentiles("coredns_kubernetes_dns_programming_duration_seconds"),
                "From the change in the cluster until it is answered.",
            ),
            Panel(
                "API requests",
                "reqps",
                ((rate("coredns_kubernetes_rest_client_requests_total", "code, method"), "{{method}} {{code}}"),),
            ),
            Panel(
                "Watches",
                "ops",
                (
                    (rate("kdns_kubernetes_relists_total", "resource, reason"), "{{resource}} listed: {{reason}}"),
                    (rate("kdns_kubernetes_watch_errors_total", "resource, cause"), "{{resource}} failed: {{cause}}"),
                    (rate("kdns_kubernetes_drift_repaired_total", "resource"), "{{resource}} repaired"),
                ),
            ),
        ),
    ),
    (
        "Process",
        (
            Panel(
                "Memory",
                "bytes",
                (
                    (f"process_resident_memory_bytes{ME}", "{{instance}}"),
                    (f"min(kdns_memory_limit_bytes{ME})", "limit"),
                ),
            ),
            Panel(
                "Processor",
                "percentunit",
                ((f"rate(process_cpu_seconds_total{ME}[WINDOW])", "{{instance}}"),),
                "1: a whole core.",
            ),
            Panel(
                "Reactor lag, p99",
                "s",
                ((quantile(0.99, "kdns_reactor_lag_seconds", "instance"), "{{instance}}"),),
                "How late timers are: what a query waits for its turn.",
            ),
            Panel(
                "Health requests, p99",
                "s",
                ((quantile(0.99, "coredns_health_request_duration_seconds", "instance"), "{{instance}}"),),
            ),
            Panel(
                "Dropped",
                "ops",
                (
                    (rate("kdns_waiting_rejects_total", "instance"), "too many queries wait, {{instance}}"),
                    (rate("kdns_deadline_exceeded_total", "instance"), "answered too late, {{instance}}"),
                    (rate("kdns_malformed_queries_total", "action"), "malformed, {{action}}"),
                    (rate("kdns_udp_receive_drops_total", "instance"), "not read in time, {{instance}}"),
                    (rate("kdns_udp_send_errors_total", "instance"), "not sent, {{instance}}"),
                    (
                        rate("kdns_stream_evictions_total", "instance"),
                        "TCP connections closed for others, {{instance}}",
                    ),
                    (rate("kdns_log_dropped_lines_total", "instance"), "log lines, {{instance}}"),
                ),
            ),
            Panel(
                "Configuration and mistakes",
                "short",
                (
                    (f"kdns_reload_config_bad{ME}", "the Corefile cannot be used, {{instance}}"),
                    (f"increase(coredns_reload_failed_total{ME}[WINDOW])", "reload failed, {{instance}}"),
                    (f"increase(coredns_panics_total{ME}[WINDOW])", "panics, {{instance}}"),
                ),
            ),
        ),
    ),
)

WIDTH, HEIGHT, ACROSS = 8, 8, 24
"""Of a panel, and of the whole; in Grafana's own units."""


def dashboard() -> dict[str, Any]:
    """The whole as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        place = {"x": 0, "y": y, "w": ACROSS, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        y += 1
        for number, panel in enumerate(row):
            width = ACROSS // 4 if len(row) % 4 == 0 else WIDTH
            across = ACROSS // width
            place = {"x": number % across * width, "y": y + number // across * HEIGHT, "w": width, "h": HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
        y += (len(row) + across - 1) // across * HEIGHT
    return {
        "title": "kdns",
        "uid": "kdns",
        "tags": ["dns", "kubernetes", "coredns"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("job", ""), _variable("instance", '{job=~"$job"}')]},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "expr": expression.replace("WINDOW", "$__rate_interval"),
            "legendFormat": legend,
        }
        for index, (expression, legend) in enumerate(panel.lines)
    ]
    custom = {"stacking": {"mode": "normal" if panel.stacked else "none"}, "fillOpacity": 20 if panel.stacked else 0}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str, chosen: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values(coredns_build_info{chosen}, {label})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")
