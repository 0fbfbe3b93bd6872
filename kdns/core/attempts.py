# -*- test-case-name: tests.plugins.forward.test_watched -*-
"""
Queries to upstreams, for plugins that watch a request on its way (*dnstap*, *trace*).

A link that wants to be told passes on a request with itself among :attr:`kdns.core.request.Request.watchers`. Nothing is recorded for a
request without watchers.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from msgspec import Struct


class SocketAddress(NamedTuple):
    host: str
    """An IP address."""

    port: int


class Attempt(Struct, frozen=True):
    """A query to an upstream, and what came of it."""

    upstream: str
    """The upstream as the configuration names it."""

    remote: SocketAddress
    local: SocketAddress | None
    """Where the query left from; None when it was not sent."""

    transport: str
    """``udp``, ``tcp``, ``tls``, ``https`` or ``grpc``."""

    query: bytes
    """The message as it was sent; over HTTPS, and where there was no reply, its identifier is 0."""

    reply: bytes
    """The message as it came; empty when none came."""

    began: float
    """In seconds of the reactor's clock."""

    ended: float
    failure: str = ""


class Watcher(Protocol):
    """Is told of the queries to upstreams that a request leads to."""

    def asked_upstream(self, attempt: Attempt) -> None:
        """An attempt ended. It must not take long."""
