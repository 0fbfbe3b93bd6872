# -*- test-case-name: tests.plugins.acl.test_resolver -*-
"""What ``acl`` counts."""

from __future__ import annotations

from kdns.core.metrics import Counter, Registry
from kdns.plugins.acl.policy import Action, Decision

_WORDS = {Action.BLOCK: "blocked", Action.FILTER: "filtered", Action.DROP: "dropped"}


class AclMetrics:
    """The counters of all ``acl`` of a process."""

    def __init__(self, registry: Registry) -> None:
        self._denied = {
            action: registry.counter(
                f"coredns_acl_{word}_requests_total", f"Queries that were {word}.", ["server", "zone", "view"]
            )
            for action, word in _WORDS.items()
        }
        self._allowed = registry.counter(
            "coredns_acl_allowed_requests_total", "Queries that were allowed.", ["server", "view"]
        )

    def of(self, decision: Decision, server: str, view: str) -> Counter:
        """The counter of a decision."""
        family = self._denied.get(decision.action)
        if family is None:
            return self._allowed.counter(server, view)
        return family.counter(server, decision.zone, view)
