# -*- test-case-name: tests.testing -*-
"""
A Kubernetes API server for tests: real HTTP over any reactor, an honest store, and every trouble a client can meet.

    api = ApiServer(reactor)
    api.start()                                # or start(tls=True)
    self.addCleanup(api.stop)
    api.load(manifests)                        # or api.apply(obj), api.populate()
    api.inject(FaultKind.CUT, "services", "watch", after_lines=2, mid_line=True)

``python -m tests.apiserver --help`` runs it as a program.
"""

from tests.apiserver.access import ADMIN, COREDNS, LIST_AND_WATCH, Access, User
from tests.apiserver.credentials import InCluster, Login, write_exec_token
from tests.apiserver.faults import Fault, FaultKind
from tests.apiserver.rest import WatchListSupport
from tests.apiserver.server import ApiServer, LoggedRequest, ServerOptions
from tests.apiserver.status import ApiError

__all__ = [
    "ADMIN",
    "COREDNS",
    "LIST_AND_WATCH",
    "Access",
    "ApiError",
    "ApiServer",
    "Fault",
    "FaultKind",
    "InCluster",
    "LoggedRequest",
    "Login",
    "ServerOptions",
    "User",
    "WatchListSupport",
    "write_exec_token",
]
