# -*- test-case-name: tests.plugins.forward.test_sockets -*-
"""
Ask one upstream over UDP: :class:`UdpSockets` takes a :class:`~kdns.plugins.forward.queries.Query` and hands its reply to a sink.

A few sockets share the queries. Each is connected to the upstream, on a port that the kernel drew. The queries of one reactor turn leave
together from a random socket, each with a random identifier; the replies that wait at a socket are read together, compared with their
queries, and handed on in one call for each sink. A socket is used for :data:`MOST_QUERIES` queries or :data:`LIFETIME` seconds, and for
each identifier once. Then a new one takes its place, and it is closed when no query waits for a reply on it. ``docs/standards.md`` says
what that means for forged replies.

A datagram that is no reply ends no wait. After :data:`MOST_STRAYS` of them at one socket somebody is guessing: nothing that comes there is
believed any more, and its queries are asked again over a stream (RFC 5452 section 9.3).

``reactor.listenUDP`` is not used: it writes two log lines for each port, closes a refused port without a word on epoll, and keeps the
descriptor a turn longer.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from math import inf
from operator import attrgetter
from random import Random
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.core.text import bracketed
from kdns.plugins.forward.failures import (
    ExchangeFailed,
    OtherQuestion,
    Suspected,
    dial_error,
    read_error,
)
from kdns.plugins.forward.metrics import NOT_COUNTED, UpstreamMetrics
from kdns.plugins.forward.queries import (
    LATE,
    MALFORMED,
    OTHER_IDENT,
    OTHER_QUESTION,
    Query,
    WaitingQuery,
    is_error_only,
    what_is_wrong,
)
from kdns.plugins.forward.targets import Target
from kdns.wire.constants import QR

SOCKETS = 8
"""Sockets that queries are spread over; a power of two."""

MOST_QUERIES = 256
"""Queries from one socket, so at most as many wait on it. Making a socket costs as much as half a query."""

LIFETIME = 2.0
"""Seconds after which a socket takes no more queries: an attacker who finds its port has that long to use it."""

MOST_STRAYS = 20
"""
Datagrams at one socket that are no reply to anything asked from it, until nothing that comes there is believed. Somebody who knows the port
can try 20 of 65536 identifiers.
"""

TOGETHER = 16
"""
Queries that leave together, or fewer when the turn ends. Each sending wakes the upstream if it runs on this machine; waking it once for
several saves a tenth of what a query costs here. The first of them must not wait for long.
"""

LONGEST = 65535
"""Bytes of a datagram; an upstream may send more than the query said kdns can take."""

MOST_AT_ONCE = 32
"""Datagrams read in one turn, so that a flood of forged ones does not hold up everything else."""

APART = 0.0001
"""Seconds without a query after which the next one leaves at once: nothing is likely to go with it."""

FAILURES_AT_ONCE = 32
"""Failures reported to sinks in one turn: each may cause another attempt, or a reply and a log line."""

_NOW = object()
_SLACK = 1e-6
"""Seconds by which a timer may be early: a deadline is a sum of floats, which may lie a rounding error behind it."""

_DRAWN = 512
"""Random numbers drawn at a time; a system call for each would cost more than everything else that is done to a query here."""

_sink_of = attrgetter("sink")
_log = Logger(namespace="plugin/forward")


@implementer(IReadDescriptor)
class UdpSocket:
    __slots__ = (
        "_recv",
        "_socket",
        "asked",
        "closed",
        "closes_at",
        "left",
        "owner",
        "retired",
        "sent",
        "strays",
        "waiting",
    )

    def __init__(self, owner: UdpSockets, made: Any, closes_at: float) -> None:
        self.owner = owner
        self._socket = made
        self._recv = made.recv
        self.asked: dict[bytes, Query | None] = {}
        """By identifier, in the order in which they were sent; None when the query does not wait any more."""

        self.waiting = 0
        self.left = MOST_QUERIES
        self.strays = 0
        self.closes_at = closes_at
        self.retired = False
        self.closed = False
        self.sent = False

    def fileno(self) -> int:
        """The socket's descriptor; -1 when it is closed."""
        number: int = self._socket.fileno()
        return number

    def logPrefix(self) -> str:
        return "forward"

    @property
    def address(self) -> tuple[str, int]:
        """Its local address and port."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def source(self) -> str:
        """The same, for failure texts."""
        host, port = self.address
        return f"{bracketed(host)}:{port}"

    # Sending

    def send(self, queries: list[Query]) -> None:
        """Send the queries that were not cancelled."""
        send = self._socket.send
        for query in queries:
            if query.socket is not self or self.closed:
                continue
            try:
                send(query.ident + query.message)
                self.sent = True
            except BlockingIOError:
                pass  # the buffer is full: lost on the way, like any other datagram
            except OSError as error:
                self._not_sent(query, error.errno or 0)

    def _not_sent(self, query: Query, code: int) -> None:
        """The kernel refuses to send. If other queries left here before, the refusal is about them."""
        if self.sent:
            self.forget(query)
            self.broken(code)
            self.owner.send(query)  # from a new socket: this happens at most once for each that there is
        else:
            self.broken(code)

    # Receiving

    def doRead(self) -> None:
        """Read the datagrams that arrived."""
        datagrams, refused = self._receive()
        asked = self.asked
        replied = []
        for datagram in datagrams:
            ident = datagram[:2]
            query = asked.get(ident)
            if (
                query is not None
                and datagram.startswith(query.question, 12)
                and datagram[4:6] == b"\0\1"
                and datagram[2] & 0x80
            ):
                asked[ident] = query.socket = None
                query.reply = datagram
                replied.append(query)
            elif query is not None and self._is_reply(query, datagram):
                replied.append(query)
            elif query is None:
                self._unknown(datagram)
            if self.strays >= MOST_STRAYS:
                break  # a right guess now is too late
        self.waiting -= len(replied)
        if replied:
            now = self.owner.seconds()
            for sink, queries in groupby(replied, _sink_of):
                try:
                    sink.replied(list(queries), now)
                except Exception:  # a fault in one sink must not take the socket from the others
                    _log.failure("a reply from {upstream} could not be used", upstream=self.owner.target.text)
        if self.strays >= MOST_STRAYS:
            self._fail_all(Suspected(f"{self.strays} forged replies from {self.owner.target.text}"))
        elif refused:
            self.broken(refused)
        elif self.retired and not self.waiting:
            self.close()

    def _receive(self) -> tuple[list[bytes], int]:
        """The waiting datagrams, up to a bound, and the error that the kernel reports after them."""
        datagrams: list[bytes] = []
        recv, refused = self._recv, 0
        # When all awaited replies are there, one more call would only say that there is nothing.
        awaited = min(self.waiting, MOST_AT_ONCE) or 1
        while len(datagrams) < awaited:
            try:
                datagrams.append(recv(LONGEST))
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR):
                    break
                if refused:
                    break
                # A refusal is reported once, before the replies that arrived ahead of it.
                refused = error.errno or errno.EIO
        return datagrams, refused

    def _unknown(self, datagram: bytes) -> None:
        """A datagram with an identifier for which no query waits."""
        if datagram[:2] in self.asked:
            self.owner.metrics.ignored(LATE)  # too late, or a second time: no sign of a forgery
        else:
            self._stray(OTHER_IDENT if len(datagram) >= 12 and datagram[2] & QR >> 8 else MALFORMED)

    def _is_reply(self, query: Query, datagram: bytes) -> bool:
        """Whether a datagram with a differently spelled question is the reply to *query* all the same."""
        wrong = what_is_wrong(datagram, query.question)
        if not wrong:
            self.asked[query.ident] = query.socket = None
            query.reply = datagram
            return True
        if is_error_only(datagram):
            self._end(query)
            failure = OtherQuestion(f"read udp {self.owner.target.text}: error without a question")
            self.owner.fail([(query, failure)])
            return False
        query.stranger = query.stranger or wrong == OTHER_QUESTION
        self._stray(wrong)
        return False

    def _stray(self, reason: str) -> None:
        self.owner.metrics.ignored(reason)
        self.strays += 1

    # The end of queries

    def _end(self, query: Query) -> None:
        self.asked[query.ident] = None
        query.socket = None
        self.waiting -= 1

    def forget(self, query: Query) -> None:
        """Forget *query*; a reply to it counts as late."""
        self._end(query)
        if not self.owner.take_back(query) and not self.waiting:
            self.retire()  # silence leaves nothing behind

    def expire(self, now: float, patience: float) -> float:
        """
        Fail the queries that have waited for *patience* seconds.

        :return: when to look again.
        """
        due = inf
        expired: list[Query] = []
        for query in self.asked.values():
            if query is None:
                continue
            if query.sent_at + patience > now:
                due = query.sent_at + patience
                break
            expired.append(query)
        if expired:
            text = f"read udp {self.source}->{self.owner.target.text}: "
            for query in expired:
                self._end(query)
            self.retire()
            self.owner.fail(
                (query, OtherQuestion(f"{text}replies to another question"))
                if query.stranger
                else (query, ExchangeFailed(f"{text}i/o timeout", silent=True))
                for query in expired
            )
        if now >= self.closes_at:
            self.retire()
        return due if self.retired else min(due, self.closes_at)

    def retire(self) -> None:
        """Send no more queries from here; close once none waits."""
        if not self.retired:
            self.retired = True
            self.owner.replace(self)
        if not self.waiting:
            self.close()

    def broken(self, code: int) -> None:
        """The kernel reports that the upstream is unreachable, so no query here will get a reply."""
        if not self.closed:
            self._fail_all(read_error("udp", self.source, self.owner.target.text, code))

    def _fail_all(self, failure: ExchangeFailed) -> None:
        left = [query for query in self.asked.values() if query is not None]
        for query in left:
            self._end(query)
        self.retire()
        self.owner.fail((query, failure.again()) for query in left)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error and nothing to read, as epoll does after a refusal; the socket has the error."""
        if not self.closed:
            self.doRead()
        self.broken(errno.EIO)

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            self.closed = True
            self.owner.closed(self)
            self._socket.close()


