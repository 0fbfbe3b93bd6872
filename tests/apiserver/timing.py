# -*- test-case-name: tests.apiserver.test_http -*-
"""What the fake API server needs of a reactor, as types: any that has these will do, an in-memory one included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.protocol import Factory


class Timer(Protocol):
    """A call planned for later."""

    def cancel(self) -> None:
        """Call it off; it must not have been called yet."""


class Clock(Protocol):
    """The time, and calls later: as much of IReactorTime as is used."""

    def seconds(self) -> float:
        """The time in seconds."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Timer:
        """Call after *delay* seconds."""


class ListeningReactor(Clock, Protocol):
    """A clock that listens too."""

    def listenTCP(self, port: int, factory: Factory, *, interface: str) -> Any:
        """Listen, as IReactorTCP says; the port returned is an IListeningPort."""

    def listenSSL(self, port: int, factory: Factory, contextFactory: Any, *, interface: str) -> Any:
        """Listen, as IReactorSSL says; the context factory is an IOpenSSLContextFactory."""
