# -*- test-case-name: tests.plugins.transfer.test_notify -*-
"""NOTIFY (RFC 1996): tell secondaries that a zone has a new version."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from kdns.core.timing import Timer, stop_timer
from kdns.corefile.values import quote
from kdns.plugin.capabilities import TransferZone
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.transfer.config import Peer, TransferConfig
from kdns.plugins.transfer.sending import TransferLink
from kdns.wire.constants import AA, IN, NOERROR, NOTIFY, QR, SOA, rcode_text
from kdns.wire.names import to_text
from kdns.wire.query import HEADER

log = Logger(namespace="plugin/transfer")

DELAY = 1.0
"""
Seconds from a change to the messages about it.

At the start that is when sockets are open, so that a secondary finds somebody to ask; several changes become one message.
"""

TRIES, PATIENCE = 3, 2.0
"""How often a message is sent, and for how many seconds a reply is waited for each time."""

MOST_OPEN = 1000
"""Messages without a reply at a time; what is over it is not sent, and counted."""


class Notifier(Resource):
    """Send NOTIFY messages, and send them again until they are acknowledged."""

    def __init__(self, config: TransferConfig, link: TransferLink, context: ServerContext) -> None:
        self._link = link
        self._context = context
        self._targets = any(stanza.to for stanza in config.stanzas)
        self._changed: dict[bytes, None] = {}
        self._timer: Timer | None = None
        self._sockets: dict[tuple[str, bool], _Socket] = {}
        self._sent = context.registry.counter(
            "kdns_notifies_sent_total", "NOTIFY messages to secondaries, by what became of them.", ["result"]
        )

    def start(self) -> None:
        """Listen for changes."""
        if self._targets:
            for source in self._link.sources:
                source.watch_zones(self._note)

    def stop(self) -> None:
        """Send nothing more."""
        for source in self._link.sources:
            source.unwatch_zones(self._note)
        stop_timer(self._timer)
        for socket in list(self._sockets.values()):
            socket.close()

    def _note(self, zone: TransferZone) -> None:
        self._changed[zone.origin] = None
        if self._timer is None:
            self._timer = self._context.reactor.callLater(DELAY, self._tell)

    def _tell(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        for origin in changed:
            stanza = self._link.stanza_for(origin)
            if stanza is None:
                continue
            for peer in stanza.to:
                self._socket(stanza.source, ":" in peer.host).notify(origin, peer)

    def _socket(self, source: str, ipv6: bool) -> _Socket:
        socket = self._sockets.get((source, ipv6))
        if socket is None:
            socket = self._sockets[source, ipv6] = _Socket(self, source or ("::" if ipv6 else "0.0.0.0"))
        return socket

    def count(self, result: str) -> None:
        """Count what became of a message."""
        self._sent.counter(result).value += 1


class _Open:
    """A message without a reply."""

    __slots__ = ("message", "origin", "peer", "timer", "tries")

    def __init__(self, origin: bytes, peer: Peer, message: bytes) -> None:
        self.origin = origin
        self.peer = peer
        self.message = message
        self.tries = 0
        self.timer: Timer | None = None


class _Socket(DatagramProtocol):
    """A socket that is open as long as replies are awaited."""

    noisy = False
    transport: Any

    def __init__(self, owner: Notifier, interface: str) -> None:
        self._owner = owner
        self._context = owner._context
        self._interface = interface
        self._port: Any = None
        self._open: dict[int, _Open] = {}

    def notify(self, origin: bytes, peer: Peer) -> None:
        """Tell a secondary of a new version."""
        for ident, known in list(self._open.items()):
            if (known.origin, known.peer) == (origin, peer):
                self._forget(ident)  # it is told again, from the beginning
        if len(self._open) >= MOST_OPEN:
            self._owner.count("dropped")
            return
        if self._port is None:
            try:
                self._port = self._context.reactor.listenUDP(0, self, self._interface, 4096)
            except Exception as error:
                self._failed(origin, peer, str(error))
                return
        ident = self._context.random.randrange(1 << 16)
        while ident in self._open:
            ident = self._context.random.randrange(1 << 16)
        flags = NOTIFY << 11 | AA
        message = HEADER.pack(ident, flags, 1, 0, 0, 0) + origin + SOA.to_bytes(2, "big") + IN.to_bytes(2, "big")
        self._open[ident] = _Open(origin, peer, message)
        self._send(ident)

    def _send(self, ident: int) -> None:
        waiting = self._open[ident]
        if waiting.tries == TRIES:
            self._forget(ident)
            self._failed(waiting.origin, waiting.peer, "no reply")
            return
        waiting.tries += 1
        waiting.timer = self._context.reactor.callLater(PATIENCE, self._send, ident)
        try:
            self.transport.write(waiting.message, (waiting.peer.host, waiting.peer.port))
        except OSError:
            pass  # as if it had been lost on its way

    def datagramReceived(self, datagram: bytes, addr: tuple[Any, ...]) -> None:
        """A reply, if it is to one of the messages (RFC 1996 section 4.7: from the address that was told)."""
        if len(datagram) < 12:
            return
        ident, flags = HEADER.unpack_from(datagram)[:2]
        waiting = self._open.get(ident)
        if (
            waiting is None
            or not flags & QR
            or flags >> 11 & 15 != NOTIFY
            or tuple(addr[:2]) != (waiting.peer.host, waiting.peer.port)
        ):
            return
        self._forget(ident)
        rcode = flags & 15
        if rcode == NOERROR:
            self._owner.count("accepted")
        else:
            self._failed(waiting.origin, waiting.peer, f"rcode was {rcode_text(rcode)}")

    def _failed(self, origin: bytes, peer: Peer, reason: str) -> None:
        self._owner.count("failed")
        zone, to = quote(to_text(origin)), quote(str(peer))
        log.warn("notify for zone {zone} was not accepted by {peer}: {reason}", zone=zone, peer=to, reason=reason)

    def _forget(self, ident: int) -> None:
        stop_timer(self._open.pop(ident).timer)
        if not self._open and self._port is not None:
            port, self._port = self._port, None
            port.stopListening()

    def close(self) -> None:
        """Wait for no more replies."""
        for ident in list(self._open):
            self._forget(ident)
