# -*- test-case-name: tests.server.test_mmsg -*-
"""
DNS over UDP on Linux: up to 64 datagrams a system call, in and out, with hardly a Python object in between.

``recvmmsg`` fills fixed buffers; for each query the octets behind the identifier are looked up in the answer table, and the reply is sent
from where it lies in memory, behind the two octets of the identifier where they lie in the buffer. What is not in the table goes to the
listener; an answer that is there at once leaves in the same ``sendmmsg``, others leave later (udp_send_queue.py).

A socket bound to the wildcard receives with each datagram the address it was sent to, and answers from that address: a host with
several would otherwise answer from one that the client did not ask.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from math import inf
from random import random
from struct import Struct
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from kdns.core.request import Transport
from kdns.core.stamps import MOVES
from kdns.core.tally import Durations, Tally
from kdns.plugin.proxied import Origin
from kdns.server.addresses import unpack_sockaddr
from kdns.server.datagrams import answer_datagram
from kdns.server.fairness import WINDOW, MissShares
from kdns.server.listener import Listener
from kdns.server.receive_drops import receive_drops
from kdns.server.replay import observe
from kdns.server.table import AnswerTable
from kdns.server.table_keys import COOKIE
from kdns.server.udp_send_queue import (
    BYTES_HEAD,
    CONTROL,
    HEAD,
    IOVEC,
    MSGHDR,
    NAME,
    UdpSendQueue,
    address_of,
    send_all,
)

log = Logger(namespace="kdns.server")

BATCH = 64
"""Datagrams a system call."""

MAX_QUERY = 4096
"""Octets of a datagram that are read; a longer query is cut and answered FORMERR."""

_PLACES = tuple((i, i * MAX_QUERY, i * 4 + 2) for i in range(BATCH))
"""For each datagram of a batch: its number, where its octets begin, and which word of the vectors points at the reply."""

TURN_SECONDS = 0.002
"""
How long to go on answering when there is always more; the last query begins within it. The reactor calls what was put off to later before
it looks at the sockets again, so there may be two of these in a turn.
"""

LOOK_SECONDS = 0.01
"""Between two looks at the kernel's count of dropped datagrams, while more wait than are read at a time."""

ASIDE_SECONDS = 0.25
"""How long what the kernel holds for a socket may take that steps aside: its buffer is bounded, and so is this."""

_POINTER = Struct("=QQ")

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IPV6_RECVPKTINFO = 49


def _octets_lie_where_expected() -> bool:
    probe = bytes(range(7, 27))
    return ctypes.string_at(id(probe) + BYTES_HEAD, len(probe)) == probe


def available(reactor: Any) -> bool:
    """Whether this way can be gone: Linux, 64 bits, CPython, and a reactor that watches file descriptors."""
    return (
        sys.platform == "linux"
        and sys.implementation.name == "cpython"
        and sys.byteorder == "little"
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and IReactorFDSet.providedBy(reactor)
        and _octets_lie_where_expected()
    )


