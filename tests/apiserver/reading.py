# -*- test-case-name: tests.apiserver.test_reading -*-
"""Bytes to HTTP/1.1 requests; values only, the connection is http.py's business."""

from __future__ import annotations

from enum import Enum
from urllib.parse import parse_qsl, urlsplit

from tests.apiserver.rest import ApiRequest

MAX_HEAD = 64 * 1024  # bytes of request line and headers
MAX_BODY = 3 * 1024 * 1024  # bytes, the limit of the real server


class BadHttp(Exception):
    """Bytes that are no HTTP request, or one that is too large."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Body(Enum):
    """How the end of a request body is known."""

    NONE = "there is none"
    LENGTH = "its length was announced"
    CHUNKED = "chunks"


class RequestReader:
    """Cut a stream of bytes into requests; values only, the connection is somebody else's."""

    def __init__(self) -> None:
        self._buffer = b""
        self._body = _Body.NONE
        self._head: tuple[str, str, str, dict[str, str]] | None = None
        self._length = 0
        self._chunks: list[bytes] = []
        self.expects_continue = False  # the client waits for 100 Continue; whoever sends it clears this

    @property
    def buffered(self) -> int:
        """Bytes read and not yet handed out."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._buffer += data

    def next(self) -> tuple[ApiRequest, bool] | None:
        """
        The next whole request and whether the connection stays open after it; None: more bytes are needed.

        :raises BadHttp: the bytes are no request.
        """
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None
        body = self._read_body()
        if body is None:
            return None
        method, target, version, headers = self._head
        self._head = None
        self.expects_continue = False
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        keep = headers.get("connection", "").lower() != "close" and version == "HTTP/1.1"
        return ApiRequest(method, parts.path, query, headers, body), keep

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(self._buffer) > MAX_HEAD:
                raise BadHttp(431)
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        words = lines[0].split(" ")
        if len(words) != 3 or not words[1].startswith("/") or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadHttp(400)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadHttp(400)
            name, value = name.lower(), value.strip()
            # RFC 9110 section 5.3: fields of one name are one list.
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._head = (words[0], words[1], words[2], headers)
        self._choose_body(headers)
        return True

    def _choose_body(self, headers: dict[str, str]) -> None:
        self.expects_continue = headers.get("expect", "").lower() == "100-continue"
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise BadHttp(501)
            self._body = _Body.CHUNKED
            self._chunks = []
        elif "content-length" in headers:
            if not headers["content-length"].isdecimal():
                raise BadHttp(400)
            self._body, self._length = _Body.LENGTH, int(headers["content-length"])
            if self._length > MAX_BODY:
                raise BadHttp(413)
        else:
            self._body = _Body.NONE

    def _read_body(self) -> bytes | None:
        if self._body is _Body.NONE:
            return b""
        if self._body is _Body.LENGTH:
            if len(self._buffer) < self._length:
                return None
            body, self._buffer = self._buffer[: self._length], self._buffer[self._length :]
            return body
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return None
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadHttp(400) from None
            if size < 0 or size + sum(map(len, self._chunks)) > MAX_BODY:
                raise BadHttp(413)
            # Trailers are not expected: the last chunk is followed by an empty line, like every other.
            if len(rest) < size + 2:
                return None
            self._buffer = rest[size + 2 :]
            if size == 0:
                return b"".join(self._chunks)
            self._chunks.append(rest[:size])
