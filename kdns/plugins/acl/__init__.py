# -*- test-case-name: tests.plugins.acl -*-
"""``acl``: refuse, empty or drop queries by name, type and the client's network."""

from kdns.plugins.acl.resolver import directive

__all__ = ["directive"]
