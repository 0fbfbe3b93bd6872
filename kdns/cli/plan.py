# -*- test-case-name: tests.cli.test_plan -*-
"""
``kdns plan``: how many replicas a cluster needs, by the cluster-proportional autoscaler's formula, and what each of them needs.

Reads the command line and prints; the formulas are in :mod:`kdns.cli.autoscaler` and :mod:`kdns.cli.needs`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from kdns.cli import needs
from kdns.cli.autoscaler import DEFAULT, MODES, MOST, BadParameters, Cluster, Count, parameters_of
from kdns.core.text import checkout_path, printable, reason_of

FINE, CANNOT, BAD_USAGE = 0, 1, 2

MAX_FILE = 1024 * 1024
"""Bytes of a file with parameters: a ConfigMap has no more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The figures that are printed."""

    mode: str
    count: Count
    contents: needs.Contents
    memory: needs.Memory
    limit: int
    queries: float
    """A second, for each replica."""

    least_for_queries: int
    """Replicas that the queries need."""

    assumptions: tuple[str, ...]


def main(arguments: Sequence[str], stdout: TextIO | None = None, stderr: TextIO | None = None) -> int:
    """
    Run the command.

    :return: the exit status: 1 for parameters that the autoscaler would not take, 2 for a command line that cannot be understood.
    """
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    try:
        options = _parser().parse_args(list(arguments))
        plan = plan_for(options)
    except _Usage as error:
        (stdout if error.status == FINE else stderr).write(str(error))
        return error.status
    except BadParameters as error:
        stderr.write(f"kdns plan: {printable(str(error))}\n")
        return CANNOT
    stdout.write(as_json(plan) if options.json else "\n".join(lines(plan)) + "\n")
    return FINE


class _Usage(Exception):
    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class _Parser(argparse.ArgumentParser):
    """Leaves it to the caller to print and to end."""

    def error(self, message: str) -> Any:
        raise _Usage(f"{message}\n{self.format_usage()}", BAD_USAGE)

    def print_help(self, file: Any = None) -> None:
        raise _Usage(self.format_help(), FINE)


FLAGS: dict[str, dict[str, Any]] = {
    "--nodes": {"required": True, "help": "nodes of the cluster"},
    "--cores": {"required": True, "help": "cores of all nodes together"},
    "--pods": {"required": True, "help": "pods of the cluster"},
    "--services": {"required": True, "help": "services of the cluster"},
    "--endpoints": {"help": "endpoints of all services (default: each pod is one, once)"},
    "--unschedulable-nodes": {"default": 0, "help": "how many of the nodes take no pods"},
    "--unschedulable-cores": {"default": 0, "help": "the cores of those"},
    "--qps": {"default": 0, "help": "queries a second of the whole cluster"},
}
"""Amounts."""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kdns plan",
        description="Replicas by the cluster-proportional autoscaler's formula; memory and processor by measured figures.",
        allow_abbrev=False,
    )
    for flag, how in FLAGS.items():
        parser.add_argument(flag, type=_rate if flag == "--qps" else _amount, metavar="N", **how)
    watched = "the Corefile says `pods verified`, so that pods are watched"
    counts = "how the autoscaler counts (default: what --config says, linear)"
    parser.add_argument("--verified", action="store_true", help=watched)
    parser.add_argument("--mode", choices=MODES, default="", help=counts)
    config = "parameters of the autoscaler, or a file with them or its ConfigMap"
    parser.add_argument("--config", default="", metavar="JSON|FILE", help=config)
    limit = "memory limit of a replica, as 170Mi (default: what is needed)"
    parser.add_argument("--limit", type=_bytes, default=0, metavar="SIZE", help=limit)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _amount(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"wanted a whole number that is not negative, found {text!r}")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"wanted a number that is not negative, found {text!r}")
    return value


_UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "k": 1000, "M": 1000**2, "G": 1000**3}


def _bytes(text: str) -> int:
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    return _amount(text.removesuffix(unit)) * _UNITS.get(unit, 1)


def plan_for(options: argparse.Namespace) -> Plan:
    """
    The plan for a command line.

    :raises BadParameters: the autoscaler would not take its parameters, or they cannot be read.
    """
    if options.unschedulable_nodes > options.nodes or options.unschedulable_cores > options.cores:
        raise BadParameters("more nodes or cores are unschedulable than there are")
    parameters = parameters_of(_text(options.config, options.mode), options.mode)
    cluster = Cluster(options.nodes, options.cores, options.unschedulable_nodes, options.unschedulable_cores)
    count = parameters.count(cluster)
    endpoints = options.pods if options.endpoints is None else options.endpoints
    contents = needs.Contents(options.services, endpoints, options.pods if options.verified else 0)
    limit = options.limit or needs.limit_for(contents)
    return Plan(
        parameters.mode,
        count,
        contents,
        needs.memory(contents, limit),
        limit,
        options.qps / count.replicas if count.replicas else 0.0,
        math.ceil(options.qps / needs.most_queries()),
        tuple(_assumptions(options)),
    )


LADDER = (
    '{"coresToReplicas":[[1,2],[512,3],[1024,5],[4096,9]],'
    '"nodesToReplicas":[[1,1],[2,2],[33,3],[65,5],[129,9]],"includeUnschedulableNodes":true}'
)
"""The parameters of ``--mode ladder`` by default: those of ``conf/kubernetes/overlays/proportional/ladder``."""


def _text(config: str, mode: str) -> str:
    if not config:
        return LADDER if mode == "ladder" else DEFAULT
    if config.lstrip().startswith("{"):
        return config
    try:
        with open(config, encoding="utf-8", errors="replace") as file:
            return file.read(MAX_FILE)
    except OSError as error:
        raise BadParameters(f"open {config}: {reason_of(error)}") from None


def _assumptions(options: argparse.Namespace) -> Iterator[str]:
    if not options.config:
        overlay = checkout_path(f"conf/kubernetes/overlays/proportional/{options.mode or 'linear'}") or "its add-on"
        yield f"the autoscaler has the parameters of {overlay} (--config)"
    if options.endpoints is None:
        yield "each pod is an endpoint of one service (--endpoints)"
    if not options.verified:
        yield "pods are not watched: `pods insecure` or `disabled` (--verified)"
    yield "the cache is full, and so are the answer tables: a tenth of the memory limit"
    held = 100 * (1 - needs.SHARE_MISSED - needs.SHARE_FORWARDED)
    yield (
        f"of 100 queries {held:.0f} are in the answer tables, {100 * needs.SHARE_MISSED:.0f} are answered by plugins,"
        f" {100 * needs.SHARE_FORWARDED:.0f} are forwarded"
    )
    yield f"a replica is one process on one core, busy for {100 * needs.LOAD:.0f} % of the time at most"
    page = checkout_path("docs/performance.md")
    yield f"memory and times were measured on one machine{f' ({page})' if page else ''}; other machines have others"


def mebibytes(size: int) -> str:
    """As manifests have it, rounded up."""
    return f"{-(-size // needs.MEBI)}Mi"


def lines(plan: Plan) -> list[str]:
    """The plan as text."""
    count = plan.count
    rule = f"; {count.rule}" if count.rule else ""
    by = f"{count.by_cores} by {count.cores:,} cores, {count.by_nodes} by {count.nodes:,} nodes"
    sizes = {"kdns": plan.memory.base, "cluster": plan.memory.cluster, "cache": plan.memory.cache}
    sizes |= {"answer tables": plan.memory.table, "slack": plan.memory.slack}
    parts = ", ".join(f"{name} {mebibytes(size)}" for name, size in sizes.items())
    request = math.ceil(1000 * needs.cores_for(plan.queries))
    rows = (
        ("replicas", f"{count.replicas}   ({plan.mode}: {by}{rule})"),
        ("memory, each", f"{mebibytes(plan.memory.all)}   ({parts})"),
        ("memory limit", mebibytes(plan.limit)),
        ("processor request", f"{request}m   (no limit; {plan.queries:,.0f} queries a second each)"),
    )
    found = [f"{name:<19} {text}" for name, text in rows]
    found += [f"warning: {text}" for text in warnings(plan)]
    return [*found, "assumed:", *(f"  {text}" for text in plan.assumptions)]


def warnings(plan: Plan) -> list[str]:
    """What does not fit."""
    found = []
    if plan.count.replicas == 0:
        found.append("no replica at all: the cluster is below the first step of the ladder")
    if plan.memory.all > plan.limit:
        found.append(f"{mebibytes(plan.memory.all)} do not fit under a limit of {mebibytes(plan.limit)}")
    if plan.least_for_queries > plan.count.replicas:
        text = f"so many queries need {plan.least_for_queries} replicas, {needs.most_queries():,} a second each"
        found.append(f"{text}, which the autoscaler does not know: raise min to {plan.least_for_queries}")
    return found


def as_json(plan: Plan) -> str:
    """The plan as an object; memory in bytes, processor in cores."""
    document = {
        "replicas": plan.count.replicas,
        "autoscaler": {"mode": plan.mode, **asdict(plan.count)},
        "memory": {**asdict(plan.memory), "all": plan.memory.all, "limit": plan.limit},
        "processor": {
            "request": round(needs.cores_for(plan.queries), 3),
            "queries_each": round(plan.queries, 1),
            "least_replicas_for_queries": plan.least_for_queries,
        },
        "holds": asdict(plan.contents),
        "warnings": warnings(plan),
        "assumptions": list(plan.assumptions),
    }
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
