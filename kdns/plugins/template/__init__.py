# -*- test-case-name: tests.plugins.template -*-
"""*template*: answers made of texts with holes in them."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.capabilities import declared_labels
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.template.config import Config, parse
from kdns.plugins.template.metrics import TemplateMetrics
from kdns.plugins.template.resolver import TemplateLink


class TemplateDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "template"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """See :func:`kdns.plugins.template.config.parse`."""
        return parse(tokens, block.keys)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Add the link."""
        metrics = TemplateMetrics(builder.context.registry)
        declared = declared_labels(builder.links)
        builder.link(TemplateLink(config, metrics, builder.view, builder.block.zones, declared))


directive = TemplateDirective()
