# -*- test-case-name: tests.plugins.proxyproto -*-
"""``proxyproto``: take the client's address from a header of the PROXY protocol."""

from kdns.plugins.proxyproto.plugin import directive

__all__ = ["directive"]
