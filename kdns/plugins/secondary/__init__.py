# -*- test-case-name: tests.plugins.secondary -*-
"""``secondary``: answer from zones that are transferred from other name servers."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.secondary.answering import SecondaryLink
from kdns.plugins.secondary.catalogs import SecondaryZones
from kdns.plugins.secondary.config import SecondaryConfig, parse


class SecondaryDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "secondary"

    def parse(self, tokens: Dispenser, block: Block) -> SecondaryConfig:
        """See :func:`kdns.plugins.secondary.config.parse`."""
        return parse(tokens, block)

    def build(self, config: SecondaryConfig, builder: BlockBuilder) -> None:
        """Add the link. Zones are kept over a reload of the Corefile when nothing about them changed."""
        key = ("secondary", tuple(zone.origin for zone in config.zones))
        zones = builder.keep(key, config, lambda: SecondaryZones(config, builder.context))
        builder.link(SecondaryLink(config, zones))


directive = SecondaryDirective()
