# -*- test-case-name: tests.testing.test_memory_streams -*-
"""
Sockets in memory, with the calls and the errors of non-blocking sockets on Linux.

They offer what Twisted's own UDP and TCP transports ask of a socket, so that those transports run on them unchanged: what is faked ends
here. An end of a stream has an inbox of ``network.window`` bytes that its program has not read, and an outbox of as many that do not
fit into the inbox of the other end; when both are full, sending would block.
"""

from __future__ import annotations

import errno
import socket as system
import struct
from collections import deque

from kdns.testing.memory.network import MAPPED, Network, canonical, is_wildcard, oserror
from kdns.testing.memory.paths import Address, Datagram

RECEIVE_BUFFER = 212_992
"""Bytes of datagrams queued at one socket, Linux's default; the rest is dropped."""

LONGEST_DATAGRAM = 65_507
"""Bytes that fit into one datagram over IPv4."""


class MemorySocket:
    """The common part of both kinds of sockets."""

    kind = ""

    def __init__(self, network: Network, family: int) -> None:
        self.network = network
        self.family = family
        self.local: Address | None = None
        self.remote: Address | None = None
        self.closed = False
        self._options: dict[tuple[int, int], object] = {}
        self._number = network.open(self)

    def fileno(self) -> int:
        """A number that no real descriptor of this process is likely to have."""
        return self._number

    def setblocking(self, flag: bool) -> None:
        """No call blocks here, whatever the flag is."""

    def bind(self, address: tuple[object, ...]) -> None:
        """Bind a local address. A socket that cannot have it is closed."""
        try:
            self.local = self.network.bind(self, self.kind, _pair(address))
        except OSError:
            self.close()
            raise

    def getsockname(self) -> tuple[object, ...]:
        return self._seen(self.local or ("0.0.0.0" if self.family == system.AF_INET else "::", 0))

    def getpeername(self) -> tuple[object, ...]:
        """The address of the other end."""
        if self.remote is None:
            raise oserror(errno.ENOTCONN)
        return self._seen(self.remote)

    def _seen(self, address: Address) -> tuple[object, ...]:
        host, port = address
        if self.family == system.AF_INET:
            return host, port
        return host if ":" in host else MAPPED + host, port, 0, 0

    def setsockopt(self, level: int, option: int, value: object) -> None:
        """Keep an option; only SO_LINGER has an effect."""
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int) -> object:
        return self._options.get((level, option), 0)

    def readable(self) -> bool:
        """Whether reading would return or raise at once."""
        raise oserror(errno.EOPNOTSUPP)

    def writable(self) -> bool:
        """Whether writing would succeed or raise at once."""
        raise oserror(errno.EOPNOTSUPP)

    def failed(self) -> bool:
        """Whether an error is pending and nothing else; epoll tells the two apart."""
        return False

    def retry(self) -> None:
        """Retry what a blackhole stopped."""

    def take(self, datagram: Datagram) -> bool:
        """Receive a datagram; whether it is for this socket."""
        return False

    def as_listener(self) -> StreamSocket | None:
        """This socket, if it takes connections."""
        return None

    def close(self) -> None:
        """Close it and free the address."""
        self.closed = True
        self.network.release(self, self.kind, self.local)


