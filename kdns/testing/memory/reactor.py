# -*- test-case-name: tests.testing.test_memory_reactor -*-
"""
A Twisted reactor whose sockets live in memory and whose time moves when the test says so.

Everything above the socket is Twisted's own: the UDP and TCP transports, producers, half close, TLS, delayed calls, system events. Only
sockets, waiting and the clock are replaced, so a program behaves here as it does on a real reactor, but the same in every run. One turn
is what one pass of a real reactor does: calls from threads, delayed calls that are due, then each descriptor that was ready when the
turn's input began; what is sent in a turn is read in the next one.
"""

from __future__ import annotations

import contextlib
import errno
import socket as system
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, cast

from twisted.internet import tcp, udp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import DelayedCall
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    Binding,
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorFDSet,
    IReactorSocket,
    IReactorTime,
    IReadDescriptor,
    IResolutionReceiver,
    IWriteDescriptor,
)
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import AbstractDatagramProtocol, ClientFactory, Factory, P
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import classImplementsOnly, implementedBy, implementer

from kdns.core.text import bracketed
from kdns.testing.memory.network import Network, addresses, canonical
from kdns.testing.memory.paths import Address, Datagram, Path, Rule
from kdns.testing.memory.sockets import DatagramSocket, StreamSocket

MAX_TURNS = 20_000
"""Turns at one moment after which the work due now is taken for endless."""

_log = Logger()


class _Receiver(Protocol):
    """IResolutionReceiver, in a form that the type checker understands."""

    def resolutionBegan(self, resolution: IHostResolution) -> None: ...
    def addressResolved(self, address: IPv4Address | IPv6Address) -> None: ...
    def resolutionComplete(self) -> None: ...


class _Descriptor(Protocol):
    """IReadDescriptor and IWriteDescriptor as a type."""

    def fileno(self) -> int: ...
    def doRead(self) -> object: ...
    def doWrite(self) -> object: ...


class NeverSettles(RuntimeError):
    """Work was still due at the same moment after very many turns."""


class MemoryUDPPort(udp.Port):
    """Twisted's UDP port on a socket in memory."""

    def createInternetSocket(self) -> system.socket:
        return cast(system.socket, DatagramSocket(self.reactor.network, self.addressFamily))


class MemoryTCPPort(tcp.Port):
    """Twisted's TCP port on a socket in memory."""

    def createInternetSocket(self) -> system.socket:
        return cast(system.socket, StreamSocket(self.reactor.network, self.addressFamily))


class MemoryClient(tcp.Client):
    """Twisted's TCP client on a socket in memory."""

    def createInternetSocket(self) -> system.socket:
        return cast(system.socket, StreamSocket(self.connector.reactor.network, self.addressFamily))


class MemoryConnector(tcp.Connector):
    """Twisted's connector, making clients in memory."""

    def _makeTransport(self) -> tcp.Client:
        return MemoryClient(self.host, self.port, self.bindAddress, self, self.reactor)


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        pass


