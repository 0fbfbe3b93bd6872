# -*- test-case-name: tests.plugins.test_ready -*-
"""
*ready*: an HTTP page that says whether every plugin of the process can answer.

Decides what the page says. Which plugins have a say, and whether they are ready, they tell themselves (:meth:`BlockBuilder.ready_when`);
whoever assembles the blocks hands the list of all of them to each :class:`ReadyPage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import ListenAddress, parse_listen_address
from kdns.plugin.http import HttpListener, Page, Response, listener_for
from kdns.plugin.seam import Block, BlockBuilder, Readiness, Resource

log = Logger(namespace="plugin/ready")

DEFAULT_ADDRESS = ListenAddress("", 8181)


class Monitor(Enum):
    """How long a plugin is asked; the value is the option's word."""

    UNTIL_READY = "until-ready"
    """Until it was ready once: a cluster that goes away later must not take the names of the internet with it."""

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
        """Read the directive; once per server block."""
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
        builder.keep(("ready", config.address), config, lambda: ReadyPage(listener, config.monitor))


directive = ReadyDirective()


class Check(Protocol):
    """A plugin of one server block that has a say (:meth:`BlockBuilder.ready_when`)."""

    @property
    def name(self) -> str:
        """The plugin's name."""

    @property
    def ready(self) -> Readiness:
        """Tells whether it is."""

    @property
    def why(self) -> Callable[[], str]:
        """What it still waits for."""

    @property
    def zones(self) -> str:
        """The zones of its block."""


class ReadyPage(Resource):
    """
    The page ``/ready``, and ``/ready/why`` with a line for each plugin that is waited for.

    It says no until it was told for the first time who has a say.
    """

    def __init__(self, listener: HttpListener, monitor: Monitor) -> None:
        self._listener = listener
        self._monitor = monitor
        self._checks: list[Check] | None = None
        self._pages: dict[str, Page] = {"/ready": self.page, "/ready/why": self.why_page}

    def start(self) -> None:
        """Open the page."""
        self._listener.serve(self._pages)

    def leave(self) -> None:
        """Say no more before the process ends: no probe shall find it ready."""
        self._withdraw()

    def stop(self) -> Deferred[None] | None:
        """Close the page."""
        return self._withdraw()

    def _withdraw(self) -> Deferred[None] | None:
        return self._listener.withdraw(self._pages)

    def set_checks(self, checks: Sequence[Check]) -> None:
        """Ask these from now on: all that have a say in the configuration that begins to answer."""
        self._checks = list(checks)

    def waiting(self) -> list[Check]:
        """Who is not ready; with ``until-ready`` the others are not asked again."""
        waiting = [check for check in self._checks or () if not check.ready()]
        if self._monitor is Monitor.UNTIL_READY and self._checks is not None:
            self._checks = waiting
        return waiting

    def page(self) -> Response:
        """``/ready``: OK, or the names of those that are not ready, one each."""
        waiting = self.waiting()
        if self._checks is None:
            names = "startup"
        elif not waiting:
            return Response(b"OK")
        else:
            names = ",".join(sorted({check.name for check in waiting}))
        log.info('Plugins not ready: "{names}"', names=names)
        return Response(names.encode(), 503)

    def why_page(self) -> Response:
        """``/ready/why``: the same, a line for each plugin of each block, with what it waits for."""
        waiting = self.waiting()
        if self._checks is None:
            return Response(b"startup: no configuration runs yet\n", 503)
        if not waiting:
            return Response(b"OK\n")
        lines = sorted(f"{check.name} ({check.zones}): {check.why() or 'not ready'}\n" for check in waiting)
        return Response("".join(lines).encode(), 503)
