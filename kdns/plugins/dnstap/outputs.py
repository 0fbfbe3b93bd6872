# -*- test-case-name: tests.plugins.dnstap.test_outputs -*-
"""The two ways to a reader: kdns connects to it (:class:`Dialler`), or it connects to kdns (:class:`Acceptor`)."""

from __future__ import annotations

import errno
import socket
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError, ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorSocket
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from kdns.cluster.connections import tune
from kdns.core.degraded import Fault
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.plugin.listening import CannotListen, bound_socket
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.dnstap.config import QUEUE_UNIT, OutputConfig
from kdns.plugins.dnstap.writer import HANDSHAKE_SECONDS, FrameQueue, FrameWriter
from kdns.plugins.forward.failures import reason

RETRY_SECONDS = 10.0
"""Between two attempts to connect; the first one after a lost connection comes sooner."""

FIRST_RETRY_SECONDS = 1.0

REPORT_SECONDS = 10.0
"""How often the log says how many messages were dropped."""

MOST_READERS = 16
"""Readers that may be connected at a time; each has a queue."""

log = Logger(namespace="plugin/dnstap")


class Output(Resource):
    """
    Where frames go.

    :ivar wanted: whether anybody may read a frame that is put now.
    """

    wanted = True

    def __init__(self, config: OutputConfig, context: ServerContext) -> None:
        self.config = config
        self.context = context
        self.name = str(config.endpoint)
        registry = context.registry
        self.sent = registry.counter(
            "kdns_dnstap_sent_messages_total", "Messages that were written to a reader.", ["endpoint"]
        ).counter(self.name)
        self.dropped = registry.counter(
            "kdns_dnstap_dropped_messages_total", "Messages for which there was no room.", ["endpoint"]
        ).counter(self.name)
        self._reported = 0.0
        self._report_timer: Timer | None = None

    def put(self, frame: bytes) -> None:
        """Have a frame written, or drop it."""
        raise NotImplementedError

    def queue(self) -> FrameQueue:
        most = self.config.queue * QUEUE_UNIT
        return FrameQueue(most, self.config.write_buffer << 20, self.sent, self.dropped)

    def report(self) -> None:
        """Log drops from time to time."""
        self._report_timer = self.context.reactor.callLater(REPORT_SECONDS, self.report)
        dropped = self.dropped.value - self._reported
        self._reported = self.dropped.value
        if dropped:
            log.warn("Dropped dnstap messages: {count:.0f} for {endpoint}", count=dropped, endpoint=self.name)

    def stop_reports(self) -> None:
        stop_timer(self._report_timer)


class _Dial(ClientFactory):
    """Makes the one connection of an attempt."""

    noisy = False

    def __init__(self, owner: Dialler) -> None:
        self._owner = owner

    def buildProtocol(self, addr: object) -> FrameWriter:
        return self._owner.connected()

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._owner.lost(None, _dial_text(self._owner, reason))


def _dial_text(owner: Dialler, failure: Failure) -> str:
    error = failure.value
    dialled = owner.config.endpoint.dialled
    if isinstance(error, ConnectionRefusedError):
        return f"dial {dialled}: connect: {reason(errno.ECONNREFUSED)}"
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return f"dial {dialled}: connect: {reason(error.osError)}"
    return f"dial {dialled}: {failure.getErrorMessage()}"


class Dialler(Output):
    """
    Connects to a reader, and again after the connection was lost. Meanwhile messages wait in the queue.

    :param tls: makes the connection secure, an IOpenSSLClientConnectionCreator; None: it is not.
    """

    def __init__(self, config: OutputConfig, context: ServerContext, tls: Any = None) -> None:
        super().__init__(config, context)
        self._tls = tls
        self._queue = self.queue()
        self._writer: FrameWriter | None = None
        self._connector: Any = None
        self._timer: Timer | None = None
        self._degraded = context.degraded.condition(Fault.DNSTAP, f"dnstap {self.name}")
        self._ending = False
        self.put = self._queue.put  # type: ignore[method-assign]  # a call less for each message

    def start(self) -> None:
        """Connect; that nobody listens there prevents nothing."""
        self.report()
        self._connect()

    def _connect(self) -> None:
        self._timer = None
        reactor, endpoint = self.context.reactor, self.config.endpoint
        factory: Any = _Dial(self)
        if endpoint.scheme == "unix":
            self._connector = reactor.connectUNIX(endpoint.host, factory, HANDSHAKE_SECONDS)
            return
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, True, factory, reactor)
            factory.noisy = False
        self._connector = reactor.connectTCP(endpoint.host, endpoint.port, factory, HANDSHAKE_SECONDS)

    def connected(self) -> FrameWriter:
        """The transport is connected."""
        self._connector = None
        self._writer = FrameWriter(self._queue, self.context.reactor, self.lost, self._accepted)
        return self._writer

    def _accepted(self) -> None:
        self._degraded.end(self.context.wall(), log)
        assert self._writer is not None, "it is the one that was accepted"
        transport = self._writer.transport
        if self.config.endpoint.scheme != "unix":
            tune(transport if self._tls is None else transport.transport)  # a reader whose host has died is noticed

    def lost(self, writer: FrameWriter | None, problem: str) -> None:
        """The connection, or the attempt to connect, has ended."""
        self._connector = self._writer = None
        if self._ending:
            return
        if self._degraded.begin(f"no connection: {problem}", self.context.wall()):
            log.error("No connection to dnstap endpoint: {problem}", problem=problem)
        pause = RETRY_SECONDS if writer is None or not writer.accepted else FIRST_RETRY_SECONDS
        self._timer = self.context.reactor.callLater(pause, self._connect)

    def stop(self) -> Deferred[None] | None:
        """Write what is left, as far as the reader takes it in time."""
        self._ending = True
        self.stop_reports()
        stop_timer(self._timer)
        self._degraded.forget()
        if self._connector is not None:
            self._connector.stopConnecting()
        if self._writer is None:
            self._queue.close()
            return None
        return self._writer.finish().addCallback(lambda _: self._queue.close())


