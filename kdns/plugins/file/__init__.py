# -*- test-case-name: tests.plugins.file -*-
"""``file``: answer from zone files."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.file.answering import ZonesLink
from kdns.plugins.file.config import FileConfig, ZoneFileConfig, parse
from kdns.plugins.file.loading import ZoneFile


class FileDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "file"

    def parse(self, tokens: Dispenser, block: Block) -> FileConfig:
        """See :func:`kdns.plugins.file.config.parse`."""
        return parse(tokens, block)

    def build(self, config: FileConfig, builder: BlockBuilder) -> None:
        """Add the link. A zone whose settings did not change is kept over a reload of the Corefile, and not read again."""

        def kept(zone: ZoneFileConfig) -> ZoneFile:
            return builder.keep(("file", zone.origin, zone.path), zone, lambda: ZoneFile(zone, builder.context))

        zones = {zone.origin: kept(zone).served for zone in config.zones}
        builder.link(ZonesLink(self.name, zones, config.fallthrough))


directive = FileDirective()
