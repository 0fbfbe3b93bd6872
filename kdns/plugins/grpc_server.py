# -*- test-case-name: tests.plugin.test_connection_limits -*-
"""``grpc_server``: options of listeners for DNS over gRPC."""

from kdns.plugin.connection_limits import LimitsDirective

directive = LimitsDirective("grpc_server", "grpc", max_streams=0, max_connections=0)
