# -*- test-case-name: tests.plugins.test_shed -*-
"""``shed``: under overload, drop queries over UDP in place of refusing them."""

from __future__ import annotations

from kdns.core.metrics import Counter
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Scheme
from kdns.corefile.values import quote
from kdns.plugin.seam import Block, BlockBuilder


class ShedDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "shed"

    def parse(self, tokens: Dispenser, block: Block) -> bool:
        """``shed``, without arguments or options, once in a server block that serves plain DNS alone."""
        for _ in tokens.invocations(once=True):
            tokens.args(0)
            for _ in tokens.block():
                raise tokens.error("shed takes no options")
            for key in block.keys:
                if key.scheme is not Scheme.DNS:
                    text = f"only plain DNS server blocks are supported; {quote(key.url)} uses transport {quote(key.scheme.value)}"
                    raise tokens.error(text)
        return True

    def build(self, config: bool, builder: BlockBuilder) -> None:
        """Have the block's queries dropped where they would be refused."""
        family = builder.context.registry.counter(
            "coredns_shed_dropped_total", "Queries over UDP that were dropped under overload.", ["server", "reason"]
        )

        def dropped(server: str) -> Counter:
            return family.counter(server, "query")

        builder.shed = dropped


directive = ShedDirective()