@implementer(IHostnameResolver)
class MemoryHosts:
    """Host names, as in ``/etc/hosts``: a mapping from the name to its addresses; addresses stand for themselves."""

    def __init__(self) -> None:
        self.table: dict[str, Sequence[str]] = {"localhost": ("127.0.0.1", "::1")}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Report the addresses of a host to *resolutionReceiver*, before this returns."""
        resolution = cast(IHostResolution, _Resolution(hostName))
        receiver = cast(_Receiver, resolutionReceiver)
        kind: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        receiver.resolutionBegan(resolution)
        hosts = self.table.get(hostName, ())
        with contextlib.suppress(ValueError):
            hosts = hosts or (canonical(hostName),)
        for host in hosts:
            made = IPv6Address if ":" in host else IPv4Address
            if not addressTypes or made in addressTypes:
                receiver.addressResolved(made(kind, host, portNumber))
        receiver.resolutionComplete()
        return resolution


@implementer(IReactorFDSet)
class MemoryReactor(PosixReactorBase):
    """
    Run Twisted programs without system calls and without waiting.

    :param interface_addresses: the addresses of this host; without them every address is one. An address that is not listed is somewhere
        else: nothing can listen on it, and nobody there ever answers.
    :param polling: whose pass over the descriptors is copied. It matters where an error and nothing else waits at a descriptor, as at a
        connected UDP port after a refusal. Twisted's epoll reactor, Linux's default, takes that for the end: it **closes the port**, and
        the protocol gets ``stopProtocol`` and no ``connectionRefused``. Its select reactor reads, and ``connectionRefused`` is called. On
        both it is called when a write or a read meets the error first.
    :ivar network: the sockets by address, and the data in flight.
    :ivar hosts: the table of host names, for programs that connect to names.
    """

    _registerAsIOThread = False  # the test's real reactor has this thread already

    def __init__(
        self,
        interface_addresses: Iterable[str] | None = None,
        *,
        polling: Literal["epoll", "select"] = "epoll",
    ) -> None:
        self._polling = polling
        self._now = 0.0
        self.network = Network(self.seconds, addresses(interface_addresses))
        self._readers: dict[IReadDescriptor, None] = {}
        self._writers: dict[IWriteDescriptor, None] = {}
        super().__init__()
        names = MemoryHosts()
        self.hosts = names.table
        self.installNameResolver(cast(IHostnameResolver, names))
        self.startRunning(installSignalHandlers=False)

    # Time

    def seconds(self) -> float:
        """The reactor's time: 0 at first, then advanced by the test."""
        return self._now

    @property
    def rightNow(self) -> float:
        """The same, by the name in ``task.Clock``."""
        return self._now

    def turn(self) -> bool:
        """Run one iteration of a reactor without moving the time; whether there was anything to do."""
        if not self._is_work_due():
            return False
        self.runUntilCurrent()
        self.doIteration(0)
        return True

    def settle(self) -> int:
        """
        Take turns until nothing is left to do at this moment, and return how many that were.

        :raises NeverSettles: the program makes new work for this moment all the time.
        """
        for turns in range(MAX_TURNS):
            if not self.turn():
                return turns
        raise NeverSettles(f"still busy at {self._now} s after {MAX_TURNS} turns")

    def advance(self, amount: float) -> None:
        """Let *amount* seconds pass: every event happens at its own time and in order."""
        end = self._now + amount
        self.settle()
        while (then := self._next_event()) is not None and then <= end:
            self._now = max(self._now, then)
            self.settle()
        self._now = end
        self.settle()

    def pump(self, timings: Iterable[float]) -> None:
        """Advance by each of *timings* in turn, as ``task.Clock`` does."""
        for amount in timings:
            self.advance(amount)

    def _next_event(self) -> float | None:
        times = [cast(DelayedCall, call).getTime() for call in self.getDelayedCalls()]
        if (arrival := self.network.next_arrival()) is not None:
            times.append(arrival)
        return min(times, default=None)

    def _is_work_due(self) -> bool:
        if self.threadCallQueue or self._justStopped:
            return True
        if (then := self._next_event()) is not None and then <= self._now:
            return True
        return bool(self._ready_readers() or self._ready_writers())

    # What Twisted asks of a reactor

    def installWaker(self) -> None:
        """Nothing sleeps here, so nothing needs waking."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """
        Look whether *reader* can read, from now on.

        :raises ValueError: it is not of this network: real sockets and pipes cannot be waited for in a time that is not real.
        """
        self._check(reader)
        self._readers[reader] = None

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """
        Look whether *writer* can write, from now on.

        :raises ValueError: as for :meth:`addReader`.
        """
        self._check(writer)
        self._writers[writer] = None

    def _check(self, descriptor: IReadDescriptor | IWriteDescriptor) -> None:
        if cast(_Descriptor, descriptor).fileno() not in self.network.sockets:
            raise ValueError(f"{descriptor!r} is no descriptor of this memory network")

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Stop watching it for reading."""
        self._readers.pop(reader, None)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Stop watching it for writing."""
        self._writers.pop(writer, None)

    def getReaders(self) -> list[IReadDescriptor]:
        """All watched for reading."""
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        """All watched for writing."""
        return list(self._writers)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Forget all watched descriptors, and return them."""
        removed: dict[IReadDescriptor | IWriteDescriptor, None] = {**self._readers, **self._writers}
        self._readers.clear()
        self._writers.clear()
        return list(removed)

    def doIteration(self, delay: float | None) -> None:
        """Deliver what is due and serve the ready descriptors; *delay* is ignored."""
        self.network.arrive()
        readers, writers = self._ready_readers(), self._ready_writers()
        for reader in readers:
            if reader in self._readers:
                self._serve(cast(_Descriptor, reader), reading=True)
        for writer in writers:
            if writer in self._writers:
                self._serve(cast(_Descriptor, writer), reading=False)

    def _ready_readers(self) -> list[IReadDescriptor]:
        sockets = self.network.sockets
        return [reader for reader in self._readers if sockets[cast(_Descriptor, reader).fileno()].readable()]

    def _ready_writers(self) -> list[IWriteDescriptor]:
        sockets = self.network.sockets
        return [writer for writer in self._writers if sockets[cast(_Descriptor, writer).fileno()].writable()]

    def _serve(self, descriptor: _Descriptor, *, reading: bool) -> None:
        why: object
        try:
            if reading and self._polling == "epoll" and self.network.sockets[descriptor.fileno()].failed():
                why = CONNECTION_DONE
            else:
                why = descriptor.doRead() if reading else descriptor.doWrite()
        except Exception as problem:
            _log.failure("a transport or its protocol failed")
            why = problem
        if why:
            self._disconnectSelectable(descriptor, why, reading)

    # Ports and connections

    def listenUDP(
        self, port: int, protocol: AbstractDatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> MemoryUDPPort:
        """Bind *protocol* to a UDP address in memory."""
        made = MemoryUDPPort(port, protocol, interface, maxPacketSize, self)
        made.startListening()
        return made

    def datagram_socket(self, family: int) -> DatagramSocket:
        """A bare UDP socket, for programs that read descriptors directly."""
        return DatagramSocket(self.network, family)

    def listenTCP(
        self, port: int, factory: Factory[P] | IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> MemoryTCPPort:
        """Listen for TCP on an address in memory."""
        made = MemoryTCPPort(port, cast(IProtocolFactory, factory), backlog, interface, self)
        made.startListening()
        return made

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[P],
        timeout: float = 30.0,
        bindAddress: Binding | tuple[str, int] | None = None,
    ) -> IConnector:
        """Connect to an address, or a name of :attr:`hosts`, in memory."""
        made = MemoryConnector(host, port, factory, timeout, bindAddress, self)
        made.connect()
        return cast(IConnector, made)

    def listenSSL(
        self,
        port: int,
        factory: Factory[P] | IProtocolFactory,
        contextFactory: IOpenSSLServerConnectionCreator | IOpenSSLContextFactory | CertificateOptions,
        backlog: int = 50,
        interface: str = "",
    ) -> MemoryTCPPort:
        """
        Take TLS connections.

        Twisted's TLS gathers small writes with delayed calls, which must be of this reactor and not of the global one.
        """
        context = cast(IOpenSSLContextFactory, contextFactory)
        inner = cast(IProtocolFactory, factory)
        secured = TLSMemoryBIOFactory(context, False, inner, cast(IReactorTime, self))
        return self.listenTCP(port, cast(IProtocolFactory, secured), backlog, interface)

    def connectSSL(
        self,
        host: str,
        port: int,
        factory: ClientFactory[P],
        contextFactory: IOpenSSLClientConnectionCreator,
        timeout: float = 30.0,
        bindAddress: Binding | tuple[str, int] | None = None,
    ) -> IConnector:
        """Connect with TLS, likewise. Endpoints that wrap TLS themselves take the global reactor's clock, and do not work in memory."""
        inner = cast(IProtocolFactory, factory)
        secured = TLSMemoryBIOFactory(contextFactory, True, inner, cast(IReactorTime, self))
        return self.connectTCP(host, port, cast(ClientFactory[P], secured), timeout, bindAddress)

    def connectUNIX(
        self, address: str, factory: ClientFactory[P], timeout: float = 30, checkPID: bool = False
    ) -> _UnixConnector:
        """Nobody listens at any path: the attempt fails, as for a path that does not exist."""
        return _UnixConnector(address, factory, self)

    def listenUNIX(
        self,
        address: str,
        factory: Factory[P] | IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> _UnixPort:
        """Listen at a path, where nobody ever connects."""
        return _UnixPort()

    # What a test does to the network

    @property
    def window(self) -> int:
        """Bytes that each end of a stream buffers unread, and as many unsent; a small number causes back-pressure soon."""
        return self.network.window

    @window.setter
    def window(self, size: int) -> None:
        self.network.window = size

    def shape(
        self,
        rule: Rule,
        *,
        source: tuple[str, int | None] | None = None,
        destination: tuple[str, int | None] | None = None,
    ) -> Path:
        """Let *rule* decide about datagrams, before all rules so far; see :mod:`kdns.testing.memory.paths`."""
        path = Path(rule, source, destination)
        self.network.paths.insert(0, path)
        return path

    def unshape(self, path: Path) -> None:
        """Remove what :meth:`shape` returned."""
        self.network.paths.remove(path)

    def inject(self, data: bytes, source: Address, destination: Address) -> bool:
        """Put a datagram from outside into the socket at *destination*; whether one takes it."""
        return self.network.inject(
            Datagram(data, (canonical(source[0]), source[1]), (canonical(destination[0]), destination[1]))
        )

    def blackhole(self, host: str, port: int | None = None) -> None:
        """Cut an address off: datagrams to or from it are lost, connection attempts time out, streams stall."""
        self.network.blackhole(host, port)

    def lift(self, host: str, port: int | None = None) -> None:
        """End a :meth:`blackhole`; streams and connection attempts go on, datagrams stay lost."""
        self.network.lift(host, port)

    def leftovers(self) -> list[str]:
        """Whatever a test has left open, a line each: sockets, then delayed calls."""
        return [_describe(socket) for socket in self.network.sockets.values()] + [
            f"delayed call {call}" for call in self.getDelayedCalls()
        ]


class _UnixConnector:
    """An attempt to connect to a path."""

    def __init__(self, address: str, factory: Any, reactor: MemoryReactor) -> None:
        self._factory = factory
        factory.doStart()
        self._call = reactor.callLater(0, self._fail, ConnectError(errno.ENOENT, address))

    def _fail(self, error: ConnectError) -> None:
        self._factory.clientConnectionFailed(self, Failure(error))
        self._factory.doStop()

    def stopConnecting(self) -> None:
        """End the attempt."""
        if self._call.active():
            self._call.cancel()
            self._factory.doStop()


class _UnixPort:
    """A path that is listened at."""

    def stopListening(self) -> None:
        """Listen no more."""


# Its sockets are its own: it cannot adopt one of the system's, which its base class could.
classImplementsOnly(MemoryReactor, implementedBy(MemoryReactor) - IReactorSocket)


def _describe(socket: object) -> str:
    def text(address: Address | None) -> str:
        if address is None:
            return "nowhere"
        host, port = address
        return f"{bracketed(host)}:{port}"

    if isinstance(socket, StreamSocket):
        if socket.listening:
            return f"TCP port {text(socket.local)}"
        if socket.peer is None:
            return f"TCP connection attempt {text(socket.local)} -> {text(socket.remote)}"
        return f"TCP connection {text(socket.local)} -> {text(socket.remote)}"
    assert isinstance(socket, DatagramSocket), "there are two kinds of sockets"
    return f"UDP port {text(socket.local)}"
