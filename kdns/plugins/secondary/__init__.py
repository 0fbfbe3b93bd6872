# -*- test-case-name: tests.plugins.secondary -*-
"""``secondary``: answer from zones that are transferred from other name servers."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.secondary.answering import SecondaryLink
from kdns.plugins.secondary.catalogs import Catalogs
from kdns.plugins.secondary.config import SecondaryConfig, SecondaryZoneConfig, parse
from kdns.plugins.secondary.zone import SecondaryZone


class SecondaryDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "secondary"

    def parse(self, tokens: Dispenser, block: Block) -> SecondaryConfig:
        """See :func:`kdns.plugins.secondary.config.parse`."""
        return parse(tokens, block)

    def build(self, config: SecondaryConfig, builder: BlockBuilder) -> None:
        """Add the link. A zone is kept over a reload of the Corefile when nothing about it changed, and not transferred again."""
        context = builder.context

        def kept(zone: SecondaryZoneConfig) -> SecondaryZone:
            return builder.keep(("secondary", zone.origin), zone, lambda: SecondaryZone(zone, context))

        zones = {zone.origin: kept(zone) for zone in config.zones if zone.catalog is None}
        listing = tuple(zone for zone in config.zones if zone.catalog is not None)
        taken = frozenset(zones)
        catalogs = None
        if listing:
            catalogs = builder.keep(
                ("secondary", "catalogs", builder.number), (listing, taken), lambda: Catalogs(listing, taken, context)
            )
        builder.link(SecondaryLink(config, zones, catalogs))


directive = SecondaryDirective()
