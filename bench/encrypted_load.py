"""
A client of DNS over QUIC and over HTTP/2 that asks as fast as it is answered, or at a rate.

dnsperf does not speak QUIC, and over HTTP/2 its version 2.10 waits 0.1 s for bytes that TLS has read already. This client is Python's, as
the server is, and works more for each query than the server does. So the server is never busy, and the figure of such a row is its
processor time a query. ``python -m bench.encrypted_load quic|https PORT PACKETS SECONDS RATE ONCE CONNECTIONS`` prints what came of it
as JSON.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived

OUTSTANDING = 96
"""Queries under way at a time over all connections."""

PATIENCE = 2.0
"""Seconds for the last replies."""


def packets(path: Path) -> list[bytes]:
    """The packets of a file, each behind its length, as a query of a stream: with identifier 0."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at : at + 2] + b"\0\0" + data[at + 4 : end])
        at = end
    return found


class Client:
    """One connection."""

    def __init__(self, kind: socket.SocketKind, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.connect(("127.0.0.1", port))
        self.ready = False
        self.sent: dict[int, float] = {}
        self.codes: dict[int, int] = {}
        self.latencies: list[float] = []
        self._parts: dict[int, bytes] = {}

    def ask(self, query: bytes) -> None:
        """Send a query, which has its length in front, on a stream of its own."""
        raise NotImplementedError

    def read(self) -> None:
        """Read what has come."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is to be sent."""
        raise NotImplementedError

    def close(self) -> None:
        """End the connection."""

    def part(self, number: int, data: bytes, end: bool, code_at: int) -> None:
        """
        A part of the reply on a stream.

        :param code_at: where the byte with the response code is.
        """
        reply = self._parts.pop(number, b"") + data
        if not end:
            self._parts[number] = reply
            return
        self.latencies.append(time.monotonic() - self.sent.pop(number))
        code = reply[code_at] & 15
        self.codes[code] = self.codes.get(code, 0) + 1


class QuicClient(Client):
    """DNS over QUIC."""

    def __init__(self, port: int) -> None:
        super().__init__(socket.SOCK_DGRAM, port)
        self.socket.setblocking(False)
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["doq"], idle_timeout=60.0)
        configuration.verify_mode = ssl.CERT_NONE
        self.connection = QuicConnection(configuration=configuration)
        self.connection.connect(("127.0.0.1", port), time.monotonic())

    def ask(self, query: bytes) -> None:
        """See :class:`Client`."""
        number = self.connection.get_next_available_stream_id()
        self.connection.send_stream_data(number, query, True)
        self.sent[number] = time.monotonic()

    def read(self) -> None:
        """See :class:`Client`."""
        while True:
            try:
                data = self.socket.recv(2048)
            except OSError:
                break
            self.connection.receive_datagram(data, self.socket.getpeername(), time.monotonic())
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.ready = True
            elif isinstance(event, ConnectionTerminated):
                raise SystemExit(f"the connection was closed: {event.error_code} {event.reason_phrase}")
            elif isinstance(event, StreamDataReceived):
                self.part(event.stream_id, event.data, event.end_stream, 5)

    def flush(self) -> None:
        """See :class:`Client`."""
        now = time.monotonic()
        due = self.connection.get_timer()
        if due is not None and due <= now:
            self.connection.handle_timer(now)
        for data, _ in self.connection.datagrams_to_send(now):
            try:
                self.socket.send(data)
            except OSError:
                pass

    def close(self) -> None:
        """See :class:`Client`."""
        self.connection.close()
        self.flush()


class HttpsClient(Client):
    """DNS over HTTPS, with HTTP/2 and POST."""

    def __init__(self, port: int) -> None:
        super().__init__(socket.SOCK_STREAM, port)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.socket: Any = context.wrap_socket(self.socket)
        self.socket.setblocking(False)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self._http.initiate_connection()
        self._http.increment_flow_control_window(1 << 30)
        self.ready = True

    def ask(self, query: bytes) -> None:
        """See :class:`Client`."""
        number: int = self._http.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", "/dns-query")]
        more = [("content-type", "application/dns-message"), ("content-length", str(len(query) - 2))]
        self._http.send_headers(number, headers + more)
        self._http.send_data(number, query[2:], end_stream=True)
        self.sent[number] = time.monotonic()

    def read(self) -> None:
        """See :class:`Client`."""
        while True:
            try:
                data = self.socket.recv(65536)
            except ssl.SSLWantReadError:
                return
            if not data:
                raise SystemExit("the connection was closed")
            for event in self._http.receive_data(data):
                match event:
                    case h2.events.DataReceived():
                        self.part(event.stream_id or 0, event.data or b"", False, 3)
                    case h2.events.StreamEnded():
                        self.part(event.stream_id or 0, b"", True, 3)

    def flush(self) -> None:
        """See :class:`Client`. What is asked at a time is small, so the kernel takes it."""
        data = self._http.data_to_send()
        if data:
            self.socket.sendall(data)


CLIENTS: dict[str, Callable[[int], Client]] = {"quic": QuicClient, "https": HttpsClient}
"""By the scheme of the server key."""


def run(scheme: str, port: int, path: Path, seconds: float, rate: int, once: bool, connections: int) -> dict[str, Any]:
    """Ask, and say what came of it."""
    known = packets(path)
    queries: Iterator[bytes] = iter(known) if once else cycle(known)
    clients = [CLIENTS[scheme](port) for _ in range(connections)]
    by_socket = {client.socket: client for client in clients}

    def turn(wait: float) -> None:
        for client in clients:
            client.flush()
        for one in select.select(list(by_socket), [], [], wait)[0]:
            by_socket[one].read()

    while not all(client.ready for client in clients):
        turn(0.01)
    began = time.monotonic()
    end = began + (seconds or 3600.0)
    asked, more = 0, True
    while time.monotonic() < end and (more or any(client.sent for client in clients)):
        due = int((time.monotonic() - began) * rate) if rate else 1 << 62
        for client in clients:
            while more and len(client.sent) < OUTSTANDING // connections and asked < due:
                query = next(queries, None)
                more = query is not None
                if query is not None:
                    client.ask(query)
                    asked += 1
        turn(0.001 if rate else 0.02)
    took = time.monotonic() - began
    latest = time.monotonic() + PATIENCE
    while any(client.sent for client in clients) and time.monotonic() < latest:
        turn(0.02)
    codes: dict[int, int] = {}
    for client in clients:
        for code, count in client.codes.items():
            codes[code] = codes.get(code, 0) + count
        client.close()
    latencies = [latency for client in clients for latency in client.latencies]
    return {
        "completed": len(latencies),
        "lost": asked - len(latencies),
        "seconds": took,
        "codes": codes,
        "latencies": latencies,
        "sent": asked,
    }


if __name__ == "__main__":
    scheme, port, path, seconds, rate, once, connections = sys.argv[1:]
    print(json.dumps(run(scheme, int(port), Path(path), float(seconds), int(rate), once == "1", int(connections))))
