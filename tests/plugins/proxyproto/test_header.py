"""Headers of the PROXY protocol."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.proxyproto.header import (
    DGRAM,
    MOST_BYTES,
    MOST_LINE,
    SIGNATURE,
    STREAM,
    BadHeader,
    Header,
    could_begin,
    read_header,
)
from tests.plugins.proxyproto.headers import version_2

BAD = (
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
    b"PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 x 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 2\r\n",
    b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
    b"PROXY\x20" + b"x" * MOST_LINE,
    SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
    SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x11" + MOST_BYTES.to_bytes(2, "big"),
)


class HeaderTests(SynchronousTestCase):
    """Bytes in, addresses out."""

    def test_version_1(self) -> None:
        """A line of text with two addresses and two ports."""
        line = b"PROXY TCP4 192.0.2.1 10.0.0.53 4000 53\r\n"
        self.assertEqual(read_header(line + b"more"), Header(len(line), ("192.0.2.1", 4000), ("10.0.0.53", 53), STREAM))
        line = b"PROXY TCP6 2001:DB8::1 2001:db8::53 4000 53\r\n"
        self.assertEqual(read_header(line), Header(len(line), ("2001:db8::1", 4000), ("2001:db8::53", 53), STREAM))
        self.assertEqual(read_header(b"PROXY UNKNOWN anything\r\nmore"), Header(24))

    def test_version_2(self) -> None:
        """Both families, both transports, and values behind the addresses."""
        data = version_2("192.0.2.1", 4000, "10.0.0.53", 53, DGRAM)
        self.assertEqual(read_header(data + b"more"), Header(28, ("192.0.2.1", 4000), ("10.0.0.53", 53), DGRAM))
        data = version_2("2001:db8::1", 4000, "2001:db8::53", 53, STREAM, b"\x04\x00\x01x")
        self.assertEqual(read_header(data), Header(56, ("2001:db8::1", 4000), ("2001:db8::53", 53), STREAM))

    def test_local(self) -> None:
        """A proxy that speaks for itself, and families that are no addresses."""
        self.assertEqual(read_header(SIGNATURE + b"\x20\x00\x00\x00"), Header(16))
        self.assertEqual(read_header(SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12)), Header(28))
        self.assertEqual(read_header(SIGNATURE + b"\x21\x31\x00\x02xx"), Header(18, transport=STREAM))

    def test_bad(self) -> None:
        """Bytes that begin like a header and are none."""
        for data in BAD:
            self.assertRaises(BadHeader, read_header, data)

    def test_not_whole(self) -> None:
        """Each beginning of a header is one that may still come whole."""
        for data in (version_2("192.0.2.1", 1, "10.0.0.53", 53, STREAM), b"PROXY TCP4 192.0.2.1 10.0.0.53 1 53\r\n"):
            for size in range(len(data)):
                self.assertTrue(could_begin(data[: min(size, 12)]), size)
                self.assertIsNone(read_header(data[:size]), size)

    def test_a_query_is_no_header(self) -> None:
        """No message of DNS behind its length begins like one: it would have to be longer than it is."""
        self.assertFalse(could_begin(b"\x00\x1d"))
        self.assertFalse(could_begin(b"PROXX"))

    @given(st.sampled_from((b"", SIGNATURE, b"PROXY ", b"PROXY TCP4 ")), st.binary(max_size=200))
    def test_any_bytes(self, start: bytes, rest: bytes) -> None:
        """Whatever comes is a header, none, or refused."""
        try:
            header = read_header(start + rest)
        except BadHeader:
            return
        if header is not None:
            self.assertLessEqual(header.size, len(start + rest))
