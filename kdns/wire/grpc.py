# -*- test-case-name: tests.wire.test_grpc -*-
"""
DNS messages as gRPC carries them, for CoreDNS's service ``coredns.dns.DnsService``.

Its only method takes and returns the protobuf message ``DnsPacket``, whose only field is ``bytes msg = 1``. gRPC puts five bytes in front
of it: whether it is compressed, and its length. Two functions do for that what a protobuf library and its generated code would.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote

PATH = b"/coredns.dns.DnsService/Query"
CONTENT_TYPE = b"application/grpc"

UNKNOWN = 2
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

MOST_MESSAGE = 65_535
"""Bytes of a DNS message."""

MOST_PACKET = MOST_MESSAGE + 4
"""Bytes of a packet: the tag of the field and the length take up to four."""

HEAD = 5
"""Bytes in front of a packet."""

_MSG = 1 << 3 | 2
"""The tag of ``msg``: field 1, with a length."""

_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class GrpcError(Exception):
    """
    A call that fails.

    :ivar status: the number that gRPC has for the kind of failure.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def framed(message: bytes) -> bytes:
    """A DNS message as the body of a request or response."""
    size = len(message)
    packet = b"\x0a" + _varint(size) + message if size else b""
    return b"\0" + len(packet).to_bytes(4, "big") + packet


def message_of(body: bytes, encoding: bytes = b"identity") -> bytes:
    """
    The DNS message in the body of a request or response; empty if the packet has none.

    :param encoding: the header ``grpc-encoding``.
    :raises GrpcError: the body is not one packet.
    """
    if len(body) < HEAD:
        raise GrpcError(INTERNAL, "unexpected EOF")
    if body[0]:
        if encoding == b"identity":
            raise GrpcError(INTERNAL, "grpc: compressed flag set with identity or empty encoding")
        name = encoding.decode("ascii", "replace")
        raise GrpcError(UNIMPLEMENTED, f'grpc: Decompressor is not installed for grpc-encoding "{name}"')
    size = int.from_bytes(body[1:HEAD], "big")
    if size > MOST_PACKET:
        raise too_large(size)
    if size != len(body) - HEAD:
        raise GrpcError(INTERNAL, "unexpected EOF" if size > len(body) - HEAD else "grpc: more than one message")
    return _msg_of(body)


def too_large(size: int) -> GrpcError:
    """The failure of a call with a packet of that many bytes."""
    return GrpcError(RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. {MOST_PACKET})")


def _msg_of(body: bytes) -> bytes:
    """The last ``msg`` of a packet. Other fields are skipped, as protobuf wants it."""
    offset, end, found = HEAD, len(body), b""
    while offset < end:
        tag, offset = _read_varint(body, offset)
        kind = tag & 7
        if not tag >> 3:
            raise _malformed()
        if kind == 0:
            _, offset = _read_varint(body, offset)
        elif kind == 2:
            size, offset = _read_varint(body, offset)
            if tag == _MSG:
                found = body[offset : offset + size]
            offset += size
        elif kind in (1, 5):
            offset += 8 if kind == 1 else 4
        else:
            raise _malformed()  # groups, which proto3 does not have
    if offset > end:
        raise _malformed()
    return found


def _malformed() -> GrpcError:
    return GrpcError(INTERNAL, "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data")


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """A number and the offset behind it."""
    number = 0
    for place, byte in enumerate(data[offset : offset + 10]):
        number |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, offset + place + 1
    raise _malformed()


def encoded_text(text: str) -> bytes:
    """A text for the trailer ``grpc-message``: UTF-8 in percent-encoding."""
    return quote_from_bytes(text.encode(), _SAFE).encode()


def decoded_text(value: bytes) -> str:
    """The text of a trailer ``grpc-message``, without what could command a terminal."""
    return re.sub(r"[^ -~]", "?", unquote(value.decode("ascii", "replace"))[:200])
