"""DNS messages in the bodies of gRPC calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.grpc import (
    HEAD,
    INTERNAL,
    MOST_MESSAGE,
    MOST_PACKET,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    GrpcError,
    decoded_text,
    encoded_text,
    framed,
    message_of,
)


def body(packet: bytes, flag: int = 0) -> bytes:
    """A packet behind its five bytes."""
    return bytes((flag,)) + len(packet).to_bytes(4, "big") + packet


class PacketTests(SynchronousTestCase):
    """Bodies."""

    @given(st.binary(max_size=300))
    def test_round_trip(self, message: bytes) -> None:
        """What was framed is read again."""
        self.assertEqual(message_of(framed(message)), message)

    def test_longest(self) -> None:
        """The longest message fits exactly; without a message the packet is empty."""
        self.assertEqual(len(framed(bytes(MOST_MESSAGE))), HEAD + MOST_PACKET)
        self.assertEqual(message_of(framed(bytes(MOST_MESSAGE))), bytes(MOST_MESSAGE))
        self.assertEqual(framed(b""), bytes(5))

    def test_other_fields(self) -> None:
        """Fields that are not known are skipped, whatever their kind; the last ``msg`` counts."""
        others = b"\x10\x96\x01" + b"\x1a\x02hi" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x08\x07"
        self.assertEqual(message_of(body(b"\x0a\x01a" + others + b"\x0a\x01b")), b"b")
        self.assertEqual(message_of(body(others)), b"")

    def test_refused(self) -> None:
        """What is no packet fails with the status that gRPC has for it."""
        for data, encoding, status in (
            (b"", b"identity", INTERNAL),
            (b"\0\0\0\0", b"identity", INTERNAL),
            (body(b"", 1), b"identity", INTERNAL),
            (body(b"", 1), b"gzip", UNIMPLEMENTED),
            (body(b"abc")[:-1], b"identity", INTERNAL),
            (body(b"") + body(b""), b"identity", INTERNAL),
            (b"\0" + (MOST_PACKET + 1).to_bytes(4, "big"), b"identity", RESOURCE_EXHAUSTED),
            (body(b"\x0a\x05abc"), b"identity", INTERNAL),
            (body(b"\x0a"), b"identity", INTERNAL),
            (body(b"\xff" * 12), b"identity", INTERNAL),
            (body(b"\x02\x00"), b"identity", INTERNAL),
            (body(b"\x0b\x0c"), b"identity", INTERNAL),
            (body(b"\x2d\0\0"), b"identity", INTERNAL),
        ):
            with self.assertRaises(GrpcError) as raised:
                message_of(data, encoding)
            self.assertEqual(raised.exception.status, status, data)

    @given(st.binary(max_size=100))
    def test_anything(self, data: bytes) -> None:
        """Whatever comes is read, or refused in order."""
        try:
            self.assertLess(len(message_of(data)), len(data))
        except GrpcError as error:
            self.assertTrue(error.text)

    def test_texts(self) -> None:
        """Texts are percent-encoded; what a server says can command no terminal."""
        self.assertEqual(encoded_text("100% a\u00a0b~"), b"100%25 a%C2%A0b~")
        self.assertEqual(decoded_text(b"100%25 ok%1b[2J"), "100% ok?[2J")
