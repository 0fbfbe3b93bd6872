# -*- test-case-name: tests.workers.test_commands -*-
"""
The commands of the admin socket where there are workers: one of them is asked, or all, and their replies become one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import gatherResults

from kdns import __version__
from kdns.admin.commands import Arguments, CommandError, Commands, Result, number_of
from kdns.admin.status import MOST_TOP, TOP, Status
from kdns.workers.supervisor import Slot, Supervisor, behind_of

PATIENCE = 5.0
"""Seconds that a worker may take for a reply."""


class _Reply(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    error: str = ""


class _Listed(msgspec.Struct):
    entries: msgspec.Raw
    found: int
    caches: int


class WorkerCommands:
    """The commands of a server with workers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._status = Status(supervisor.server)

    def commands(self) -> Commands:
        """They have the names and replies of :func:`kdns.admin.command_list.commands_of`."""
        commands = Commands()
        commands.add("about", lambda arguments: {"version": __version__, "pid": os.getpid()})
        commands.add("explain", self._explain)
        commands.add("cache.list", partial(self._listed, "cache.list"))
        commands.add("cache.get", partial(self._listed, "cache.get"))
        commands.add("cache.flush", self._flush)
        commands.add("status", self._all_status)
        return commands

    async def _explain(self, arguments: Arguments) -> Result:
        """Any worker tells: all have the same configuration and data, but each its own caches."""
        slot = self._serving()[0]
        (reply,) = await self._ask([slot], "explain", arguments)
        result: Result = msgspec.json.decode(reply)
        return {**result, "worker": slot.number}

    async def _listed(self, command: str, arguments: Arguments) -> Result:
        replies = await self._ask(self._serving(), command, arguments)
        lists = [msgspec.json.decode(reply, type=_Listed) for reply in replies]
        parts = [bytes(one.entries)[1:-1] for one in lists]
        return {
            "entries": msgspec.Raw(b"[" + b",".join(part for part in parts if part) + b"]"),
            "found": sum(one.found for one in lists),
            "caches": sum(one.caches for one in lists),
        }

    async def _flush(self, arguments: Arguments) -> Result:
        replies = await self._ask(self._serving(), "cache.flush", arguments)
        return added(msgspec.json.decode(reply) for reply in replies)

    async def _all_status(self, arguments: Arguments) -> Result:
        own = await self._status(arguments)
        slots = self._serving()
        replies = await self._ask(slots, "status", arguments)
        statuses = [msgspec.json.decode(reply) for reply in replies]
        whole = merged(own, statuses, number_of(arguments, "top", TOP, MOST_TOP))
        whole["workers"] = [_worker(slot, status) for slot, status in zip(slots, statuses, strict=True)] + [
            {"number": slot.number, "pid": 0, "restarts": slot.restarts}
            for slot in self._supervisor.slots
            if slot not in slots
        ]
        return whole

    def _serving(self) -> list[Slot]:
        serving = self._supervisor.serving
        if not serving:
            raise CommandError("no worker process of this kdns answers queries")
        return serving

    async def _ask(self, slots: Sequence[Slot], command: str, arguments: Arguments) -> list[bytes]:
        line = msgspec.json.encode({"command": command, "arguments": arguments})
        reactor = self._supervisor.context.reactor
        asked = [self._supervisor.ask(slot, line).addTimeout(PATIENCE, reactor) for slot in slots]
        try:
            replies = await gatherResults(asked, consumeErrors=True)
        except Exception as error:
            raise CommandError("a worker process did not reply") from error
        found = []
        for reply in replies:
            decoded = msgspec.json.decode(reply, type=_Reply)
            if decoded.error:
                raise CommandError(decoded.error)
            found.append(bytes(decoded.result))
        return found


def _worker(slot: Slot, status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": slot.number,
        "pid": slot.pid,
        "seconds": status["seconds"],
        "queries": status["talkers"]["total"] if status["queries"] is None else sum(status["queries"].values()),
        "saturation": status["process"]["saturation"],
        "resident": status["process"]["resident"],
        "behind": behind_of(slot),
        "restarts": slot.restarts,
    }


# Many replies into one


def added(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Numbers by name, added up."""
    whole: dict[str, float] = {}
    for one in counts:
        for name, number in one.items():
            whole[name] = whole.get(name, 0) + number
    return whole


def _counted(counts: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Counters added up; None where nothing is counted, because no block has ``prometheus``."""
    known = [one for one in counts if one is not None]
    return added(known) if known else None


def added_histograms(histograms: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Histograms of the same bounds as one; those without observations are empty dicts."""
    whole: dict[str, Any] = {}
    for one in histograms:
        if not whole:
            whole = dict(one)
        elif one:
            whole["counts"] = [mine + more for mine, more in zip(whole["counts"], one["counts"], strict=True)]
            whole["sum"] += one["sum"]
    return whole


def merged(own: Mapping[str, Any], statuses: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    """
    The status of the whole server.

    :param own: of the parent, which knows the configuration and the clusters.
    :param statuses: of its workers.
    :param most: clients and names to list.
    """
    caches = [status["cache"] for status in statuses if status["cache"] is not None]
    return {
        **own,
        **{name: added(status[name] for status in statuses) for name in ("table", "dropped")},
        **{name: _counted([status[name] for status in statuses]) for name in ("queries", "rcodes")},
        **{name: sum(status[name] for status in statuses) for name in ("waiting", "connections")},
        "durations": added_histograms(status["durations"] for status in statuses),
        "cache": added(caches) if caches else None,
        "talkers": _talkers([status["talkers"] for status in statuses], most),
        "upstreams": _upstreams(statuses),
        "process": _process(own["process"], [status["process"] for status in statuses]),
    }


def _talkers(talkers: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    whole: dict[str, Any] = {"seconds": max(one["seconds"] for one in talkers)}
    whole |= added({name: one[name] for name in ("total", "queries", "denials", "wasted")} for one in talkers)
    keys = {"clients": "client", "refused": "client", "names": "name", "denied": "name", "wasteful": "namespace"}
    for kind, key in keys.items():
        times: Counter[str] = Counter()
        about: dict[str, dict[str, Any]] = {}
        for one in talkers:
            for row in one[kind]:
                times[row[key]] += row["times"]
                about.setdefault(row[key], row)
        whole[kind] = [{**about[name], "times": number} for name, number in times.most_common(most)]
    return whole


def _upstreams(statuses: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The workers have the same upstreams in the same order; one that any of them finds unhealthy is shown so."""
    whole = []
    for rows in zip(*(status["upstreams"] for status in statuses), strict=False):
        worst = max(rows, key=lambda row: row["fails"])
        whole.append(
            {
                **worst,
                "in_flight": sum(row["in_flight"] for row in rows),
                "durations": added_histograms(row["durations"] for row in rows),
            }
        )
    return whole


def _process(own: Mapping[str, Any], processes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **own,
        "saturation": max(process["saturation"] for process in processes),
        "cores": sum(process["cores"] for process in processes),
        "waited": own["waited"] + sum(process["waited"] for process in processes),
        "resident": own["resident"] + sum(process["resident"] for process in processes),
        "lag": added_histograms([process["lag"] for process in processes]),
    }
