# -*- test-case-name: tests.plugins.forward.test_ports -*-
"""
The UDP sockets from which one upstream is asked: a shell of *forward*.

A few sockets share the queries. Each is connected to the upstream, on a port that the kernel drew; chance decides which socket a query
goes from and which identifier it has. A socket is used for :data:`MOST_QUERIES` queries or :data:`LIFETIME` seconds, and for each
identifier once. Then another takes its place, and it is closed when nobody waits for a reply on it any more. ``docs/standards.md`` says
what that means to who would forge a reply.

A datagram that is no reply ends no wait. When :data:`MOST_STRAYS` came on one socket somebody is guessing: nothing is believed any
more that comes there, and what waits is asked over TCP (RFC 5452 section 9.3).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from math import inf
from random import Random
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.core.metrics import Counter
from kdns.plugins.forward.asking import Asking
from kdns.plugins.forward.failures import ExchangeFailed, Suspected, dial_error, read_error, read_timeout
from kdns.plugins.forward.metrics import UpstreamMetrics
from kdns.plugins.forward.reply import Asked, Verdict
from kdns.plugins.forward.targets import Target
from kdns.plugins.forward.udp import LONGEST, MOST_AT_ONCE, connected_socket, endpoint_text
from kdns.wire.constants import QR
from kdns.wire.message import MalformedMessage, scan

SOCKETS = 8
"""Sockets that queries are spread over; a power of two."""

MOST_QUERIES = 256
"""Queries from one socket, so at most as many wait on it; making one costs as much as half a query."""

LIFETIME = 2.0
"""Seconds after which a socket is used no more: who finds its port has that long to make use of it."""

MOST_STRAYS = 20
"""
Datagrams that are no reply to anything asked from a socket, until what comes there is not believed any more. So who knows the port can try
20 of 65536 identifiers.
"""

LATE = "late"
"""The label of replies that nobody waits for any more."""

TOGETHER = 16
"""
Queries that are sent one right after another, or fewer when the turn ends. To send one wakes whoever takes it, on this machine the upstream
itself; to wake it once for several saves a tenth of what a query costs here. The first of them shall not wait for long.
"""

_SLACK = 1e-6
"""Seconds by which a timer may be early: a deadline is a sum of floats, and so may lie a rounding error behind it."""

_DRAW = Struct("=2sB")
_DRAWS = 512
"""Identifiers drawn at a time; a system call for each would cost more than all else that is done to a query here."""


@implementer(IReadDescriptor)
class Port:
    """One socket; :class:`Ports` makes it."""

    __slots__ = (
        "_ports",
        "_recv",
        "_socket",
        "asked",
        "closed",
        "closes_at",
        "left",
        "retired",
        "send",
        "sent",
        "strays",
        "waiting",
    )

    def __init__(self, ports: Ports, made: Any, closes_at: float) -> None:
        self._ports = ports
        self._socket = made
        self._recv = made.recv
        self.send = made.send
        self.asked: dict[bytes, Asking | None] = {}
        """By identifier, in the order in which they were asked; None when nobody waits for the reply any more."""

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
        """How Twisted names it in a log."""
        return "forward"

    @property
    def source(self) -> str:
        """Where it asks from, as text."""
        return endpoint_text(self._socket.getsockname())

    def doRead(self) -> None:
        """Look at what has arrived."""
        asked, recv = self.asked, self._recv
        now = self._ports.seconds()
        refused = 0
        for _ in range(MOST_AT_ONCE):
            try:
                datagram = recv(LONGEST)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR):
                    break
                # A refusal comes before the replies that arrived ahead of it.
                refused = error.errno or errno.EIO
                continue
            asking = asked.get(datagram[:2])
            if asking is None:
                self._stray(datagram)
                if self.closed:
                    return
                continue
            question = asking.question
            if datagram.startswith(question, 12) and datagram[4:6] == b"\x00\x01":
                try:
                    request = asking.request
                    relayed = scan(datagram, (request.spelled, request.qtype, request.qclass))
                except MalformedMessage:
                    self.ignored(Verdict.MALFORMED.value)
                    if self.closed:
                        return
                    continue
                asked[asking.ident] = asking.port = None
                self.waiting -= 1
                asking.replied(relayed, len(datagram), now)
            else:
                self._look_closer(asking, datagram, now)
            if self.closed or not (self.waiting or refused):
                break
        if refused:
            self.broken(refused)
        elif self.retired and not self.waiting:
            self.close()

    def _look_closer(self, asking: Asking, datagram: bytes, now: float) -> None:
        """A datagram with a right identifier that does not show the question as it was sent."""
        request = asking.request
        ident = datagram[0] << 8 | datagram[1] if len(datagram) > 1 else 0
        verdict, relayed = Asked(ident, request.qname, request.qtype, request.qclass).judge(datagram)
        if verdict is Verdict.REPLY or verdict is Verdict.ERROR_ONLY:
            self._end(asking)
            asking.replied(relayed if verdict is Verdict.REPLY else None, len(datagram), now)
            return
        if verdict is Verdict.OTHER_QUESTION:
            asking.stranger = len(datagram)
        self.ignored(verdict.value)

    def _stray(self, datagram: bytes) -> None:
        """A datagram with an identifier that nobody waits for."""
        if datagram[:2] in self.asked:
            self._ports.metrics.ignored(LATE)  # too late, or a second time
        elif len(datagram) < 12 or not datagram[2] & QR >> 8:
            self.ignored(Verdict.MALFORMED.value)
        else:
            self.ignored(Verdict.OTHER_IDENT.value)

    def ignored(self, reason: str) -> None:
        """Count a datagram that is no reply, and when there are too many believe nothing any more."""
        self._ports.metrics.ignored(reason)
        self.strays += 1
        if self.strays >= MOST_STRAYS:
            self._fail_all(Suspected(f"{self.strays} forged replies from {self._ports.target.text}"))

    def _end(self, asking: Asking) -> None:
        self.asked[asking.ident] = None
        asking.port = None
        self.waiting -= 1

    def forget(self, asking: Asking) -> None:
        """Nobody waits for the reply to *asking* any more; what the upstream says to it will be late."""
        self._end(asking)
        # It has been silent: the next query shall not meet what may still come.
        self.retire()

    def expire(self, now: float, patience: float) -> float:
        """
        Tell those that have waited for *patience* seconds that nothing came.

        :return: when to look again.
        """
        for asking in list(self.asked.values()):
            if asking is None or asking.port is not self:
                continue
            if asking.began + patience > now:
                due = asking.began + patience
                break
            failure = read_timeout("udp", self.source, self._ports.target.text)
            self.forget(asking)
            if asking.stranger:
                asking.replied(None, asking.stranger, now)
            else:
                asking.failed(failure)
        else:
            due = inf
        if now >= self.closes_at:
            self.retire()
        return due if self.retired else min(due, self.closes_at)

    def retire(self) -> None:
        """Ask nobody from here any more; close when nobody waits."""
        if not self.retired:
            self.retired = True
            self._ports.replace(self)
        if not self.waiting:
            self.close()

    def broken(self, code: int) -> None:
        """The system says that the upstream cannot be reached: so nobody here will get a reply."""
        if self.closed:
            return
        self._fail_all(read_error("udp", self.source, self._ports.target.text, code))

    def _fail_all(self, failure: ExchangeFailed) -> None:
        left = [asking for asking in self.asked.values() if asking is not None]
        for asking in left:
            self._end(asking)
        self.retire()
        for asking in left:
            # An exception each of its own: a traceback that several coroutines add to would grow without end.
            asking.failed(failure.again())

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw an error and nothing to read, as epoll does after a refusal: the socket knows which."""
        if not self.closed:
            self.doRead()
        self.broken(errno.EIO)

    def close(self) -> None:
        """Give the socket back."""
        if not self.closed:
            self.closed = True
            self._ports.closed(self)
            self._socket.close()


