# -*- test-case-name: tests.plugins.test_debug -*-
"""``debug``: log lines of level debug are printed, too."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder


@dataclass(frozen=True, slots=True)
class DebugConfig:
    """There is nothing to set."""


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
        """Mark the block; which levels are printed is the log's business."""
        builder.debug = True


directive = DebugDirective()
