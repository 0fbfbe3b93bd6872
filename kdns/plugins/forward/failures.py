# -*- test-case-name: tests.plugins.forward.test_policy -*-
"""What can go wrong between kdns and an upstream, in the words that operators search for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.failure import ResolutionFailed
from kdns.wire.constants import EDE_NETWORK_ERROR, EDE_NO_REACHABLE_AUTHORITY, EDE_OTHER, SERVFAIL


class ExchangeFailed(Exception):
    """
    An attempt brought no usable reply.

    :ivar text: what went wrong.
    :ivar silent: nothing came in time, as opposed to a refusal.
    :ivar blame: whether the upstream is to be checked; a lack of descriptors here is not its fault.
    :cvar blamed: the same, where the caller says nothing.
    """

    blamed = True

    def __init__(self, text: str, *, silent: bool = False, blame: bool | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.silent = silent
        self.blame = self.blamed if blame is None else blame

    def again(self) -> ExchangeFailed:
        """
        The same failure, for another query.

        Each query gets an exception of its own: a traceback to which several coroutines add would grow without end.
        """
        return type(self)(self.text, silent=self.silent, blame=self.blame)

    def as_resolution(self) -> ResolutionFailed:
        """The failure for the client and the ``errors`` plugin when no other attempt worked."""
        code = EDE_NO_REACHABLE_AUTHORITY if self.silent else EDE_NETWORK_ERROR
        return ResolutionFailed(self.text, SERVFAIL, (code, ""))


class PooledConnectionClosed(ExchangeFailed):
    """The upstream closed a connection that had been used before. Another one may work."""


class Suspected(ExchangeFailed):
    """Replies to this query are being forged: ask over a stream."""

    blamed = False


class OtherQuestion(ExchangeFailed):
    """The upstream replied to another question, or with an error and no question."""

    blamed = False


class Unreadable(ExchangeFailed):
    """The reply to the question has records that cannot be read. The upstream is alive, so there is nothing to check."""

    blamed = False

    def as_resolution(self) -> ResolutionFailed:
        """See :meth:`ExchangeFailed.as_resolution`."""
        return ResolutionFailed(self.text, SERVFAIL, (EDE_OTHER, "unreadable reply from upstream"))


def no_healthy() -> ResolutionFailed:
    return ResolutionFailed("no healthy proxies", SERVFAIL, (EDE_NO_REACHABLE_AUTHORITY, "no healthy upstream"))


def read_timeout(protocol: str, source: str, upstream: str) -> ExchangeFailed:
    """No reply came in time."""
    return ExchangeFailed(f"read {protocol} {source}->{upstream}: i/o timeout", silent=True)


def read_error(protocol: str, source: str, upstream: str, code: int) -> ExchangeFailed:
    """The system reports an error of a socket, such as a refusal."""
    return ExchangeFailed(f"read {protocol} {source}->{upstream}: read: {reason(code)}")


def dial_error(protocol: str, upstream: str, code: int) -> ExchangeFailed:
    """No socket, no route, or no listener."""
    return ExchangeFailed(
        f"dial {protocol} {upstream}: connect: {reason(code)}", blame=code not in (errno.EMFILE, errno.ENFILE)
    )


def dial_timeout(protocol: str, upstream: str) -> ExchangeFailed:
    """No connection was made in time."""
    return ExchangeFailed(f"dial {protocol} {upstream}: i/o timeout", silent=True)


def reason(code: int) -> str:
    """The system's text for an error number, as log lines spell it."""
    return os.strerror(code).lower() if code else "unknown error"


def each_failed(waiting: Iterable[Deferred[Any]], error: Callable[[], BaseException | None]) -> Iterator[None]:
    """
    Fail Deferreds, one in each step, unless they have been cancelled meanwhile.

    Each gets a Failure of its own: a traceback to which several coroutines add would grow without end.
    """
    for waiter in waiting:
        if not waiter.called:
            waiter.errback(Failure(error()))
            yield
