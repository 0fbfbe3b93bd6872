# -*- test-case-name: tests.plugins.forward.test_https -*-
"""The client's side of an HTTP/2 connection that carries queries, as DNS over HTTPS and gRPC do; h2 does no input or output."""

from __future__ import annotations

from typing import Any, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events

from kdns.plugins.forward.failures import ExchangeFailed, PooledConnectionClosed
from kdns.plugins.forward.streams import MOST_PIPELINED

ROOM = 1024
"""Bytes that the other end must be ready to take before it is sent one more query."""


class Http2Connection(Protocol):
    """What :class:`Http2` needs of a connection."""

    longest: int
    """Bytes of a response's body; a longer one fails the query."""

    def fields(self, message: bytes) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of the request that carries a query."""

    def write(self, data: bytes) -> None: ...

    def finished(self, number: int, response: Response) -> None:
        """The response to a query is complete."""

    def failed(self, number: int, text: str, kind: type[ExchangeFailed] = ExchangeFailed) -> None:
        """There is no response to a query, or an unusable one."""

    def establish(self) -> None:
        """Queries can be sent from now on."""

    def abort(self) -> None: ...


class Response:
    """A response while it arrives."""

    __slots__ = ("body", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        """Headers of HTTP/2, and trailers."""

        self.body = bytearray()


class Http2:
    """HTTP/2: many queries at once, each a stream."""

    def __init__(self, connection: Http2Connection) -> None:
        self._connection = connection
        self._responses: dict[int, Response] = {}
        self._settled = False
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self._http.initiate_connection()
        self._flush()

    def most(self) -> int:
        if self._http.outbound_flow_control_window < ROOM:
            return 0
        return min(MOST_PIPELINED, self._http.remote_settings.max_concurrent_streams)

    def send(self, message: bytes) -> int:
        number: int = self._http.get_next_available_stream_id()
        headers, body = self._connection.fields(message)
        self._http.send_headers(number, headers, end_stream=not body)
        if body:
            self._http.send_data(number, body, end_stream=True)
        self._responses[number] = Response()
        self._flush()
        return number

    def forgotten(self, number: int) -> None:
        if self._responses.pop(number, None) is not None:
            self._http.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            self._flush()

    def received(self, data: bytes) -> None:
        try:
            events = self._http.receive_data(data)
        finally:
            self._flush()
        for event in events:
            self._happened(event)
        self._flush()

    def _happened(self, event: Any) -> None:
        connection, number = self._connection, getattr(event, "stream_id", 0) or 0
        response = self._responses.get(number)
        match event:
            case h2.events.ResponseReceived() if response is not None:
                response.headers = dict(event.headers or ())
                status = response.headers.get(b":status", b"")
                response.status = int(status) if status.isdigit() else 0
            case h2.events.TrailersReceived() if response is not None:
                response.headers.update(event.headers or ())
            case h2.events.DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, number)
                if response is not None:
                    response.body += event.data or b""
                    if len(response.body) > connection.longest:
                        self.forgotten(number)
                        connection.failed(number, "the response is too long")
            case h2.events.StreamEnded() if response is not None:
                del self._responses[number]
                connection.finished(number, response)
            case h2.events.StreamReset() if response is not None:
                del self._responses[number]
                refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                connection.failed(number, "stream reset", PooledConnectionClosed if refused else ExchangeFailed)
            case h2.events.RemoteSettingsChanged() if not self._settled:
                self._settled = True
                connection.establish()
            case h2.events.ConnectionTerminated():
                connection.abort()  # h2 takes nothing more after a GOAWAY; the queries are asked again

    def _flush(self) -> None:
        self._connection.write(self._http.data_to_send())
