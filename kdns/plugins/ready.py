# -*- test-case-name: tests.plugins.test_ready -*-
"""
*ready*: an HTTP page that shows whether every plugin of the process can answer.

Plugins register their checks (:meth:`BlockBuilder.ready_when`). The service hands the checks of all blocks to each :class:`ReadyPage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kdns.core.text import printable
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import ListenAddress, parse_listen_address
from kdns.plugin.http import HttpListener, Page, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Readiness, Resource, ServerContext

log = Logger(namespace="plugin/ready")

DEFAULT_ADDRESS = ListenAddress("", 8181)

LOG_INTERVAL = 1.0
"""Seconds between two log lines of a page: any client can ask it, as often as it likes."""


class Monitor(Enum):
    """How long a plugin is checked; the value is the option's word."""

    UNTIL_READY = "until-ready"
    """Until it was ready once: a cluster API that fails later must not take the names of the internet with it."""

    CONTINUOUSLY = "continuously"
    """Each time."""


@dataclass(frozen=True, slots=True)
class Config:
    """``ready [ADDRESS] { monitor until-ready|continuously }``."""

    address: ListenAddress = DEFAULT_ADDRESS
    monitor: Monitor = Monitor.UNTIL_READY


class ReadyDirective:
    """The directive of the Corefile."""

    name = "ready"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        address, monitor = DEFAULT_ADDRESS, Monitor.UNTIL_READY
        for _ in tokens.invocations(once=True):
            for text in tokens.args(0, 1):
                address = tokens.convert(parse_listen_address, text)
            for option in tokens.block():
                if option != "monitor":
                    raise tokens.unknown_property("monitor")
                word = tokens.word()
                try:
                    monitor = Monitor(word)
                except ValueError:
                    raise tokens.error(f"monitor type '{word}' not supported") from None
        return Config(address, monitor)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Run the page; blocks with the same address share it."""
        listener = listener_for(builder, self.name, config.address)
        builder.keep(("ready", config.address), config, lambda: ReadyPage(listener, config.monitor, builder.context))


directive = ReadyDirective()


class Check(Protocol):
    """A plugin in one server block that takes part in readiness (:meth:`BlockBuilder.ready_when`)."""

    @property
    def name(self) -> str:
        pass

    @property
    def ready(self) -> Readiness:
        pass

    @property
    def why(self) -> Callable[[], str]:
        pass

    @property
    def zones(self) -> str:
        """The zones of its block."""


class ReadyPage(Resource):
    """
    The page ``/ready``, and ``/ready/why`` with a line for each plugin that is not ready and for each thing that is degraded.

    It is not ready before :meth:`set_checks`.
    """

    at_parent = True

    def __init__(self, listener: HttpListener, monitor: Monitor, context: ServerContext) -> None:
        self._listener = listener
        self._monitor = monitor
        self._clock = context.clock
        self._wall = context.wall
        self._degraded = context.degraded
        self._quiet_until = float("-inf")
        self._checks: list[Check] | None = None
        self._pages: dict[str, Page] = {"/ready": self.page, "/ready/why": self.why_page}

    def start(self) -> None:
        self._listener.serve(self._pages)

    def leave(self) -> None:
        """Close the page before the process ends, so that no probe finds it ready."""
        self._withdraw()

    def stop(self) -> Deferred[None] | None:
        return self._withdraw()

    def _withdraw(self) -> Deferred[None] | None:
        return self._listener.withdraw(self._pages)

    def set_checks(self, checks: Sequence[Check]) -> None:
        """Use the checks of a new configuration."""
        self._checks = list(checks)

    def waiting(self) -> list[Check]:
        """The checks that fail; with ``until-ready`` the others are not called again."""
        waiting = [check for check in self._checks or () if not check.ready()]
        if self._monitor is Monitor.UNTIL_READY and self._checks is not None:
            self._checks = waiting
        return waiting

    def page(self) -> Response:
        """``/ready``: OK, or the names of the plugins that are not ready."""
        waiting = self.waiting()
        if self._checks is None:
            names = "startup"
        elif not waiting:
            return Response(b"OK")
        else:
            names = ",".join(sorted({check.name for check in waiting}))
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_INTERVAL
            log.info('Plugins not ready: "{names}"', names=names)
        return Response(names.encode(), 503)

    def why_page(self) -> Response:
        """
        ``/ready/why``: a line for each plugin and block that is not ready, with what it waits for; then one for each degraded state.

        Degraded states do not change the status: a process that serves old data is better than none.
        """
        waiting = self.waiting()
        if self._checks is None:
            return Response(b"startup: no configuration runs yet\n", 503)
        lines = sorted(f"{check.name} ({check.zones}): {check.why() or 'not ready'}\n" for check in waiting) or ["OK\n"]
        for state in self._degraded:
            means, do = state.kind.value.means, state.kind.value.do
            seconds = max(0.0, self._wall() - state.since)
            wrong = printable(f"{state.name}: {state.text}")
            lines.append(f"degraded for {seconds:.0f} s: {wrong}. {means} What to do: {do}\n")
        return Response("".join(lines).encode(), 503 if waiting else 200)
