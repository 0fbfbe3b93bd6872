# -*- test-case-name: tests.plugins.forward.test_cores -*-
"""What can go wrong between here and an upstream, and how it is worded: a core module of *forward*."""

from __future__ import annotations

import errno
import os

from kdns.core.failure import ResolutionFailed
from kdns.wire.constants import EDE_NETWORK_ERROR, EDE_NO_REACHABLE_AUTHORITY, SERVFAIL


class ExchangeFailed(Exception):
    """
    An attempt brought no reply.

    :ivar text: what went wrong, in the words operators search for.
    :ivar silent: nothing came in time, in contrast to a refusal.
    :ivar blame: whether it speaks against the upstream; a lack of descriptors here does not.
    """

    def __init__(self, text: str, *, silent: bool = False, blame: bool = True) -> None:
        super().__init__(text)
        self.text = text
        self.silent = silent
        self.blame = blame

    def again(self) -> ExchangeFailed:
        """The same failure for somebody else."""
        return type(self)(self.text, silent=self.silent, blame=self.blame)

    def as_resolution(self) -> ResolutionFailed:
        """What the client and the ``errors`` plugin are told when nothing else worked either."""
        code = EDE_NO_REACHABLE_AUTHORITY if self.silent else EDE_NETWORK_ERROR
        return ResolutionFailed(self.text, SERVFAIL, (code, ""))


class PooledConnectionClosed(ExchangeFailed):
    """A connection that had been used before was closed by the upstream; the next one may work, and nobody is to blame."""


class Suspected(ExchangeFailed):
    """Somebody forges replies: ask in another way."""

    def __init__(self, text: str, *, silent: bool = False, blame: bool = False) -> None:
        super().__init__(text, silent=silent, blame=blame)


def no_healthy() -> ResolutionFailed:
    """All upstreams are down, or out of use."""
    return ResolutionFailed("no healthy proxies", SERVFAIL, (EDE_NO_REACHABLE_AUTHORITY, "no healthy upstream"))


def read_timeout(protocol: str, source: str, upstream: str) -> ExchangeFailed:
    """The upstream said nothing in time."""
    return ExchangeFailed(f"read {protocol} {source}->{upstream}: i/o timeout", silent=True)


def read_error(protocol: str, source: str, upstream: str, code: int) -> ExchangeFailed:
    """The system reports an error of a socket, such as a refusal."""
    return ExchangeFailed(f"read {protocol} {source}->{upstream}: read: {reason(code)}")


def dial_error(protocol: str, upstream: str, code: int) -> ExchangeFailed:
    """No socket, no route, or nobody at home."""
    return ExchangeFailed(
        f"dial {protocol} {upstream}: connect: {reason(code)}", blame=code not in (errno.EMFILE, errno.ENFILE)
    )


def dial_timeout(protocol: str, upstream: str) -> ExchangeFailed:
    """No connection came about in time."""
    return ExchangeFailed(f"dial {protocol} {upstream}: i/o timeout", silent=True)


def reason(code: int) -> str:
    """The system's text for an error number, as log lines spell it."""
    return os.strerror(code).lower() if code else "unknown error"
