# -*- test-case-name: tests.plugin.test_connection_limits -*-
"""``https3``: options of listeners for DNS over HTTP/3."""

from kdns.plugin.connection_limits import LimitsDirective

directive = LimitsDirective("https3", "https3", max_streams=0, max_connections=0)
