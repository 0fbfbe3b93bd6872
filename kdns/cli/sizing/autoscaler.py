# -*- test-case-name: tests.cli.sizing.test_autoscaler -*-
"""
How many replicas the cluster-proportional autoscaler sets for a cluster: its formulas, linear and ladder, with its rounding.

Only arithmetic: what a parameter is called, what it may be, and what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

DEFAULT = '{"linear":{"coresPerReplica":256,"nodesPerReplica":16,"preventSinglePointFailure":true,"includeUnschedulableNodes":true}}'
"""What the add-on of clusters is installed with."""

MODES = ("linear", "ladder")

MOST = 10**9
"""No cluster has more of anything."""


class BadParameters(Exception):
    """Parameters that the autoscaler would not take; the text says which, what was wanted and what was found."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the autoscaler counts."""

    nodes: int
    cores: int
    unschedulable_nodes: int = 0
    """How many of *nodes* take no pods."""

    unschedulable_cores: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """Replicas, and how it came to them."""

    replicas: int
    by_cores: int
    by_nodes: int
    nodes: int
    """Nodes that counted."""

    cores: int
    rule: str = ""
    """What decided beside the two."""


@dataclass(frozen=True, slots=True)
class Linear:
    """
    Replicas in proportion to cores and nodes.

    :ivar cores_per_replica: 0 leaves cores out.
    :ivar nodes_per_replica: 0 leaves nodes out.
    :ivar most: 0 is no limit.
    """

    cores_per_replica: Fraction
    nodes_per_replica: Fraction
    least: int = 1
    most: int = 0
    prevent_single_point_failure: bool = False
    include_unschedulable: bool = False

    def count(self, cluster: Cluster) -> Count:
        """The larger of both, not more than the most, not less than the least; two at least where one could fail alone."""
        nodes, cores = _counted(cluster, self.include_unschedulable)
        by_cores, by_nodes = self._share(cores, self.cores_per_replica), self._share(nodes, self.nodes_per_replica)
        replicas, rule = max(by_cores, by_nodes), ""
        if self.most and replicas > self.most:
            replicas, rule = self.most, f"max {self.most}"
        if replicas < self.least:
            replicas, rule = self.least, f"min {self.least}"
        if self.prevent_single_point_failure and nodes > 1 and replicas < 2:
            replicas, rule = 2, "preventSinglePointFailure: more than one node"
        return Count(replicas, by_cores, by_nodes, nodes, cores, rule)

    def _share(self, amount: int, each: Fraction) -> int:
        return -(-amount // each) if each else 0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Replicas by steps: pairs of a size and the replicas from that size on."""

    cores_to_replicas: tuple[tuple[int, int], ...] = ()
    nodes_to_replicas: tuple[tuple[int, int], ...] = ()
    include_unschedulable: bool = False

    def count(self, cluster: Cluster) -> Count:
        """The larger of what both lists say; none below the first step."""
        nodes, cores = _counted(cluster, self.include_unschedulable)
        by_cores, by_nodes = _step(cores, self.cores_to_replicas), _step(nodes, self.nodes_to_replicas)
        return Count(max(by_cores, by_nodes), by_cores, by_nodes, nodes, cores)


Parameters = Linear | Ladder


def _counted(cluster: Cluster, include_unschedulable: bool) -> tuple[int, int]:
    if include_unschedulable:
        return cluster.nodes, cluster.cores
    return cluster.nodes - cluster.unschedulable_nodes, cluster.cores - cluster.unschedulable_cores


def _step(size: int, steps: Sequence[tuple[int, int]]) -> int:
    """The replicas of the last step that the size has reached."""
    reached = 0
    for least, replicas in sorted(steps):
        if least <= size:
            reached = replicas
    return reached


def parameters_of(text: str, mode: str = "") -> tuple[str, Parameters]:
    """
    Read parameters as they stand in the autoscaler's flag (``{"linear": {...}}``), in a key of its ConfigMap, or in the whole ConfigMap.

    :param mode: ``linear`` or ``ladder``, where the text does not say it; and what is wanted where it has both.
    :return: the mode, and what it goes by.
    :raises BadParameters: they are none.
    """
    fields = _object(text, "parameters")
    if fields.get("kind") == "ConfigMap":
        fields = _fields(fields.get("data"), "data")
    found = [name for name in MODES if name in fields]
    if found:
        if mode and mode not in found:
            raise BadParameters(f"wanted {mode}, found {found[0]}")
        mode = mode or found[0]
        inner = fields[mode]
        fields = _object(inner, mode) if isinstance(inner, str) else _fields(inner, mode)
    mode = mode or ("ladder" if {"coresToReplicas", "nodesToReplicas"} & set(fields) else "linear")
    return mode, (_linear if mode == "linear" else _ladder)(fields)


def _object(text: str, what: str) -> Mapping[str, Any]:
    try:
        return _fields(json.loads(text), what)
    except json.JSONDecodeError:
        pass
    import yaml

    try:
        return _fields(yaml.safe_load(text), what)
    except yaml.YAMLError as error:
        raise BadParameters(f"{what}: neither JSON nor YAML: {error}") from None


def _fields(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadParameters(f"{what}: wanted an object, found {value!r}")
    return value


def _known(fields: Mapping[str, Any], *known: str) -> None:
    from kdns.corefile.guesses import nearest_hint

    for name in fields:
        if name not in known:
            hint = nearest_hint(str(name), known)
            raise BadParameters(f"unknown parameter {name}{f' ({hint})' if hint else ''}")


def _linear(fields: Mapping[str, Any]) -> Linear:
    _known(
        fields,
        "coresPerReplica",
        "nodesPerReplica",
        "min",
        "max",
        "preventSinglePointFailure",
        "includeUnschedulableNodes",
    )
    cores, nodes = _ratio(fields, "coresPerReplica"), _ratio(fields, "nodesPerReplica")
    if not cores and not nodes:
        raise BadParameters("coresPerReplica and nodesPerReplica: wanted one of them, found neither")
    least, most = _whole(fields, "min") or 1, _whole(fields, "max")
    if most and least > most:
        raise BadParameters(f"min {least} is above max {most}")
    single, include = _switch(fields, "preventSinglePointFailure"), _switch(fields, "includeUnschedulableNodes")
    return Linear(cores, nodes, least, most, single, include)


def _ladder(fields: Mapping[str, Any]) -> Ladder:
    _known(fields, "coresToReplicas", "nodesToReplicas", "includeUnschedulableNodes")
    cores, nodes = _steps(fields, "coresToReplicas"), _steps(fields, "nodesToReplicas")
    if not cores and not nodes:
        raise BadParameters("coresToReplicas and nodesToReplicas: wanted one of them, found neither")
    return Ladder(cores, nodes, _switch(fields, "includeUnschedulableNodes"))


def _ratio(fields: Mapping[str, Any], name: str) -> Fraction:
    value = fields.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise BadParameters(f"{name}: wanted a number that is not negative, found {value!r}")
    return Fraction(str(value))


def _whole(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise BadParameters(f"{name}: wanted a whole number that is not negative, found {value!r}")
    return value


def _switch(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise BadParameters(f"{name}: wanted true or false, found {value!r}")
    return value


def _steps(fields: Mapping[str, Any], name: str) -> tuple[tuple[int, int], ...]:
    steps = fields.get(name, ())
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise BadParameters(f"{name}: wanted a list of [size, replicas], found {steps!r}")
    found = []
    for step in steps:
        whole = isinstance(step, Sequence) and all(type(number) is int and 0 <= number <= MOST for number in step)
        if not whole or len(step) != 2:
            raise BadParameters(f"{name}: wanted [size, replicas], found {step!r}")
        found.append((step[0], step[1]))
    return tuple(found)
