# -*- test-case-name: tests.plugins.auto -*-
"""``auto``: answer from all zone files of a folder."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.auto.answering import AutoLink
from kdns.plugins.auto.config import AutoConfig, parse
from kdns.plugins.auto.folder import ZoneFolder


class AutoDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "auto"

    def parse(self, tokens: Dispenser, block: Block) -> AutoConfig:
        """See :func:`kdns.plugins.auto.config.parse`."""
        return parse(tokens, block)

    def build(self, config: AutoConfig, builder: BlockBuilder) -> None:
        """Add the link. The zones of a folder are kept over a reload of the Corefile when nothing about them changed."""
        key = ("auto", config.directory, config.pattern, config.template)
        folder = builder.keep(key, config, lambda: ZoneFolder(config, builder.context))
        builder.link(AutoLink(config, folder))


directive = AutoDirective()