class _Buffers:
    """The fixed memory of one socket: datagrams, addresses, ancillary data, and the vectors that point at them."""

    def __init__(self, wildcard: bool, name_size: int) -> None:
        """
        :param wildcard: whether the address that was asked comes and goes with each datagram.
        :param name_size: of the address of a client.
        """
        self.data = bytes(BATCH * MAX_QUERY)
        """The datagrams. The kernel writes into what Python takes for unchangeable: a piece of it is then a copy, and one copy only."""

        self.names = bytearray(BATCH * NAME)
        self.control = bytearray(BATCH * CONTROL)
        self.in_iov = bytearray(BATCH * IOVEC)
        self.out_iov = bytearray(BATCH * 2 * IOVEC)
        self.in_heads = bytearray(BATCH * HEAD)
        self.out_heads = bytearray(BATCH * HEAD)
        data, names, control = address_of(self.data), address_of(self.names), address_of(self.control)
        in_iov, out_iov = address_of(self.in_iov), address_of(self.out_iov)
        for i in range(BATCH):
            _POINTER.pack_into(self.in_iov, i * IOVEC, data + i * MAX_QUERY, MAX_QUERY)
            _POINTER.pack_into(self.out_iov, i * 2 * IOVEC, data + i * MAX_QUERY, 2)
            name, ancillary = names + i * NAME, control + i * CONTROL
            MSGHDR.pack_into(
                self.in_heads,
                i * HEAD,
                name,
                NAME,
                in_iov + i * IOVEC,
                1,
                ancillary if wildcard else 0,
                CONTROL if wildcard else 0,
                0,
                0,
            )
            MSGHDR.pack_into(
                self.out_heads,
                i * HEAD,
                name,
                name_size,
                out_iov + i * 2 * IOVEC,
                2,
                ancillary if wildcard else 0,
                0,
                0,
                0,
            )
        self.fresh_heads = bytes(self.in_heads)
        self.in_vector = address_of(self.in_heads)
        self.out_vector = address_of(self.out_heads)
        # Views of 32 and 64 bit fields: msg_namelen is word 2, msg_controllen is quad 5, msg_len is word 14 of a head, and the interface is
        # word 4 of what comes with a datagram over IPv4.
        self.in_words = memoryview(self.in_heads).cast("I")
        self.in_quads = memoryview(self.in_heads).cast("Q")
        self.out_quads = memoryview(self.out_heads).cast("Q")
        self.out_pointers = memoryview(self.out_iov).cast("Q")
        self.control_words = memoryview(self.control).cast("I")
        self.no_words = memoryview(bytearray(BATCH * 4)).cast("I")


def _none(key: bytes, now: float) -> None:
    """The fast path of a table that has none."""


class _Client:
    """The client of a query that waits; see :class:`kdns.server.fast_forward.Client`."""

    __slots__ = ("_control", "_name", "_send_queue", "local")

    def __init__(self, queue: UdpSendQueue, name: bytes, control: bytes, local: str) -> None:
        self._send_queue = queue
        self._name = name
        self._control = control
        self.local = local

    def respond(self, reply: bytes) -> None:
        """See :class:`kdns.server.fast_forward.Client`."""
        if reply:
            self._send_queue.add(reply, self._name, self._control)

    def address(self) -> tuple[str, int]:
        """See :class:`kdns.server.fast_forward.Client`."""
        return unpack_sockaddr(self._name)


