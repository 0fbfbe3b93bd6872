# -*- test-case-name: tests.plugins.web_page -*-
"""``web``: a page for operators, with plots of the last hour, what is wrong, and an explain box."""

from kdns.plugins.web.plugin import directive

__all__ = ["directive"]
