"""A reader of dnstap for tests: it accepts, and keeps the messages, read by the reference implementation."""

from __future__ import annotations

from typing import Any

from dnstap_pb import Dnstap  # type: ignore[import-untyped]  # it has no annotations
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Protocol

ACCEPT = bytes.fromhex("00000000 00000022 00000001 00000001 00000016") + b"protobuf:dnstap.Dnstap"
FINISH = bytes.fromhex("00000000 00000004 00000005")


class Reader(Protocol):
    """
    :ivar controls: the types of the control frames that came.
    :ivar found: the messages.
    """

    transport: Any

    def __init__(self) -> None:
        self.controls: list[int] = []
        self.found: list[Dnstap] = []
        self.gone = False
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length:
                if len(self._buffer) < 4 + length:
                    return
                message = Dnstap()
                message.ParseFromString(self._buffer[4 : 4 + length])
                self.found.append(message)
                self._buffer = self._buffer[4 + length :]
                continue
            length = int.from_bytes(self._buffer[4:8], "big")
            if len(self._buffer) < 8 + length or not length:
                return
            frame, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
            self.controls.append(frame[3])
            if frame[3] == 4:
                self.transport.write(ACCEPT)
            elif frame[3] == 3:
                self.transport.write(FINISH)

    def connectionLost(self, reason: Any = None) -> None:
        self.gone = True

    def take(self) -> list[Dnstap]:
        """The messages that came since this was called last."""
        found, self.found = self.found, []
        return found


class Readers(ClientFactory[Protocol]):
    """Makes readers, for either end of a connection."""

    noisy = False

    def __init__(self) -> None:
        self.all: list[Reader] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.all.append(Reader())
        return self.all[-1]