class DatagramSocket(MemorySocket):
    """A UDP socket."""

    kind = "udp"

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self._inbox: deque[Datagram] = deque()
        self._waiting = 0
        self._error = 0

    def connect(self, address: tuple[object, ...]) -> None:
        """Talk to *address* only; the local address becomes the source address."""
        assert self.local is not None, "Twisted binds before it connects"
        self.remote = _pair(address)
        narrowed = self.network.source_for(self.local[0], self.remote[0]), self.local[1]
        self.network.rebind(self, self.kind, self.local, narrowed)
        self.local = narrowed

    def send(self, data: bytes) -> int:
        """Send to the connected address; a pending refusal is raised instead."""
        if self._error:
            code, self._error = self._error, 0
            raise oserror(code)
        assert self.remote is not None, "Twisted sends without an address only when connected"
        return self._send(data, self.remote)

    def sendto(self, data: bytes, address: tuple[object, ...]) -> int:
        return self._send(data, _pair(address))

    def _send(self, data: bytes, destination: Address) -> int:
        if len(data) > LONGEST_DATAGRAM:
            raise oserror(errno.EMSGSIZE)
        assert self.local is not None, "Twisted binds before it sends"
        source = self.network.source_for(self.local[0], destination[0]), self.local[1]
        self.network.send(Datagram(bytes(data), source, destination), self)
        return len(data)

    def recv(self, size: int) -> bytes:
        return self.recvfrom(size)[0]

    def recvfrom(self, size: int) -> tuple[bytes, tuple[object, ...]]:
        """The oldest datagram, cut to *size* bytes, and its source."""
        if self._error:
            code, self._error = self._error, 0
            raise oserror(code)
        if not self._inbox:
            raise oserror(errno.EWOULDBLOCK)
        datagram = self._inbox.popleft()
        self._waiting -= len(datagram.data)
        return datagram.data[:size], self._seen(datagram.source)

    def take(self, datagram: Datagram) -> bool:
        """Queue a datagram, or drop it when too many are queued; a connected socket only takes those of its peer."""
        if self.remote is not None and datagram.source != self.remote:
            return False
        if self._waiting + len(datagram.data) <= RECEIVE_BUFFER:
            self._inbox.append(datagram)
            self._waiting += len(datagram.data)
        return True

    def refused_by(self, destination: Address) -> None:
        """No socket is at *destination*."""
        if self.remote == destination and not self.closed:
            self._error = errno.ECONNREFUSED

    def readable(self) -> bool:
        """A datagram or an error is pending."""
        return bool(self._inbox or self._error)

    def failed(self) -> bool:
        """An error is pending, and no datagram."""
        return bool(self._error and not self._inbox)

    def writable(self) -> bool:
        """Always: what does not fit is lost."""
        return True


