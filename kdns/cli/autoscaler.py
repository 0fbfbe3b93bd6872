# -*- test-case-name: tests.cli.test_autoscaler -*-
"""How many replicas the cluster-proportional autoscaler sets: its parameters, its formulas (linear and ladder), its rounding."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

DEFAULT = '{"linear":{"coresPerReplica":256,"nodesPerReplica":16,"preventSinglePointFailure":true,"includeUnschedulableNodes":true}}'
"""The parameters that the add-on of clusters is installed with."""

MOST = 10**9
"""No cluster has more of anything."""


class BadParameters(Exception):
    """Parameters that the autoscaler would not take; the text says which, what was wanted and what was found."""


class Cluster(NamedTuple):
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
    """What decided, if neither cores nor nodes did."""


class Kind(NamedTuple):
    """A kind of parameter: what is wanted, whether a value is that, and what is taken where there is none."""

    wanted: str
    fits: Any
    default: Any


def _is_step(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(WHOLE.fits(number) for number in value)


NUMBER = Kind("a number that is not negative", lambda value: type(value) in (int, float) and 0 <= value <= MOST, 0)
WHOLE = Kind("a whole number that is not negative", lambda value: type(value) is int and 0 <= value <= MOST, 0)
SWITCH = Kind("true or false", lambda value: type(value) is bool, False)
STEPS = Kind("a list of [size, replicas]", lambda value: isinstance(value, list) and all(map(_is_step, value)), [])

PARAMETERS: dict[str, dict[str, Kind]] = {
    "linear": {
        "coresPerReplica": NUMBER,
        "nodesPerReplica": NUMBER,
        "min": WHOLE,
        "max": WHOLE,
        "preventSinglePointFailure": SWITCH,
        "includeUnschedulableNodes": SWITCH,
    },
    "ladder": {"coresToReplicas": STEPS, "nodesToReplicas": STEPS, "includeUnschedulableNodes": SWITCH},
}
"""By mode; the first two say how many, and one of them must be there."""

MODES = tuple(PARAMETERS)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Checked parameters of a mode, all of them."""

    mode: str
    values: Mapping[str, Any]

    def count(self, cluster: Cluster) -> Count:
        """
        Linear: cores and nodes divided by their share of a replica, rounded up; the larger of both, then ``max``, ``min`` and the rule that
        no single replica may fail. Ladder: the last step that each list has reached; the larger of both, and none below the first step.
        """
        values = self.values
        nodes, cores = cluster.nodes, cluster.cores
        if not values["includeUnschedulableNodes"]:
            nodes, cores = nodes - cluster.unschedulable_nodes, cores - cluster.unschedulable_cores
        if self.mode == "ladder":
            by_cores, by_nodes = _step(cores, values["coresToReplicas"]), _step(nodes, values["nodesToReplicas"])
            return Count(max(by_cores, by_nodes), by_cores, by_nodes, nodes, cores)
        by_cores, by_nodes = _share(cores, values["coresPerReplica"]), _share(nodes, values["nodesPerReplica"])
        replicas, rule = max(by_cores, by_nodes), ""
        least, most = values["min"] or 1, values["max"]
        if most and replicas > most:
            replicas, rule = most, f"max {most}"
        if replicas < least:
            replicas, rule = least, f"min {least}"
        if values["preventSinglePointFailure"] and nodes > 1 and replicas < 2:
            replicas, rule = 2, "preventSinglePointFailure: more than one node"
        return Count(replicas, by_cores, by_nodes, nodes, cores, rule)


def _share(amount: int, each: float) -> int:
    return -(-amount // Fraction(str(each))) if each else 0  # 0.1 is a tenth, not the float next to it


def _step(size: int, steps: Sequence[Sequence[int]]) -> int:
    return max((list(step) for step in steps if step[0] <= size), default=[0, 0])[1]


def parameters_of(text: str, mode: str = "") -> Parameters:
    """
    Read parameters as they stand in the autoscaler's flag (``{"linear": {...}}``), in a key of its ConfigMap, or in the whole ConfigMap.

    :param mode: ``linear`` or ``ladder``, where the text does not say it; and which is wanted where it has both.
    :raises BadParameters: they are none.
    """
    fields = _object(text, "parameters")
    if fields.get("kind") == "ConfigMap":
        fields = _object(fields.get("data"), "data")
    found = [name for name in MODES if name in fields]
    if found:
        if mode and mode not in found:
            raise BadParameters(f"wanted {mode}, found {found[0]}")
        mode = mode or found[0]
        fields = _object(fields[mode], mode)
    mode = mode or ("ladder" if {"coresToReplicas", "nodesToReplicas"} & set(fields) else "linear")
    kinds = PARAMETERS[mode]
    for name, value in fields.items():
        if name not in kinds:
            from kdns.corefile.guesses import nearest_hint

            hint = nearest_hint(str(name), kinds)
            raise BadParameters(f"unknown parameter {name}{f' ({hint})' if hint else ''}")
        if not kinds[name].fits(value):
            raise BadParameters(f"{name}: wanted {kinds[name].wanted}, found {value!r}")
    values = {name: fields.get(name, kind.default) for name, kind in kinds.items()}
    first, second, *_ = kinds
    if not values[first] and not values[second]:
        raise BadParameters(f"{first} and {second}: wanted one of them, found neither")
    if values.get("max") and (values["min"] or 1) > values["max"]:
        raise BadParameters(f"min {values['min'] or 1} is above max {values['max']}")
    return Parameters(mode, values)


def _object(value: Any, what: str) -> Mapping[str, Any]:
    """A mapping, or a text of JSON or YAML with one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            import yaml

            try:
                value = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise BadParameters(f"{what}: neither JSON nor YAML: {error}") from None
    if not isinstance(value, Mapping):
        raise BadParameters(f"{what}: wanted an object, found {value!r}")
    return value
