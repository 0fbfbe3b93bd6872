"""``sign``: sign zone files from time to time, for *file* or *auto* to serve."""

from kdns.plugins.sign.config import directive

__all__ = ["directive"]
