"""Bounds on what a client can make a QUIC connection hold: they rest on attributes of aioquic that are its own."""

from __future__ import annotations

import gc
import ssl
import tracemalloc
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived
from aioquic.tls import Epoch
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.quic import free
from kdns.server.quic_core import (
    MOST_CRYPTO,
    MOST_FRAGMENTS,
    TOKEN_SECONDS,
    WINDOW,
    BoundedConnection,
    RetryTokens,
)
from kdns.testing.certificates import Authority

IDENTITY = Authority().server("dns.test")
CLIENT, SERVER = ("192.0.2.1", 5000), ("192.0.2.2", 853)
STREAMS = 10


class Pair:
    """A client of aioquic's own and kdns's server, without a network between them."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        client = QuicConfiguration(is_client=True, alpn_protocols=["doq"], server_name="dns.test", **options)
        client.verify_mode = ssl.CERT_NONE
        server = QuicConfiguration(is_client=False, alpn_protocols=["doq"], max_stream_data=50_000)
        server.certificate = x509.load_pem_x509_certificate(IDENTITY.certificate_pem)
        server.private_key = load_pem_private_key(IDENTITY.key_pem, None)
        self.tickets: list[Any] = []
        self.client = QuicConnection(configuration=client, session_ticket_handler=self.tickets.append)
        self.kept: dict[bytes, Any] = {}
        self.server = BoundedConnection(
            streams=STREAMS,
            configuration=server,
            original_destination_connection_id=self.client.original_destination_connection_id,
            session_ticket_fetcher=self.kept.get,
            session_ticket_handler=lambda ticket: self.kept.update({ticket.ticket: ticket}),
        )
        self.events: list[Any] = []
        self.client.connect(SERVER, self.now)

    def talk(self, rounds: int = 10) -> None:
        """Exchange datagrams."""
        for _ in range(rounds):
            self.now += 0.01
            for connection, other, source in (
                (self.client, self.server, CLIENT),
                (self.server, self.client, SERVER),
            ):
                for one in (self.client, self.server):
                    due = one.get_timer()
                    if due is not None and due <= self.now:
                        one.handle_timer(self.now)
                for data, _ in connection.datagrams_to_send(self.now):
                    other.receive_datagram(data, source, self.now)
            while (event := self.server.next_event()) is not None:
                self.events.append(event)
            while self.client.next_event() is not None:
                pass


class BoundsTests(SynchronousTestCase):
    """Windows and memory."""

    def test_streams(self) -> None:
        """A client has so many streams open and no more; as they end, it may open others."""
        pair = Pair()
        pair.talk()
        for _ in range(STREAMS + 5):
            pair.client.send_stream_data(pair.client.get_next_available_stream_id(), b"x", end_stream=True)
        pair.talk()
        opened = {event.stream_id for event in pair.events if isinstance(event, StreamDataReceived)}
        self.assertEqual(len(opened), STREAMS)
        for number in sorted(opened):
            pair.server.send_stream_data(number, b"y", True)
        pair.talk()
        opened = {event.stream_id for event in pair.events if isinstance(event, StreamDataReceived)}
        self.assertEqual(len(opened), STREAMS + 5)

    def test_many_streams(self) -> None:
        """Nothing is kept of streams that have ended."""
        pair = Pair()
        pair.talk()
        for number in range(0, 4 * 300, 4):
            pair.client.send_stream_data(number, bytes(1000), end_stream=True)
            pair.talk(2)
            pair.server.send_stream_data(number, b"y", True)
            pair.talk(2)
        pair.talk()
        self.assertLess(len(pair.server._streams), 3)
        self.assertFalse(pair.server.unsent(1000))

    def test_window(self) -> None:
        """What was not taken is bounded over all streams: holes in the data count."""
        pair = Pair()
        pair.talk()
        window = pair.server._local_max_data
        self.assertEqual(window.value, WINDOW)
        for number in range(0, 4 * 8, 4):
            # Only the last byte of each stream comes.
            pair.client.send_stream_data(number, bytes(40_000), end_stream=False)
            sender = pair.client._streams[number].sender
            sender._pending.subtract(0, 39_999)
        pair.talk(20)
        held = sum(len(stream.receiver._buffer) for stream in pair.server._streams.values())
        self.assertLessEqual(held, WINDOW)
        self.assertGreater(held, 39_000)

    def test_crypto(self) -> None:
        """The same holds for the handshake."""
        pair = Pair()
        pair.talk()
        stream = pair.client._crypto_streams[Epoch.ONE_RTT]
        for size in (MOST_CRYPTO, 1):
            stream.sender.write(bytes(size))
        stream.sender._pending.subtract(0, MOST_CRYPTO)
        pair.talk(1)
        self.assertEqual(pair.server.ending, True)
        self.assertEqual(len(pair.server._crypto_streams[Epoch.ONE_RTT].receiver._buffer), 0)

    def test_fragments(self) -> None:
        """A stream that comes in very many pieces is noticed: each piece costs more than the one before."""
        pair = Pair()
        pair.talk()
        pair.client.send_stream_data(0, bytes(1000), end_stream=False)
        sender = pair.client._streams[0].sender
        for place in range(0, 1000, 2):
            sender._pending.subtract(place, place + 1)
        rounds = 0
        while not pair.server.fragmented:
            pair.talk(1)
            rounds += 1
            self.assertLess(rounds, 200)
        self.assertLess(len(pair.server._streams[0].receiver._ranges), 2 * MOST_FRAGMENTS)

    def test_window_moves(self) -> None:
        """What was taken makes room for more, without end."""
        pair = Pair()
        pair.talk()
        for number in range(0, 4 * 30, 4):
            pair.client.send_stream_data(number, bytes(20_000), end_stream=True)
            pair.talk(8)
            pair.server.send_stream_data(number, b"y", True)
            pair.talk(2)
        taken = sum(len(event.data) for event in pair.events if isinstance(event, StreamDataReceived))
        self.assertEqual(taken, 30 * 20_000)
        self.assertLessEqual(pair.server._local_max_data.value, taken + WINDOW)

    def test_stream_window(self) -> None:
        """One stream has no more than its first window, however much is taken of it."""
        pair = Pair()
        pair.talk()
        pair.client.send_stream_data(0, bytes(80_000), end_stream=True)
        pair.talk(40)
        taken = sum(len(event.data) for event in pair.events if isinstance(event, StreamDataReceived))
        self.assertEqual(taken, 50_000)

    def test_unsent(self) -> None:
        """Replies count until the client has acknowledged them."""
        pair = Pair(max_stream_data=1000)
        pair.talk()
        pair.client.send_stream_data(0, b"x", end_stream=True)
        pair.talk()
        pair.server.send_stream_data(0, bytes(60_000), True)
        pair.talk(1)
        self.assertTrue(pair.server.unsent(50_000))
        pair.talk(100)
        self.assertFalse(pair.server.unsent(50_000))

    def test_no_early_data(self) -> None:
        """A session can be resumed, and no data sent before the handshake is over."""
        first = Pair()
        first.talk()
        (ticket,) = first.tickets
        self.assertIsNone(ticket.max_early_data_size)
        second = Pair(session_ticket=ticket)
        second.kept.update(first.kept)
        second.talk()
        self.assertTrue(second.client.tls.session_resumed)
        self.assertFalse(second.client.tls.early_data_accepted)

    def test_acknowledged_at_once(self) -> None:
        """A reply takes the acknowledgement of its query along."""
        pair = Pair()
        pair.talk()
        pair.client.send_stream_data(0, b"x", end_stream=True)
        for data, _ in pair.client.datagrams_to_send(pair.now):
            pair.server.receive_datagram(data, CLIENT, pair.now)
        pair.server.send_stream_data(0, b"y", True)
        (one,) = pair.server.datagrams_to_send(pair.now)
        pair.client.receive_datagram(one[0], SERVER, pair.now)
        self.assertTrue(pair.client._streams[0].sender.is_finished)

    def test_small(self) -> None:
        """A connection whose handshake is over takes little memory, and does all that it did before."""
        connections = 10
        pairs = []
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(connections):
                pairs.append(Pair())
                pairs[-1].talk()
                pairs[-1].server.handshake_over()
                del pairs[-1].client
            gc.collect()
            each = (tracemalloc.get_traced_memory()[0] - before) / connections
        finally:
            tracemalloc.stop()
        self.assertLess(each, 60_000)
        pair = Pair()
        pair.talk()
        pair.server.handshake_over()
        pair.client.request_key_update()
        pair.client.send_stream_data(0, b"x", end_stream=True)
        pair.talk()
        self.assertIn(StreamDataReceived(data=b"x", end_stream=True, stream_id=0), pair.events)

    def test_free(self) -> None:
        """Nothing is left of a connection that has ended."""
        pair = Pair()
        pair.talk()
        free(pair.server)
        self.assertEqual(vars(pair.server), {})


class TokenTests(SynchronousTestCase):
    """Tokens of a Retry."""

    def test_round_trip(self) -> None:
        """A token is good for its address, for ten seconds."""
        tokens = RetryTokens(bytes(32))
        token = tokens.make(CLIENT, b"original", b"12345678", 5.0)
        self.assertEqual(tokens.read(CLIENT, token, 5.0 + TOKEN_SECONDS), (b"original", b"12345678"))
        for address, at, using in (
            (SERVER, 5.0, token),
            (CLIENT, 5.1 + TOKEN_SECONDS, token),
            (CLIENT, 5.0, token[:-1]),
            (CLIENT, 5.0, bytes((token[0] ^ 1,)) + token[1:]),
            (CLIENT, 5.0, b""),
        ):
            self.assertIsNone(tokens.read(address, using, at))
        self.assertIsNone(RetryTokens(b"other").read(CLIENT, token, 5.0))

    @given(st.binary(max_size=80))
    def test_anything(self, token: bytes) -> None:
        """No other bytes are a token."""
        self.assertIsNone(RetryTokens(bytes(32)).read(CLIENT, token, 0.0))
