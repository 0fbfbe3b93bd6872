"""TSIG records against dnspython's."""

from __future__ import annotations

import time

import dns.message
import dns.name
import dns.tsig
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import from_text
from kdns.wire.tsig import ALGORITHMS, MalformedTsig, Tsig, append, mac_of, split

SECRET = b"some bytes that two hosts share"
KEY = dns.name.from_text("Key.Test.")


def signed_query(algorithm: str = "hmac-sha256.") -> tuple[bytes, bytes]:
    """A query that dnspython signs, and its MAC."""
    query = dns.message.make_query("www.example.org.", "A", use_edns=0, id=7)
    query.use_tsig({KEY: dns.tsig.Key(KEY, SECRET, algorithm)})
    message = query.to_wire()
    assert query.mac is not None
    return message, query.mac


def changed(message: bytes, at: int, to: bytes) -> bytes:
    """The message with other bytes at an offset, counted from its end when it is negative."""
    at %= len(message)
    return message[:at] + to + message[at + len(to) :]


class TsigTests(SynchronousTestCase):
    """Reading, computing, appending."""

    def test_split(self) -> None:
        """The message is as it was before it was signed."""
        for algorithm in ALGORITHMS:
            name = dns.name.from_wire(algorithm, 0)[0].to_text()
            message, mac = signed_query(name)
            found = split(message)
            assert found is not None
            plain, tsig = found
            again = dns.message.from_wire(plain)
            self.assertFalse(again.had_tsig)
            self.assertEqual((again.id, again.edns), (7, 0))
            self.assertEqual((tsig.key.lower(), tsig.algorithm), (from_text("key.test"), algorithm))
            self.assertEqual((tsig.mac, tsig.ident, tsig.fudge, tsig.error, tsig.other), (mac, 7, 300, 0, b""))
            self.assertEqual(mac_of(SECRET, tsig, plain), mac)

    def test_append(self) -> None:
        """dnspython checks what is signed, over a reply of several messages."""
        _, mac = signed_query()
        reply = dns.message.make_response(dns.message.make_query("www.example.org.", "A", id=7)).to_wire()
        algorithm = from_text("hmac-sha256")
        tsig = Tsig(KEY.to_wire() or b"", algorithm, int(time.time()), 300, b"", 7)
        keyring = {KEY: dns.tsig.Key(KEY, SECRET, "hmac-sha256.")}
        previous, context = mac, None
        for number in range(3):
            previous = mac_of(SECRET, tsig, reply, previous, timers_only=number > 0)
            message = append(reply, tsig._replace(mac=previous))
            read = dns.message.from_wire(message, keyring, mac, tsig_ctx=context, multi=True)
            self.assertTrue(read.had_tsig)
            context = read.tsig_ctx

    def test_none(self) -> None:
        """No record, no additional section, no message."""
        self.assertIsNone(split(dns.message.make_query("a.test.", "A").to_wire()))
        self.assertIsNone(split(dns.message.make_query("a.test.", "A", use_edns=0).to_wire()))
        self.assertIsNone(split(b""))

    def test_malformed(self) -> None:
        """What breaks the rules of RFC 8945 section 5.1 is refused."""
        message, mac = signed_query()
        at = message.rfind(b"\x00\xfa\x00\xff\x00\x00\x00\x00")
        opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
        three = changed(message, 10, b"\x00\x03")
        for broken in (
            changed(message, at + 2, b"\x00\x01"),  # class
            changed(message, at + 4, b"\x00\x00\x00\x01"),  # TTL
            changed(message, at + 8, b"\xff\xff"),  # rdata over the end
            changed(message, -2, b"\x00\x01"),  # other data over the end
            changed(message, -6 - len(mac) - 2, b"\xff\xff"),  # MAC over the end
            message[:-1],
            three + opt,  # not the last
            changed(changed(message, 10, b"\x00\x01"), 6, b"\x00\x02"),  # in the answer section
        ):
            with self.assertRaises(MalformedTsig):
                split(broken)
