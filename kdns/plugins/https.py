# -*- test-case-name: tests.plugin.test_connection_limits -*-
"""``https``: options of listeners for DNS over HTTPS."""

from kdns.plugin.connection_limits import LimitsDirective

directive = LimitsDirective("https", "https", max_connections=0)