@implementer(IReadDescriptor)
class MmsgPort:
    """One bound UDP socket that serves a listener; add it to a reactor as a reader."""

    def __init__(self, reactor: Any, sock: socket.socket, listener: Listener, table: AnswerTable) -> None:
        self._reactor = reactor
        self._socket = sock
        self._listener = listener
        self._table = table
        self._shares = MissShares()
        self._drops = receive_drops(sock)
        self._dropping = False
        """Whether the kernel dropped datagrams between the last two looks, the last of them at most :data:`LOOK_SECONDS` ago."""

        self._look_at = listener.context.clock()
        host = sock.getsockname()[0]
        self._wildcard = host in ("0.0.0.0", "::")
        self._local = "::" if self._wildcard else host
        self._v6 = sock.family == socket.AF_INET6
        if self._wildcard and self._v6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        elif self._wildcard:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._buffers = _Buffers(self._wildcard, 28 if self._v6 else 16)
        libc = ctypes.CDLL(None, use_errno=True)
        arguments: list[Any] = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self._recvmmsg = libc.recvmmsg
        self._recvmmsg.argtypes = [*arguments, ctypes.c_void_p]
        self._sendmmsg = libc.sendmmsg
        self._sendmmsg.argtypes = arguments
        # Of the batch in the buffers: when it came, how many datagrams, which is next, and the turn that goes on with it.
        self._received = 0.0
        self._count = self._next = 0
        self._rest: Any = None
        self._lost = listener.context.registry.counter(
            "kdns_udp_send_errors_total", "Replies over UDP that the kernel did not take."
        ).counter()
        self._send_queue = UdpSendQueue(
            reactor, sock, self._sendmmsg, 28 if self._v6 else 16, self._wildcard, self._lost
        )

    # What a reactor wants of a reader.

    def fileno(self) -> int:
        """The socket's file descriptor; -1 when it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """How Twisted names the port in its own log."""
        return "kdns UDP"

    def connectionLost(self, reason: Any) -> None:
        """The reactor gives the socket up."""
        self._socket.close()

    def startReading(self) -> None:
        """Begin to serve."""
        self._reactor.addReader(self)

    def stop_receiving(self) -> None:
        """
        Take nothing new, but answer what the kernel holds for this socket already; replies that come later still go out.

        A socket with a peer gets what the peer sends and nothing else: Linux gives what comes for the port to those that share it, such as
        the process that takes over. It is its own peer, and never writes to itself. Where that cannot be had, it goes on as before.
        """
        if self._socket.fileno() < 0:
            return
        host, *others = self._socket.getsockname()
        try:
            self._socket.connect(({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), *others))
        except OSError:
            pass  # what comes between here and the end is lost, and there is nobody else to get it
        clock = self._listener.context.clock
        until = clock() + ASIDE_SECONDS
        while clock() < until:
            self.doRead()
            if self._next >= self._count and self._count < BATCH:
                return

    def stopListening(self) -> None:
        """Serve no more but the rest of a batch that was read; what is still waiting is answered no more either."""
        self._reactor.removeReader(self)
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
            self._serve_rest(inf)
        self._send_queue.flush()
        self._socket.close()

    def getsockname(self) -> Any:
        """Address and port that it is bound to."""
        return self._socket.getsockname()

    def serve(self, listener: Listener) -> None:
        """Ask *listener* from now on."""
        self._listener = listener

    # The way of a datagram.

    def doRead(self) -> None:
        """
        Serve what has come, in batches, for a bounded time.

        A batch of queries that are not in the table may take longer than a turn has: what is left of it waits for the next one.
        """
        clock = self._listener.context.clock
        fd = self._socket.fileno()
        buffers = self._buffers
        started = clock()
        while fd >= 0:
            if self._next >= self._count:
                buffers.in_heads[:] = buffers.fresh_heads
                self._count = self._recvmmsg(fd, buffers.in_vector, BATCH, socket.MSG_DONTWAIT, None)
                self._next = 0
                if self._count <= 0:
                    return
                self._received = clock()
                if self._count == BATCH and self._received >= self._look_at:
                    self._look_for_drops(self._received)
                self._listener.sample_every = self._count + 3 >> 2
            self._serve_rest(started + TURN_SECONDS)
            if self._next < self._count:
                if self._rest is None:
                    self._rest = self._reactor.callLater(0, self._read_on)
                return
            if self._count < BATCH or clock() - started > TURN_SECONDS:
                return

    def _look_for_drops(self, now: float) -> None:
        """Find out whether the kernel drops datagrams now; what it dropped long before the last look says nothing of that."""
        recently = now < self._look_at + WINDOW
        self._look_at = now + LOOK_SECONDS
        before, self._drops = self._drops, receive_drops(self._socket)
        self._dropping = recently and self._drops != before

    def _read_on(self) -> None:
        """The next turn: no new datagram need come for the rest of a batch to be served."""
        self._rest = None
        self.doRead()

    def _serve_rest(self, deadline: float) -> None:
        """Serve what is left of the batch in the buffers, as far as *deadline* allows."""
        try:
            now = self._listener.context.clock()
            if self._listener.zones.proxy is not None:
                self._serve_proxied(deadline)
                return
            self._next = self._serve_batch(self._next, self._count, now, deadline)
        except Exception:
            # Whatever went wrong with these datagrams, the reactor must not close the socket over it.
            log.failure("A batch of {count} queries was dropped", count=self._count - self._next)
            self._next = self._count

    def _serve_proxied(self, deadline: float) -> None:
        """Serve the batch one by one: a header in front of each query says who asks."""
        clock = self._listener.context.clock
        while self._next < self._count:
            i, self._next = self._next, self._next + 1
            message, name, control = self._slot(i)
            try:
                client, port = unpack_sockaddr(name)
            except ValueError:
                continue

            def send(reply: bytes, name: bytes = name, control: bytes = control) -> None:
                if reply:
                    self._send_queue.add(reply, name, control)

            answer_datagram(self._listener, self._table, message, Origin(client, port, self._local), send)
            if clock() > deadline:
                return

    def _slot(self, i: int) -> tuple[bytes, bytes, bytes]:
        """A query, its client's address as the kernel gave it, and the packet information that came with it."""
        buffers = self._buffers
        start = i * MAX_QUERY
        message = buffers.data[start : start + buffers.in_words[i * 16 + 14]]
        name = bytes(buffers.names[i * NAME : i * NAME + buffers.in_words[i * 16 + 2]])
        control = b""
        if self._wildcard:
            control = bytes(buffers.control[i * CONTROL : i * CONTROL + buffers.in_quads[i * 8 + 5]])
        return message, name, control

    def _serve_batch(self, begin: int, count: int, now: float, deadline: float) -> int:
        """
        Serve the slots of the batch from *begin* on.

        :param deadline: when to stop; only what is not in the table takes long enough to look at the clock.
        :return: the first slot that is still to be served; *count* when all are.
        """
        buffers = self._buffers
        data, pointers = buffers.data, buffers.out_pointers
        lengths = buffers.in_words[14::16].tolist()
        table = self._table
        young, moves = table.young, MOVES[0]
        find = table.find
        make = table.fast.find if table.fast is not None else _none
        names, prefixes = buffers.names, self._listener.prefixes
        context = self._listener.context
        touched = context.tallies.touched
        alive: list[bytes] = []  # what is sent must stay in memory until it is
        kept: list[bytes] = []
        missed: list[int] = []
        told: list[tuple[Any, int, bytes]] = []
        durations: tuple[Durations, ...] = ()
        same = 0
        first, end = begin, count  # replies from *first* on are to be sent together
        clock, since = context.clock, self._received
        shares = self._shares if self._count == BATCH else None  # more datagrams wait than were read
        dropping = self._dropping
        address, address_end = (8, 16) if self._v6 else (4, 8)
        for i, start, place in _PLACES[begin:count]:
            key = data[start + 2 : start + lengths[i]]
            if prefixes is not None:
                key = prefixes.of(unpack_sockaddr(names, i * NAME)[0]) + key
            entry = young.get(key)
            if entry is None or entry.moves is not moves or now >= entry.until:
                entry = find(key, now)
                young = table.young
            tally: Tally
            if entry is not None:
                if entry.plain:
                    reply = entry.reply
                else:
                    if entry.exchange is not None:
                        self._listener.replay.prepare(entry, table)
                    reply = entry.next_reply()
                    if entry.cookie:
                        reply += key[-COOKIE:]
                    if entry.each:
                        told.append((entry.each, i, reply))
                tally = entry.tally  # type: ignore[assignment]  # prepare() made one
                alive.append(reply)
            elif (
                not (
                    over := shares is not None
                    and shares.over(bytes(names[i * NAME + address : i * NAME + address_end]), now, dropping)
                )
                and (made := make(key, now)) is not None
            ):
                reply, tally = made
                young = table.young
                alive.append(reply)
            else:
                missed.append(i)
                try:
                    answered = self._refuse(i) if over else self._miss(i, key)
                except Exception:
                    # One datagram is lost, not those that came with it.
                    log.failure("A query was dropped")
                    answered = None
                young, moves = table.young, MOVES[0]
                if answered is None:
                    # Nothing to send from this slot now: what stands before it goes first.
                    if i > first:
                        self._send(first, i)
                    first = i + 1
                else:
                    kept.append(answered)
                    pointers[place] = id(answered) + BYTES_HEAD
                    pointers[place + 1] = len(answered)
                if clock() > deadline:
                    end = i + 1
                    break
                continue
            hits = tally.hits
            tally.hits = hits + 1
            if not hits:
                touched.append(tally)
            if tally.durations is durations:
                same += 1
            else:
                observe(durations, same, clock() - since)
                durations, same = tally.durations, 1
            pointers[place] = id(reply) + BYTES_HEAD
            pointers[place + 1] = len(reply)
        if end > first:
            self._send(first, end)
        observe(durations, same, clock() - since)
        if told:
            self._tell(told, since)
        if alive:
            table.given += len(alive)
            if context.sample is not None:
                self._sample(alive, range(begin, end), missed)
        return end

    def _sample(self, given: list[bytes], slots: range, missed: list[int]) -> None:
        """Tell of one of the replies that were *given* to the queries in *slots* without those that *missed*; it stands for all of them."""
        chosen = int(random() * len(given))
        slot = slots[chosen] if not missed else [i for i in slots if i not in missed][chosen]
        buffers, start = self._buffers, slot * MAX_QUERY
        client, _ = unpack_sockaddr(bytes(buffers.names[slot * NAME : (slot + 1) * NAME]))
        key = buffers.data[start + 2 : start + buffers.in_words[slot * 16 + 14]]
        sample = self._listener.context.sample
        assert sample is not None
        sample(key, given[chosen], client, len(given))

    def _tell(self, told: list[tuple[Any, int, bytes]], since: float) -> None:
        seconds = self._listener.context.clock() - since
        names, data, tell = self._buffers.names, self._buffers.data, self._listener.replay.tell
        for each, i, reply in told:
            client, port = unpack_sockaddr(names, i * NAME)
            start = i * MAX_QUERY
            tell(each, client, port, data[start] << 8 | data[start + 1], seconds, reply)

    def _refuse(self, i: int) -> bytes | None:
        """
        The reply to a client that is over its share, behind its identifier.

        There is none while the kernel drops datagrams: it would have dropped this one, had there not been room by chance, and without
        replies the queue is short again in no time.
        """
        client, _ = unpack_sockaddr(self._buffers.names, i * NAME)
        if self._dropping:
            self._listener.over_share(client)
            return None
        return self._listener.refuse(self._slot(i)[0], client)[2:] or None

    def _miss(self, i: int, key: bytes) -> bytes | None:
        """Ask the listener; the reply behind its identifier when it is there at once, else None."""
        message, name, control = self._slot(i)
        try:
            client, port = unpack_sockaddr(name)
        except ValueError:
            return None
        fast = self._table.fast
        if fast is not None and fast.forwards:
            asker = _Client(self._send_queue, name, control, self._local)
            if fast.forward(key, message, asker, self._received):
                return None
        immediate: list[bytes] = []
        state = [True]

        def respond(reply: bytes) -> None:
            if not reply:
                return
            if state[0]:
                immediate.append(reply)
            else:
                self._send_queue.add(reply, name, control)

        self._listener.receive(message, Transport.UDP, client, port, self._local, respond, self._table, key)
        state[0] = False
        if not immediate:
            return None
        return immediate[0][2:]

    def _send(self, first: int, end: int) -> None:
        """Send the replies of the slots from *first* to before *end*."""
        buffers = self._buffers
        if self._wildcard:
            self._answer_from_where_it_was_asked(first, end)
        self._lost.value += send_all(self._sendmmsg, self._socket.fileno(), buffers.out_vector, first, end)

    def _answer_from_where_it_was_asked(self, first: int, end: int) -> None:
        buffers = self._buffers
        words = buffers.control_words
        buffers.out_quads[first * 8 + 5 : end * 8 : 8] = buffers.in_quads[first * 8 + 5 : end * 8 : 8]
        # The interface is left to the routing table, except for link-local addresses, which mean nothing without it.
        if not self._v6:
            words[first * 16 + 4 : end * 16 : 16] = buffers.no_words[: end - first]
            return
        for i in range(first, end):
            if words[i * 16 + 4] & 0xC0FF != 0x80FE:
                words[i * 16 + 8] = 0


__all__ = ["BATCH", "MAX_QUERY", "MmsgPort", "available"]