class UdpSockets:
    """
    Ask one upstream over UDP.

    :param chance: draws identifiers and sockets; it must not be possible to foresee it.
    :param patience: seconds that a query waits for its reply.
    :param source: the local address to send from; empty leaves it to the kernel.
    """

    def __init__(
        self,
        reactor: Any,
        target: Target,
        chance: Random,
        patience: float,
        metrics: UpstreamMetrics = NOT_COUNTED,
        source: str = "",
    ) -> None:
        self.target = target
        self.metrics = metrics
        self.seconds: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._chance = chance
        self._patience = patience
        self._source = source
        self._slots: list[UdpSocket | None] = [None] * SOCKETS
        self._open: dict[UdpSocket, None] = {}  # in the order of their making
        self._idents: Iterator[bytes] = iter(())
        self._places: Iterator[int] = iter(())
        self._hits: Counter | None = None
        self._socket: UdpSocket | None = None
        """The socket that the unsent queries will leave from."""

        self._unsent: list[Query] = []
        self._last = -inf
        """When a query was sent last, in seconds of the reactor's clock."""

        self._failures: deque[tuple[Query, ExchangeFailed]] = deque()
        self._telling: Any = None
        """The call that continues reporting failures; :data:`_NOW` while one is reported."""

        self._sending: Any = None
        self._call: Any = None
        self._due = inf

    @property
    def waiting(self) -> int:
        """Queries that wait for a reply."""
        return sum(one.waiting for one in self._open)

    def send(self, query: Query) -> None:
        """
        Send *query* in this turn, with an identifier that is drawn here, and tell its sink what comes of it, perhaps at once.

        :meth:`UdpSocket.forget` on its socket takes it back.
        """
        chosen = self._socket
        if chosen is None or chosen.retired:
            self.flush()  # to the socket that is about to be replaced
            which = next(self._places, -1)
            if which < 0:
                self._places = iter(self._chance.randbytes(_DRAWN))
                which = next(self._places)
            which &= SOCKETS - 1
            chosen = self._slots[which]
            if chosen is None:
                self.metrics.connection("udp", False)
                try:
                    chosen = self._make(which)
                except OSError as error:
                    query.sink.failed(query, dial_error("udp", self.target.text, error.errno or 0))
                    return
            else:
                self._count_hit()
            self._socket = chosen
        else:
            self._count_hit()
        asked = chosen.asked
        ident = next(self._idents, b"")
        while not ident or ident in asked:
            ident = next(self._idents, b"") or self._draw()
        query.ident = ident
        query.socket = chosen
        query.sent_at = now = self.seconds()
        asked[ident] = query
        chosen.waiting += 1
        chosen.left -= 1
        self._unsent.append(query)
        if now + self._patience < self._due:
            self._wake_at(now + self._patience, now)
        alone = now - self._last > APART and self._sending is None
        self._last = now
        if alone or len(self._unsent) >= TOGETHER or not chosen.left:
            self.flush()
            if not chosen.left:
                chosen.retire()
        elif self._sending is None:
            self._sending = self._reactor.callLater(0, self._turn_ends)

    def take_back(self, query: Query) -> bool:
        """Remove *query* from those not sent yet; whether it was one."""
        unsent = query in self._unsent
        if unsent:
            self._unsent.remove(query)
        return unsent

    def _count_hit(self) -> None:
        if self._hits is None:
            self._hits = self.metrics.connection("udp", True)
        else:
            self._hits.value += 1

    def _draw(self) -> bytes:
        drawn = self._chance.randbytes(2 * _DRAWN)
        self._idents = iter([drawn[i : i + 2] for i in range(0, 2 * _DRAWN, 2)])
        return next(self._idents)

    def _turn_ends(self) -> None:
        self._sending = None
        self.flush()

    def flush(self) -> None:
        """Send the queries of this turn."""
        unsent, chosen = self._unsent, self._socket
        self._socket = None
        if unsent and chosen is not None:
            self._unsent = []
            chosen.send(unsent)

    def _make(self, which: int) -> UdpSocket:
        """
        A new socket in place *which*.

        :raises OSError: there can be none.
        """
        made = connected_socket(self._reactor, self.target, self._source)
        now = self.seconds()
        new = self._slots[which] = UdpSocket(self, made, now + LIFETIME)
        self._open[new] = None
        self._reactor.addReader(new)
        if new.closes_at < self._due:
            self._wake_at(new.closes_at, now)
        return new

    def replace(self, old: UdpSocket) -> None:
        """*old* takes no more queries."""
        self._slots = [None if slot is old else slot for slot in self._slots]

    def closed(self, old: UdpSocket) -> None:
        """*old* is about to be closed."""
        self._reactor.removeReader(old)
        self._open.pop(old, None)
        if not self._open and self._call is not None:
            call, self._call, self._due = self._call, None, inf
            call.cancel()

    def retire(self) -> None:
        """No more queries will come: close each socket once no query waits on it."""
        for one in list(self._open):
            one.retire()

    def close(self) -> None:
        """Close all sockets; waiting queries get no outcome."""
        self._unsent = []
        self._failures.clear()
        for call in (self._sending, self._telling):
            if call is not None and call is not _NOW:
                call.cancel()
        self._sending = self._telling = None
        for one in list(self._open):
            one.close()

    # Failures

    def fail(self, failures: Iterable[tuple[Query, ExchangeFailed]]) -> None:
        """Report failures to sinks: the first few now, the others in the next turns."""
        self._failures += failures
        if self._telling is None:
            self._tell_some()

    def _tell_some(self) -> None:
        failures = self._failures
        self._telling = _NOW
        for _ in range(FAILURES_AT_ONCE):
            if not failures:
                self._telling = None
                return
            query, failure = failures.popleft()
            try:
                query.sink.failed(query, failure)
            except Exception:  # a fault in one sink must not take the failures of the others
                _log.failure("a failure of {upstream} could not be told", upstream=self.target.text)
        self._telling = self._reactor.callLater(0, self._tell_some)

    # The one timer.

    def _wake_at(self, due: float, now: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._due = due
        self._call = self._reactor.callLater(max(0.0, due - now), self._look)

    def _look(self) -> None:
        self._call, self._due = None, inf
        now = self.seconds()
        due = min((one.expire(now + _SLACK, self._patience) for one in list(self._open)), default=inf)
        if due < self._due and self._open:
            self._wake_at(due, now)


def connected_socket(reactor: Any, target: Target, source: str = "") -> Any:
    """
    A socket that sends to and receives from *target* only, on a port that the kernel draws. An ICMP refusal is seen at once.

    :param reactor: a reactor with ``datagram_socket``, as that of :mod:`kdns.testing`, brings its own sockets.
    :param source: the local address; empty leaves it to the kernel.
    :raises OSError: there can be none.
    """
    ipv6 = ":" in target.host
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    own = getattr(reactor, "datagram_socket", None)
    made = own(family) if own is not None else socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind((source or ("::" if ipv6 else "0.0.0.0"), 0))
        made.connect((target.host, target.port))
    except OSError:
        made.close()
        raise
    return made


async def ask_once(
    reactor: Any, target: Target, chance: Random, message: bytes, question: bytes, patience: float, source: str = ""
) -> bytes:
    """
    Send one query of kdns's own from a socket of its own, and return the reply.

    :param message: the query without its identifier.
    :raises ExchangeFailed: there is none within *patience* seconds.
    """
    sockets = UdpSockets(reactor, target, chance, patience, source=source)
    query = WaitingQuery(message, question)
    sockets.send(query)
    sockets.flush()
    try:
        return await query.done
    finally:
        sockets.close()
