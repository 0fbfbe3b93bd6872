# -*- test-case-name: tests.plugins.forward.test_ports -*-
"""
One question under way over UDP: what its socket must know to find its reply, and whom to tell. A core module of *forward*.

It is one object for each query, so it is a plain class with slots; flight.py adds who waits, upstream.py a Deferred.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from kdns.core.request import Request
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.wire.message import Relayed

if TYPE_CHECKING:
    from kdns.plugins.forward.ports import Port


_HEAD = Struct("!HHHHH").pack
_QUESTION_TAIL = Struct("!HH").pack


class Asking:
    """A question that was sent, or is about to be."""

    __slots__ = ("began", "ident", "message", "port", "question", "request", "stranger")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.question = question = request.spelled + _QUESTION_TAIL(request.qtype, request.qclass)
        """The question section as it is sent."""

        self.message = _HEAD(request.flags, 1, 0, 0, 0) + question if request.edns is None else request.wire(0)[2:]
        """The query behind its identifier."""

        self.ident: bytes
        """The identifier that the reply must have; drawn when it is sent, as is"""

        self.began: float
        """when that was, in seconds of the reactor's clock."""

        self.port: Port | None = None
        """The socket that waits for the reply; None when none does."""

        self.stranger = 0
        """Octets of the last reply with the right identifier to another question; 0 when none came."""

    def replied(self, relayed: Relayed | None, size: int, now: float) -> None:
        """
        The upstream replied, and nothing more will come.

        :param relayed: None when the reply was to another question, or to none.
        :param size: its octets as they came.
        """
        raise NotImplementedError

    def failed(self, failure: ExchangeFailed) -> None:
        """There will be no reply."""
        raise NotImplementedError
