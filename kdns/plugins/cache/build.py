# -*- test-case-name: tests.plugins.cache.test_build -*-
"""
The directive ``cache``: from its tokens to a link of the chain.

The entries outlive a new configuration in which the server block says the same as before, wherever it stands and however it is logged and
measured. If anything changed that has a say in answers, those made under the old one may be wrong under the new one, so the cache begins
empty.
"""

from __future__ import annotations

from functools import partial

from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.cache.config import CacheConfig, parse
from kdns.plugins.cache.resolver import CacheLink
from kdns.plugins.cache.store import CacheStore


class CacheDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "cache"

    def parse(self, tokens: Dispenser, block: Block) -> CacheConfig:
        """See :func:`kdns.plugins.cache.config.parse`."""
        return parse(tokens, block)

    def build(self, config: CacheConfig, builder: BlockBuilder) -> None:
        """Add the cache to the chain."""
        same = builder.block.fingerprint or object()  # what is not known to be the same is not
        store = builder.keep(
            ("cache", builder.block.keys, same), config, partial(CacheStore, config, builder.context.deferred_free)
        )
        builder.link(CacheLink(config, builder, store))
