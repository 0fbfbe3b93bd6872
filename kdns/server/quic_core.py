# -*- test-case-name: tests.server.test_quic_core -*-
"""
aioquic's connection with bounds on what a client can make it hold.

aioquic doubles its windows for data as they are used, so they have no bound. That is fine for the few connections of one program; a server
that strangers speak to needs windows of a fixed size. aioquic's public interface does not set them, nor the number of streams, nor does it
switch early data off. So this module, and no other, uses attributes that are aioquic's own:
``tests.server.test_quic_core`` fails when a release of it changes them.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any

from aioquic._buffer import Buffer
from aioquic.quic.connection import Limit, QuicConnection, QuicConnectionError, QuicConnectionState
from aioquic.quic.packet import QuicErrorCode
from cryptography import x509

WINDOW = 131_072
"""Bytes that a connection may send ahead of what was taken, over all its streams: one message of the greatest size, and more."""

UNIDIRECTIONAL = 8
"""Streams of one direction that a client may have: HTTP/3 has three, and some clients more that mean nothing."""


MOST_CRYPTO = 16_384
"""Bytes of a handshake that a client may send ahead of what was taken; aioquic would hold half a megabyte in each of three places."""

MOST_FRAGMENTS = 64
"""Pieces of one stream between which others are missing: for each further piece all are walked through."""


class Window(Limit):
    """A limit that moves on with what was released, in steps of half its size; aioquic's attempts to double it have no effect."""

    def __init__(self, limit: Limit, size: int) -> None:
        self._size = size
        self.released = 0
        super().__init__(limit.frame_type, limit.name, size)

    @property
    def value(self) -> int:
        step = max(1, self._size // 2)
        return self._size + self.released // step * step

    @value.setter
    def value(self, value: int) -> None:
        pass

    @property
    def low(self) -> bool:
        """Whether less than half is left."""
        return self.value - self.used < self._size // 2


_EPOCHS: dict[Any, Any] = {}
"""The sets of epochs in which kinds of frames may come; aioquic makes new ones for each connection."""


class BoundedConnection(QuicConnection):
    """
    The server's side of a connection.

    :param streams: streams that the client may have open, in each direction.
    :param asks: whether the client is asked for a certificate; aioquic sees to it that a client that shows one has its key, and to nothing
        else.
    """

    def __init__(self, *, streams: int, asks: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.asks = asks
        self._local_max_data: Window = Window(self._local_max_data, WINDOW)
        for limit, most in ((self._local_max_streams_bidi, streams), (self._local_max_streams_uni, UNIDIRECTIONAL)):
            limit.value = limit.sent = most  # aioquic adds one for each stream that has ended

        # A reply takes the acknowledgement of its query along: it is due already when the query is taken.
        self._ack_delay = -1e-6
        self._unsent = 0
        handlers = vars(self)["_QuicConnection__frame_handlers"]
        for kind, (handler, epochs) in handlers.items():
            handlers[kind] = (handler, _EPOCHS.setdefault(epochs, epochs))  # 7 KiB less

    def handshake_over(self) -> None:
        """Free the buffers of the handshake, which take half of the memory of a connection."""
        self._crypto_buffers = {epoch: Buffer(capacity=0) for epoch in self._crypto_buffers}

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls._request_client_certificate = self.asks
        self.tls._max_early_data = None  # early data could be replayed (RFC 9250 section 5.2)

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        """Refuse what would leave a large hole."""
        place = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(place)
        if end - self._crypto_streams[context.epoch].receiver.starting_offset() > MOST_CRYPTO:
            raise QuicConnectionError(QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, "too much of a handshake")
        super()._handle_crypto_frame(context, frame_type, buf)

    @property
    def fragmented(self) -> bool:
        """Whether a stream has come in more pieces than one that is sent in earnest."""
        streams = (*self._streams.values(), *self._crypto_streams.values())
        return any(len(stream.receiver._ranges) > MOST_FRAGMENTS for stream in streams)

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        """Let the client send as much more as was taken."""
        data = self._local_max_data
        if data.low:
            receivers = [stream.receiver for number, stream in self._streams.items() if number & 3 != 3]
            waiting = sum(receiver.highest_offset - receiver.starting_offset() for receiver in receivers)
            data.released = data.used - waiting
        super()._write_connection_limits(builder=builder, space=space)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        """A request is no longer than its stream's first window; only the streams of HTTP/3's own have more to say."""
        if stream.stream_id & 2:
            super()._write_stream_limits(builder=builder, space=space, stream=stream)

    @property
    def ending(self) -> bool:
        """Whether the client has closed the connection, or something it sent has."""
        return self._close_event is not None

    @property
    def shown(self) -> tuple[x509.Certificate | None, Sequence[x509.Certificate]]:
        """The client's certificate, and those of intermediate authorities."""
        return self.tls._peer_certificate, self.tls._peer_certificate_chain

    @property
    def handshake_failure(self) -> str:
        """What was wrong with the handshake; empty when the client just went away."""
        event = self._close_event
        if event is None or event.error_code & ~0xFF != QuicErrorCode.CRYPTO_ERROR:
            return ""
        return event.reason_phrase or f"alert {event.error_code & 0xFF}"

    @property
    def begun(self) -> bool:
        """Whether a datagram could be read."""
        return self._state is not QuicConnectionState.FIRSTFLIGHT

    def unsent(self, most: int) -> bool:
        """Whether more than *most* bytes of replies wait for the client to take them."""
        if self._unsent > most:
            senders = [stream.sender for stream in self._streams.values()]
            self._unsent = sum(sender._buffer_stop - sender._buffer_start for sender in senders)
        return self._unsent > most

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        """Send bytes on a stream."""
        self._unsent += len(data)
        super().send_stream_data(stream_id, data, end_stream)


TOKEN_SECONDS = 10.0
"""How long a client has for coming back with the token of a Retry."""

_TOKEN = Struct("!d8sB")
_MAC = 16


class RetryTokens:
    """
    Tokens that prove that a client gets what is sent to its address (RFC 9000 section 8.1.2).

    aioquic's own are encrypted with RSA, which costs as much as the handshake that they are to save.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, address: Any, original: bytes, source: bytes, now: float) -> bytes:
        """
        :param original: the connection ID that the client chose.
        :param source: the one of eight bytes that it is to use.
        """
        content = _TOKEN.pack(now, source, len(original)) + original
        return content + self._mac(address, content)

    def read(self, address: Any, token: bytes, now: float) -> tuple[bytes, bytes] | None:
        """The two connection IDs of :meth:`make`; None if the token is not for this address, or too old."""
        content, mac = token[:-_MAC], token[-_MAC:]
        if len(content) < _TOKEN.size or not hmac.compare_digest(mac, self._mac(address, content)):
            return None
        made, source, size = _TOKEN.unpack_from(content)
        if not 0 <= now - made <= TOKEN_SECONDS or len(content) != _TOKEN.size + size:
            return None
        return content[_TOKEN.size :], source

    def _mac(self, address: Any, content: bytes) -> bytes:
        about = f"{address[0]} {address[1]} ".encode()
        return blake2b(about + content, digest_size=_MAC, key=self._key).digest()
