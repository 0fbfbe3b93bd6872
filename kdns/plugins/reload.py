# -*- test-case-name: tests.plugins.test_reload -*-
"""``reload``: check the Corefile from time to time; the service reads it and takes it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import parse_duration
from kdns.plugin.seam import Block, BlockBuilder, Resource, ServerContext

INTERVAL, JITTER = 30.0, 15.0
"""Seconds between checks, and the width of their random spread."""

LEAST_INTERVAL, LEAST_JITTER = 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Config:
    interval: float = INTERVAL
    jitter: float = JITTER


class ReloadTimer(Resource):
    """Checks after each interval, plus or minus up to half the jitter; drawn once."""

    at_parent = True

    def __init__(self, context: ServerContext, config: Config) -> None:
        self._context = context
        self._every = config.interval + config.jitter * (context.random.random() - 0.5)
        self._timer: Any = None

    def start(self) -> None:
        self._timer = self._context.reactor.callLater(self._every, self._check)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = self._context.reactor.callLater(self._every, self._check)
        self._context.check_reload()


class ReloadDirective:
    """``reload [INTERVAL] [JITTER]``."""

    name = "reload"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """Two durations; the jitter is at most half the interval."""
        config = Config()
        for _ in tokens.invocations(once=True):
            words = tokens.args(0, 2)
            interval = tokens.convert(parse_duration, words[0]) if words else INTERVAL
            if interval < LEAST_INTERVAL:
                raise tokens.plain_error("interval value must be greater or equal to 2s")
            jitter = tokens.convert(parse_duration, words[1]) if len(words) > 1 else JITTER
            if jitter != 0 and jitter < LEAST_JITTER:
                raise tokens.plain_error("jitter value must be 0 or greater or equal to 1s")
            config = Config(interval, min(jitter, interval / 2))
        return config

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """One timer for all blocks with the same times."""
        builder.keep("reload", config, lambda: ReloadTimer(builder.context, config))


directive = ReloadDirective()