class StreamSocket(MemorySocket):
    """A TCP socket: one end of a stream, or a listening one."""

    kind = "tcp"

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self.listening = False
        self.peer: StreamSocket | None = None
        self._accepted: deque[StreamSocket] = deque()
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._fin_due = False  # the program will send no more
        self._fin_sent = False
        self._eof = False  # the other end has sent everything
        self._reset = False
        self._error = 0
        self._connecting: Address | None = None

    # Connecting

    def listen(self, backlog: int) -> None:
        """Accept connections from now on; the backlog is unlimited."""
        self.listening = True

    def as_listener(self) -> StreamSocket | None:
        return self if self.listening else None

    def accept(self) -> tuple[StreamSocket, tuple[object, ...]]:
        """The oldest waiting connection and its peer address."""
        if not self._accepted:
            raise oserror(errno.EWOULDBLOCK)
        connection = self._accepted.popleft()
        return connection, connection.getpeername()

    def connect_ex(self, address: tuple[object, ...]) -> int:
        """Begin to connect, or tell how far it is: 0, or an error number."""
        if self.peer is not None:
            return errno.EISCONN
        if self._connecting is not None:
            return errno.EALREADY
        destination = _pair(address)
        try:
            self._name_local_end(destination[0])
        except OSError as refusal:
            return refusal.errno or errno.EADDRNOTAVAIL
        self.remote = self._connecting = destination
        self.retry()
        if self._error:
            return self._pop_error()
        return errno.EINPROGRESS if self.peer is None else 0

    def _name_local_end(self, destination: str) -> None:
        if self.local is None:
            self.local = self.network.bind(self, self.kind, (self.network.source_for("0.0.0.0", destination), 0))
        elif is_wildcard(self.local[0]):
            named = self.network.source_for(self.local[0], destination), self.local[1]
            self.network.rebind(self, self.kind, self.local, named)
            self.local = named

    def _connect(self, destination: Address) -> None:
        assert self.local is not None, "connect_ex names the local end"
        self._connecting = None
        listener = self.network.listener_at(destination)
        if listener is None:
            self._error = errno.ECONNREFUSED
            return
        self.peer = other = StreamSocket(self.network, listener.family)
        other.local, other.remote, other.peer = destination, self.local, self
        listener._accepted.append(other)

    def _pop_error(self) -> int:
        code, self._error = self._error, 0
        return code

    def getsockopt(self, level: int, option: int) -> object:
        """An option as it was set; SO_ERROR tells how connecting ended, once."""
        if (level, option) == (system.SOL_SOCKET, system.SO_ERROR):
            return self._pop_error()
        return super().getsockopt(level, option)

    # Data

    def send(self, data: bytes | memoryview) -> int:
        """Take as many bytes as there is room for."""
        if self._reset or self._fin_due or self.peer is None:
            raise oserror(errno.EPIPE)
        room = self.network.window - len(self._outbox)
        if room <= 0 and data:
            raise oserror(errno.EWOULDBLOCK)
        self._outbox += data[:room]
        taken = min(room, len(data))
        self._transmit()
        return taken

    def recv(self, size: int) -> bytes:
        """Up to *size* bytes that arrived; empty when the peer has sent everything."""
        if self._inbox:
            data = bytes(self._inbox[:size])
            del self._inbox[:size]
            if self.peer is not None:
                self.peer._transmit()
            return data
        if self._eof:
            return b""
        if self._reset:
            raise oserror(errno.ECONNRESET)
        raise oserror(errno.EWOULDBLOCK)

    def readable(self) -> bool:
        """Data, the end, an error or a connection is pending."""
        return bool(self._inbox or self._eof or self._reset or self._accepted)

    def writable(self) -> bool:
        """There is room, or an error waits, or connecting has ended."""
        if self._reset or self._error:
            return True
        return self.peer is not None and len(self._outbox) < self.network.window

    def _transmit(self) -> None:
        """Move what fits from the outbox into the peer's inbox, then the end of the stream."""
        peer = self.peer
        if peer is None or self.local is None or self.remote is None:
            return
        if not self.network.reachable(self.local, self.remote):
            return
        if peer.closed and self._outbox:
            self._outbox.clear()
            self._reset = True
            return
        room = max(0, self.network.window - len(peer._inbox))
        peer._inbox += self._outbox[:room]
        del self._outbox[:room]
        if self._fin_due and not self._outbox and not self._fin_sent:
            self._fin_sent = peer._eof = True

    def retry(self) -> None:
        """Connect or send, if possible now."""
        if self._connecting is not None:
            assert self.local is not None, "connect_ex names the local end"
            if self.network.reachable(self.local, self._connecting):
                self._connect(self._connecting)
        self._transmit()
        if self.peer is not None:  # it may be closed already and still have something to send
            self.peer._transmit()

    # The end

    def shutdown(self, how: int) -> None:
        """Send no more; reading ends when the socket is closed."""
        if self.peer is None:
            raise oserror(errno.ENOTCONN)
        if how != system.SHUT_RD:
            self._fin_due = True
            self._transmit()

    def close(self) -> None:
        """Send what is left and then the end; or a reset, with SO_LINGER or unread data."""
        abrupt = self._options.get((system.SOL_SOCKET, system.SO_LINGER)) == struct.pack("ii", 1, 0)
        super().close()
        for connection in self._accepted:
            connection.setsockopt(system.SOL_SOCKET, system.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        if self.peer is None:
            return
        if abrupt or self._inbox:
            self._outbox.clear()
            if self.local and self.remote and self.network.reachable(self.local, self.remote):
                self.peer._reset = True
                self.peer._outbox.clear()
        else:
            self._fin_due = True
            self._transmit()


def _pair(address: tuple[object, ...]) -> Address:
    host, port = address[:2]
    assert isinstance(host, str), "a host is text"
    assert isinstance(port, int), "a port is a number"
    return canonical(host), port