class _Accept(ServerFactory):
    noisy = False

    spoken = ()
    """Protocols that a client may choose in the handshake (RFC 7301): none."""

    def __init__(self, owner: Acceptor) -> None:
        self._owner = owner

    def buildProtocol(self, addr: object) -> FrameWriter | None:
        return self._owner.connected()


class Acceptor(Output):
    """
    Takes connections of readers, each with a queue of its own.

    :param tls: makes connections secure, an IOpenSSLServerConnectionCreator; None: they are not.
    """

    def __init__(self, config: OutputConfig, context: ServerContext, tls: Any = None) -> None:
        super().__init__(config, context)
        self._tls = tls
        self._port: Any = None
        self._writers: list[FrameWriter] = []

    @property
    def wanted(self) -> bool:  # type: ignore[override]  # a constant in the base
        return bool(self._writers)

    def start(self) -> None:
        """
        Open the port.

        :raises CannotListen: it cannot be opened.
        """
        factory: Any = _Accept(self)
        reactor, endpoint = self.context.reactor, self.config.endpoint
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, False, factory, reactor)
            factory.noisy = False
            factory.spoken = ()
        try:
            if endpoint.scheme == "unix":
                # A socket that a killed predecessor left behind is replaced: Twisted's lock file tells whether anybody has it.
                self._port = reactor.listenUNIX(endpoint.host, factory, mode=0o660, wantPID=True)
            elif IReactorSocket.providedBy(reactor):
                share = self.context.share_ports
                with bound_socket(
                    socket.SOCK_STREAM, endpoint.host, endpoint.port, share=share, backlog=MOST_READERS
                ) as bound:
                    self._port = reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
            else:
                # A memory reactor has its own sockets and cannot adopt a system socket.
                self._port = reactor.listenTCP(endpoint.port, factory, MOST_READERS, endpoint.host)
        except OSError as error:
            raise self._cannot_listen(reason_of(error)) from error
        except CannotListenError as error:
            cause = error.socketError
            text = reason_of(cause) if isinstance(cause, OSError) else str(cause)
            raise self._cannot_listen(text) from error
        self.report()

    def _cannot_listen(self, text: str) -> CannotListen:
        transport, _, address = self.config.endpoint.dialled.partition(" ")
        return CannotListen(transport, address, text, "plugin/dnstap: ")

    def connected(self) -> FrameWriter | None:
        """A reader has connected; None closes the connection."""
        if len(self._writers) >= MOST_READERS:
            log.warn("{endpoint}: a reader is turned away, {most} are there", endpoint=self.name, most=MOST_READERS)
            return None
        writer = FrameWriter(self.queue(), self.context.reactor, self._lost)
        self._writers.append(writer)
        return writer

    def _lost(self, writer: FrameWriter, problem: str) -> None:
        writer.queue.close()
        self._writers.remove(writer)
        if problem:
            log.info("{endpoint}: a reader has gone: {problem}", endpoint=self.name, problem=problem)

    def put(self, frame: bytes) -> None:
        for writer in self._writers:
            writer.queue.put(frame)

    def stop(self) -> Deferred[None] | None:
        """Close the port; write to each reader what is left, as far as it takes that in time."""
        self.stop_reports()
        ending: list[Deferred[None]] = [writer.finish() for writer in list(self._writers)]
        if self._port is not None:
            closed = self._port.stopListening()
            if isinstance(closed, Deferred):
                ending.append(closed)
        return DeferredList(ending).addCallback(lambda _: None) if ending else None


class ConnectionCreator(Protocol):
    """Twisted's IOpenSSLClientConnectionCreator as a type."""

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        pass


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """The TLS side of connections to a reader whose certificate is not looked at (``skipverify``)."""

    def __init__(self) -> None:
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


__all__ = ["Acceptor", "Dialler", "Output", "Unverified"]