class Ports:
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
        metrics: UpstreamMetrics,
        source: str = "",
    ) -> None:
        self.target = target
        self.metrics = metrics
        self.seconds: Callable[[], float] = reactor.seconds
        self._reactor = reactor
        self._chance = chance
        self._patience = patience
        self._source = source
        self._slots: list[Port | None] = [None] * SOCKETS
        self._open: dict[Port, None] = {}  # in the order of their making
        self._draws: Iterator[tuple[bytes, int]] = iter(())
        self._hits: Counter | None = None
        self._unsent: list[tuple[Port, Asking]] = []
        self._sending: Any = None
        self._call: Any = None
        self._due = inf

    @property
    def waiting(self) -> int:
        """Queries that wait for a reply."""
        return sum(port.waiting for port in self._open)

    def ask(self, asking: Asking) -> None:
        """
        Send the query of *asking* with an identifier that is drawn here, in this turn, and tell it what comes of it, perhaps at once.

        :meth:`Port.forget` on its port takes the question back.
        """
        try:
            ident, which = next(self._draws)
        except StopIteration:
            ident, which = self._draw()
        which &= SOCKETS - 1
        asking.began = now = self.seconds()
        port = self._slots[which]
        if port is None:
            self.metrics.connection("udp", False)
            try:
                port = self._make(which)
            except OSError as error:
                asking.failed(dial_error("udp", self.target.text, error.errno or 0))
                return
        else:
            hits = self._hits
            if hits is None:
                hits = self._hits = self.metrics.connection("udp", True)
            else:
                hits.value += 1
        asked = port.asked
        while ident in asked:
            ident, _ = self._draw()
        asking.ident = ident
        asking.port = port
        asked[ident] = asking
        port.waiting += 1
        port.left -= 1
        unsent = self._unsent
        unsent.append((port, asking))
        if len(unsent) >= TOGETHER:
            self._send()
        elif self._sending is None:
            self._sending = self._reactor.callLater(0, self._send_rest)
        if not port.left:
            port.retire()
        if now + self._patience < self._due:
            self._wake_at(now + self._patience, now)

    def _send_rest(self) -> None:
        self._sending = None
        self._send()

    def _send(self) -> None:
        """Send what was asked in this turn."""
        unsent, self._unsent = self._unsent, []
        for port, asking in unsent:
            if asking.port is not port or port.closed:
                continue  # nobody wants to know any more
            try:
                port.send(asking.ident + asking.message)
                port.sent = True
            except BlockingIOError:
                pass  # the buffer is full: lost on the way, like any other datagram
            except OSError as error:
                self._not_sent(port, asking, error.errno or 0)

    def _not_sent(self, port: Port, asking: Asking, code: int) -> None:
        """The system refuses to send. If others asked from this socket before, it is they who were refused."""
        if port.sent:
            port.forget(asking)
            port.broken(code)
            self.ask(asking)  # from a new socket: this goes on at most once for each that there is
        else:
            port.broken(code)

    def _draw(self) -> tuple[bytes, int]:
        for draw in self._draws:
            return draw
        self._draws = _DRAW.iter_unpack(self._chance.randbytes(_DRAW.size * _DRAWS))
        return next(self._draws)

    def _make(self, which: int) -> Port:
        """
        A new socket in place *which*.

        :raises OSError: there can be none.
        """
        made = connected_socket(self._reactor, self.target, self._source)
        now = self.seconds()
        port = self._slots[which] = Port(self, made, now + LIFETIME)
        self._open[port] = None
        self._reactor.addReader(port)
        if port.closes_at < self._due:
            self._wake_at(port.closes_at, now)
        return port

    def replace(self, port: Port) -> None:
        """*port* takes no more queries."""
        self._slots = [None if slot is port else slot for slot in self._slots]

    def closed(self, port: Port) -> None:
        """*port* is about to be closed."""
        self._reactor.removeReader(port)
        self._open.pop(port, None)
        if not self._open and self._call is not None:
            call, self._call, self._due = self._call, None, inf
            call.cancel()

    def retire(self) -> None:
        """Nobody new will ask: close each socket when nobody waits on it."""
        for port in list(self._open):
            port.retire()

    def close(self) -> None:
        """Close all sockets; who waits hears nothing more."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        for port in list(self._open):
            port.close()

    # The one timer.

    def _wake_at(self, due: float, now: float) -> None:
        if self._call is not None:
            self._call.cancel()
        self._due = due
        self._call = self._reactor.callLater(max(0.0, due - now), self._look)

    def _look(self) -> None:
        self._call, self._due = None, inf
        now = self.seconds()
        due = min((port.expire(now + _SLACK, self._patience) for port in list(self._open)), default=inf)
        if due < self._due and self._open:
            self._wake_at(due, now)
