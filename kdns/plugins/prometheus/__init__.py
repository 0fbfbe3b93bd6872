# -*- test-case-name: tests.plugins.prometheus -*-
"""*prometheus*: counts queries and replies, and shows all metrics of the process on a page."""

from kdns.plugins.prometheus.config import Config, PrometheusDirective
from kdns.plugins.prometheus.observer import DnsMetrics, declare
from kdns.plugins.prometheus.page import MetricsPage

directive = PrometheusDirective()

__all__ = ["Config", "DnsMetrics", "MetricsPage", "PrometheusDirective", "declare", "directive"]
