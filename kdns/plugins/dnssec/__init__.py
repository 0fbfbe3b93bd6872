"""``dnssec``: sign answers while they are given."""

from kdns.plugins.dnssec.config import directive

__all__ = ["directive"]
