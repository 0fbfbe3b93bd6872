# -*- test-case-name: tests.plugins.template.test_resolver -*-
"""The counters of *template*; names and labels are those that dashboards for CoreDNS know."""

from __future__ import annotations

from collections.abc import Sequence

from kdns.core.metrics import Counter, Registry

_LABELS = ("server", "zone", "view", "class", "type")
_FAILURE_LABELS = (*_LABELS, "section", "template")


class TemplateMetrics:
    """The counters of one block."""

    def __init__(self, registry: Registry) -> None:
        self._matches = registry.counter("coredns_template_matches_total", "Queries that a template answered.", _LABELS)
        self._failures = registry.counter(
            "coredns_template_template_failures_total",
            "Templates that failed when they were rendered.",
            _FAILURE_LABELS,
        )
        self._bad_records = registry.counter(
            "coredns_template_rr_failures_total", "Texts of templates that are no record.", _FAILURE_LABELS
        )

    def match(self, labels: Sequence[str]) -> Counter:
        """Queries that were answered. *labels* are server, zone, view, class and type."""
        return self._matches.counter(*labels)

    def failure(self, labels: Sequence[str], section: str, template: str, rendered: bool) -> Counter:
        """Records that could not be made: because the template failed, or (*rendered*) because its text is no record."""
        family = self._bad_records if rendered else self._failures
        return family.counter(*labels, section, template)
