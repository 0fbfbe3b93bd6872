# -*- test-case-name: tests.plugins.test_metadata -*-
"""``metadata``: have plugins describe each query under labels, which ``log`` and others can print."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_or_keys
from kdns.plugin.seam import Block, BlockBuilder


@dataclass(frozen=True, slots=True)
class MetadataConfig:
    """The queries that are described."""

    zones: tuple[bytes, ...]
    """Names in these zones."""


class MetadataDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "metadata"

    def parse(self, tokens: Dispenser, block: Block) -> MetadataConfig:
        """``metadata [ZONES...]``; without zones those of the block."""
        config = MetadataConfig(())
        for count in tokens.invocations():
            if count:
                raise tokens.arg_error()
            config = self._config(tokens, tokens.remaining_args(), block)
            for _ in tokens.block():
                raise tokens.arg_error()
        return config

    def _config(self, tokens: Dispenser, words: list[str], block: Block) -> MetadataConfig:
        zones = tokens.convert(lambda _: zones_or_keys(words, block.keys), "")
        return MetadataConfig(tuple(zone.name for zone in zones))

    def build(self, config: MetadataConfig, builder: BlockBuilder) -> None:
        """Have the block collect metadata from the plugins that offer some."""
        builder.collect_metadata = config.zones


directive = MetadataDirective()
