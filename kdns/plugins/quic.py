# -*- test-case-name: tests.plugin.test_connection_limits -*-
"""``quic``: options of listeners for DNS over QUIC."""

from kdns.plugin.connection_limits import LimitsDirective

directive = LimitsDirective("quic", "quic", max_streams=1, worker_pool_size=1, max_connections=0)
