# -*- test-case-name: tests.plugins.transfer -*-
"""``transfer``: hand zones of other plugins to secondaries, and tell these of changes."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.transfer.config import TransferConfig, parse
from kdns.plugins.transfer.notify import Notifier
from kdns.plugins.transfer.sending import TransferLink


class TransferDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "transfer"

    def parse(self, tokens: Dispenser, block: Block) -> TransferConfig:
        """See :func:`kdns.plugins.transfer.config.parse`."""
        return parse(tokens, block)

    def build(self, config: TransferConfig, builder: BlockBuilder) -> None:
        """Add the link, and what sends NOTIFY."""
        link = TransferLink(config, builder.context.registry)
        builder.link(link)
        builder.run(Notifier(config, link, builder.context))


directive = TransferDirective()
