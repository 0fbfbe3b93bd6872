# -*- test-case-name: tests.plugins.dns64 -*-
"""``dns64``: IPv6 addresses for names that have none, for clients behind a NAT64 (RFC 6147)."""

from kdns.plugins.dns64.resolver import directive

__all__ = ["directive"]
