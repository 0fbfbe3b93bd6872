# -*- test-case-name: tests.plugins.rewrite -*-
"""*rewrite*: queries changed on their way in, and replies on their way back."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.rewrite.config import Config, parse
from kdns.plugins.rewrite.resolver import RewriteLink


class RewriteDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "rewrite"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """See :func:`kdns.plugins.rewrite.config.parse`."""
        return parse(tokens)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(RewriteLink(config))


directive = RewriteDirective()
