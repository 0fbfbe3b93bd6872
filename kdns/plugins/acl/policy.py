# -*- test-case-name: tests.plugins.acl.test_resolver -*-
"""
Which rule decides about a query: a core module of *acl*.

Lists are asked in their order, those whose zones cover the name; in a list the first rule that fits type and address decides. Where no
rule of a list fits the next list is asked, and where none decides the query is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from kdns.core.networks import Network, NetworkSet
from kdns.corefile.keys import Zone
from kdns.wire.names import longest_zone


class Action(Enum):
    """What becomes of a query that a rule fits."""

    ALLOW = "allow"
    """It goes on to the next plugin, and no later list is asked."""

    BLOCK = "block"
    """REFUSED."""

    FILTER = "filter"
    """NOERROR without records."""

    DROP = "drop"
    """No reply."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a list."""

    action: Action
    types: frozenset[int] | None = None
    """None: all types."""

    networks: tuple[Network, ...] | None = None
    """None: all clients."""

    place: str = field(default="", compare=False)
    """File and line."""


@dataclass(frozen=True, slots=True)
class AccessList:
    """One ``acl``."""

    zones: tuple[Zone, ...]
    rules: tuple[Rule, ...]


class Decision(NamedTuple):
    """What becomes of a query, and why."""

    action: Action
    zone: str = ""
    """The zone of the list that decided."""

    rule: Rule | None = None
    """None where no rule fits."""


ALLOWED = Decision(Action.ALLOW)


class Policy:
    """All lists of a server block."""

    def __init__(self, lists: Sequence[AccessList]) -> None:
        self._lists = []
        self._networks: list[NetworkSet] = []
        for one in lists:
            rules = []
            for rule in one.rules:
                bit = 0
                if rule.networks is not None:
                    bit = 1 << len(self._networks)
                    self._networks.append(NetworkSet(rule.networks))
                rules.append((rule, rule.types, bit))
            texts = {zone.name: zone.text for zone in one.zones}
            self._lists.append((frozenset(texts), texts, rules))

    @property
    def by_client(self) -> bool:
        """Whether it matters who asks."""
        return bool(self._networks)

    def group(self, client: str) -> int:
        """Which rules' networks an address is in, a bit for each: clients of one group are treated alike."""
        return sum(1 << at for at, networks in enumerate(self._networks) if client in networks)

    def decide(self, qname: bytes, qtype: int, group: int) -> Decision:
        """What becomes of a query of a client of *group*."""
        for zones, texts, rules in self._lists:
            zone = longest_zone(qname, zones)
            if zone is None:
                continue
            for rule, types, bit in rules:
                if (types is None or qtype in types) and (not bit or group & bit):
                    return Decision(rule.action, texts[zone], rule)
        return ALLOWED
