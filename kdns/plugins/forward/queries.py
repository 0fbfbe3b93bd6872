# -*- test-case-name: tests.plugins.forward.test_sockets -*-
"""A query in flight over UDP, the sink that takes its reply, and which datagrams are its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from kdns.plugins.forward.failures import ExchangeFailed
from kdns.wire.constants import QR, RCODE_MASK
from kdns.wire.names import MalformedName, read_name

if TYPE_CHECKING:
    from kdns.plugins.forward.sockets import UdpSocket

LATE = "late"
"""Reasons why a datagram was ignored, as ``kdns_forward_replies_ignored_total`` shows them: no query waits for it any more,"""

OTHER_IDENT = "id"
"""no query has this identifier,"""

OTHER_QUESTION = "question"
"""the identifier is right and the question is not,"""

MALFORMED = "malformed"
"""it is no reply at all,"""

UNREADABLE = "unreadable"
"""or it is the reply, and its records cannot be read."""


class Sink(Protocol):
    """Receives the outcome of queries. Both calls may come during :meth:`kdns.plugins.forward.sockets.UdpSockets.send`."""

    def replied(self, queries: list[Any], now: float) -> None:
        """
        Each of the queries has its ``reply``, compared with its identifier and question; its records have not been looked at.

        :param now: in seconds of the reactor's clock.
        """

    def failed(self, query: Any, failure: ExchangeFailed) -> None:
        """There will be no reply."""


class Query:
    """
    A query in flight over UDP. One object for each query, so it is a plain class with slots.

    :param message: the query without its identifier.
    :param question: the question section in it: an uncompressed name, type and class.
    """

    __slots__ = ("ident", "message", "question", "reply", "sent_at", "sink", "socket", "stranger")

    def __init__(self, message: bytes, question: bytes, sink: Sink) -> None:
        self.message = message
        self.question = question
        self.sink = sink
        self.ident = b""
        """The identifier that it was sent with."""

        self.sent_at = 0.0
        """When it was sent, in seconds of the reactor's clock."""

        self.socket: UdpSocket | None = None
        """The socket that waits for the reply; None when none does."""

        self.reply = b""
        self.stranger = False
        """Whether a reply with the right identifier to another question has come."""


class WaitingQuery(Query):
    """A query whose reply fires a Deferred. Cancelling it forgets the query."""

    __slots__ = ("done",)

    def __init__(self, message: bytes, question: bytes) -> None:
        super().__init__(message, question, _WAITERS)
        self.done: Deferred[bytes] = Deferred(self._cancelled)

    def _cancelled(self, done: Deferred[bytes]) -> None:
        if self.socket is not None:
            self.socket.forget(self)


class _Waiters:
    def replied(self, queries: list[WaitingQuery], now: float) -> None:
        for query in queries:
            query.done.callback(query.reply)

    def failed(self, query: WaitingQuery, failure: ExchangeFailed) -> None:
        if not query.done.called:  # cancelled meanwhile
            query.done.errback(failure)


_WAITERS = _Waiters()


def what_is_wrong(message: bytes, question: bytes) -> str:
    """
    Compare the question of a reply with the one that was asked.

    :param question: as it was asked: an uncompressed name, type and class.
    :return: empty when they are the same but for letter case (RFC 1035 section 2.3.3), or :data:`MALFORMED` or :data:`OTHER_QUESTION`.
    """
    end = 12 + len(question)
    if len(message) < 12 or not message[2] & QR >> 8 or message[4] or message[5] > 1:
        return MALFORMED
    if not message[5]:
        return OTHER_QUESTION
    if message[end - 4 : end] == question[-4:] and message[12 : end - 4].lower() == question[:-4].lower():
        return ""
    try:
        _, behind = read_name(message, 12)
    except MalformedName:
        return MALFORMED
    return OTHER_QUESTION if behind + 4 <= len(message) else MALFORMED


def is_error_only(message: bytes) -> bool:
    """Whether a message is an error without a question, as from servers that cannot read the query."""
    return (
        len(message) >= 12 and bool(message[2] & QR >> 8) and message[4:6] == b"\0\0" and bool(message[3] & RCODE_MASK)
    )
