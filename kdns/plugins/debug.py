# -*- test-case-name: tests.plugins.test_debug -*-
"""``debug``: print log lines of level debug."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder


@dataclass(frozen=True, slots=True)
class DebugConfig:
    """It has no settings."""


class DebugDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "debug"

    def parse(self, tokens: Dispenser, block: Block) -> DebugConfig:
        """``debug``, without arguments."""
        for _ in tokens.invocations():
            tokens.args(0)
            for _ in tokens.block():
                raise tokens.arg_error()
        return DebugConfig()

    def build(self, config: DebugConfig, builder: BlockBuilder) -> None:
        """Mark the block; the log prints debug lines when any block is marked."""
        builder.debug = True


directive = DebugDirective()
