# -*- test-case-name: tests.plugins.nomad.test_nomad -*-
"""``nomad``: answer with the services of a Nomad cluster."""

from __future__ import annotations

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.nomad.config import NomadConfig, parse, source_of
from kdns.plugins.nomad.resolver import NomadLink
from kdns.plugins.nomad.store import NomadStore


class NomadDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "nomad"

    def parse(self, tokens: Dispenser, block: Block) -> NomadConfig:
        """See :func:`kdns.plugins.nomad.config.parse`."""
        return parse(tokens, block)

    def build(self, config: NomadConfig, builder: BlockBuilder) -> None:
        """Add the link. Blocks with the same Nomad share what is known of it, and a reload keeps it."""
        context = builder.context
        try:
            source = source_of(config, context.environ)
        except ValueError as error:
            raise SetupError(f"NOMAD_ADDR: {error}", plugin=self.name, located=False) from None
        store = builder.keep(("nomad", source), source, lambda: NomadStore(source, context))
        builder.link(NomadLink(config, store, context.clock))
        builder.ready_when(self.name, lambda: store.reached, lambda: store.why)


directive = NomadDirective()
