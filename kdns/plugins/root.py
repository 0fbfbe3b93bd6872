# -*- test-case-name: tests.plugins.test_root -*-
"""``root``: the base of relative paths in the block."""

from __future__ import annotations

import os

from twisted.logger import Logger

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder

log = Logger(namespace="plugin/root")


class RootDirective:
    """
    See :class:`kdns.plugin.seam.Directive`.

    The other directives of the block need the folder while they parse, so the assembler parses this one first and stores the result in
    :attr:`kdns.plugin.seam.Block.root`.
    """

    name = "root"

    def parse(self, tokens: Dispenser, block: Block) -> str:
        """``root PATH``; of several the last counts."""
        path = ""
        for _ in tokens.invocations():
            path = tokens.expect_arg()
            tokens.end_of_line()
        return path

    def build(self, config: str, builder: BlockBuilder) -> None:
        """Warn of a missing folder; it may be created later."""
        try:
            os.stat(config)
        except FileNotFoundError:
            log.warn("Root path does not exist: {path}", path=config)
        except OSError as error:
            log.warn("Root path {path} cannot be read: {error}", path=config, error=error.strerror)


directive = RootDirective()
