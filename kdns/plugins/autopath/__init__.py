# -*- test-case-name: tests.plugins.autopath -*-
"""``autopath``: walk the client's search path here, in one query."""

from kdns.plugins.autopath.resolver import directive

__all__ = ["directive"]
