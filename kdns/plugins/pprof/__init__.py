# -*- test-case-name: tests.plugins.pprof -*-
"""``pprof``: pages with profiles of this process."""

from kdns.plugins.pprof.plugin import directive

__all__ = ["directive"]
