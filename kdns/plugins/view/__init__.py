# -*- test-case-name: tests.plugins.view -*-
"""``view``: a server block for some queries only, told by expressions."""

from kdns.plugins.view.plugin import directive

__all__ = ["directive"]
