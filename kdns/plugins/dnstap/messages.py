# -*- test-case-name: tests.plugins.dnstap.test_messages -*-
"""
dnstap messages in protocol buffers, from dnstap.proto: a core module of *dnstap*.

A message has at most a dozen fields, so they are written out here. What comes again and again (clients, ports, the second of the time) is
encoded once; then a message takes about as long as with the protobuf package, which kdns does not need otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from kdns.core.request import Transport

CLIENT_QUERY, CLIENT_RESPONSE, FORWARDER_QUERY, FORWARDER_RESPONSE = 5, 6, 7, 8

PROTOCOLS = {"udp": 1, "tcp": 2, "grpc": 2, "tls": 3, "https": 4, "https3": 4, "quic": 7}
"""SocketProtocol by transport: UDP, TCP, DOT, DOH, DOQ."""

VARINT, BYTES, FIXED32 = 0, 2, 5
"""Wire types of protocol buffers."""

_MESSAGE = b"\x78\x01"
"""``type: MESSAGE``, the last field of a Dnstap."""


@lru_cache(maxsize=65536)
def varint(number: int) -> bytes:
    """An unsigned number, seven bits in each byte."""
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _tag(field: int, wire_type: int) -> bytes:
    return bytes((field << 3 | wire_type,))


def _number(field: int, value: int) -> bytes:
    return _tag(field, VARINT) + varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, BYTES) + varint(len(value)) + value


@lru_cache(maxsize=64)
def _second(field: int, whole: int) -> bytes:
    """Unix time is two fields: seconds, and nanoseconds in four bytes. This is all but these four."""
    return _number(field, whole) + _tag(field + 1, FIXED32)


def _time(field: int, seconds: float) -> bytes:
    whole = int(seconds)
    return _second(field, whole) + int((seconds - whole) * 1e9).to_bytes(4, "little")


@lru_cache(maxsize=16384)
def _client(kind: int, transport: Transport, client: str) -> bytes:
    return _socket(kind, ":" in client, transport.value) + _bytes(4, _packed(client)) + _tag(6, VARINT)


@lru_cache(maxsize=1024)
def _packed(host: str) -> bytes:
    return ip_address(host.partition("%")[0]).packed


@lru_cache(maxsize=64)
def _socket(kind: int, ipv6: bool, protocol: str) -> bytes:
    """``type``, ``socket_family`` and ``socket_protocol``."""
    return _number(1, kind) + _number(2, 2 if ipv6 else 1) + _number(3, PROTOCOLS[protocol])


def client_message(
    kind: int,
    transport: Transport,
    client: str,
    port: int,
    query_time: float,
    query: bytes,
    response_time: float,
    response: bytes,
) -> bytes:
    """
    A Message between a client and this server.

    :param query: empty to leave it out, and so is *response*.
    :param response_time: 0 for none.
    """
    made = _client(kind, transport, client) + varint(port) + _time(8, query_time)
    return _with_messages(made, query, response_time, response)


def forwarder_message(
    kind: int,
    transport: str,
    local: tuple[str, int] | None,
    remote: tuple[str, int],
    query_time: float,
    query: bytes,
    response_time: float,
    response: bytes,
) -> bytes:
    """A Message between this server and an upstream; parameters as above."""
    made = _socket(kind, ":" in remote[0], transport)
    if local is not None:
        made += _bytes(4, _packed(local[0])) + _number(6, local[1])
    made += _bytes(5, _packed(remote[0])) + _number(7, remote[1]) + _time(8, query_time)
    return _with_messages(made, query, response_time, response)


def _with_messages(made: bytes, query: bytes, response_time: float, response: bytes) -> bytes:
    if query:
        made += b"\x52" + varint(len(query)) + query
    if response_time:
        made += _time(12, response_time)
    if response:
        made += b"\x72" + varint(len(response)) + response
    return made


def head(identity: bytes, version: bytes) -> bytes:
    """The fields of a Dnstap that are the same in all of one server."""
    return _bytes(1, identity) * bool(identity) + _bytes(2, version) * bool(version)


def dnstap(head: bytes, extra: bytes, message: bytes) -> bytes:
    """A whole Dnstap."""
    if extra:
        head += _bytes(3, extra)
    return head + b"\x72" + varint(len(message)) + message + _MESSAGE
