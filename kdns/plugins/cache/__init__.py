"""``cache``: keep what the plugins behind it answered, as long as its TTL and its stamps let it."""

from __future__ import annotations

from kdns.plugins.cache.build import CacheDirective
from kdns.plugins.cache.config import CacheConfig

directive = CacheDirective()

__all__ = ["CacheConfig", "directive"]
