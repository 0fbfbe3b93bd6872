"""Messages, read by the protocol buffers that PyPI has for dnstap."""

from __future__ import annotations

from ipaddress import ip_address

from dnstap_pb import Dnstap, Message  # type: ignore[import-untyped]  # it has no annotations
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Transport
from kdns.plugins.dnstap.messages import (
    CLIENT_QUERY,
    CLIENT_RESPONSE,
    FORWARDER_QUERY,
    FORWARDER_RESPONSE,
    PROTOCOLS,
    client_message,
    dnstap,
    forwarder_message,
    head,
    varint,
)

ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(0, 65535)
TIMES = st.floats(1, 4e9)
MESSAGES = st.binary(max_size=300)


def read(payload: bytes) -> Dnstap:
    """The message as the reference implementation reads it; nothing in it is unknown."""
    found = Dnstap()
    assert found.ParseFromString(payload) == len(payload)
    return found


class MessageTests(SynchronousTestCase):
    @given(st.integers(0, 2**64 - 1))
    def test_varint(self, number: int) -> None:
        found = Message()
        found.ParseFromString(b"\x40" + varint(number))
        self.assertEqual(found.query_time_sec, number)

    @given(st.sampled_from(list(Transport)), ADDRESSES, PORTS, TIMES, MESSAGES, MESSAGES, st.binary(max_size=200))
    def test_client(
        self, transport: Transport, client: str, port: int, time: float, query: bytes, reply: bytes, extra: bytes
    ) -> None:
        """Every field of a client's message is read as it was written."""
        made = client_message(CLIENT_RESPONSE, transport, client, port, time, query, time + 1, reply)
        found = read(dnstap(head(b"me", b"v1"), extra, made))
        self.assertEqual(
            (found.identity, found.version, found.extra, found.type), (b"me", b"v1", extra, Dnstap.MESSAGE)
        )
        message = found.message
        self.assertEqual(message.type, Message.CLIENT_RESPONSE)
        self.assertEqual(message.socket_protocol, PROTOCOLS[transport.value])
        self.assertEqual(message.socket_family, 2 if ":" in client else 1)
        self.assertEqual(message.query_address, ip_address(client).packed)
        self.assertEqual(message.query_port, port)
        self.assertAlmostEqual(message.query_time_sec + message.query_time_nsec / 1e9, time, 5)
        self.assertAlmostEqual(message.response_time_sec + message.response_time_nsec / 1e9, time + 1, 5)
        self.assertEqual((message.query_message, message.response_message), (query, reply))

    @given(ADDRESSES, PORTS, TIMES, MESSAGES)
    def test_forwarder(self, remote: str, port: int, time: float, query: bytes) -> None:
        """A query that never left has no address of this server."""
        made = forwarder_message(FORWARDER_QUERY, "tls", None, (remote, port), time, query, 0, b"")
        message = read(dnstap(b"", b"", made)).message
        self.assertEqual((message.type, message.socket_protocol), (Message.FORWARDER_QUERY, 3))
        self.assertEqual((message.response_address, message.response_port), (ip_address(remote).packed, port))
        self.assertFalse(message.HasField("query_address") or message.HasField("response_time_sec"))

    def test_left_out(self) -> None:
        """What is not there is no field: not even an empty one."""
        made = client_message(CLIENT_QUERY, Transport.UDP, "10.0.0.1", 1, 1.5, b"", 0, b"")
        found = read(dnstap(head(b"", b""), b"", made))
        self.assertEqual([field.name for field, _ in found.ListFields()], ["message", "type"])
        names = {field.name for field, _ in found.message.ListFields()}
        self.assertFalse(names & {"query_message", "response_message", "response_time_sec", "response_address"})
        self.assertEqual((found.message.query_time_sec, found.message.query_time_nsec), (1, 500_000_000))

    def test_own_address(self) -> None:
        made = forwarder_message(FORWARDER_RESPONSE, "udp", ("::1", 4), ("::2", 53), 1, b"", 2, b"r")
        message = read(dnstap(b"", b"", made)).message
        self.assertEqual((message.query_address, message.query_port), (ip_address("::1").packed, 4))
