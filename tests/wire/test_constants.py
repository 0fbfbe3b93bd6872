"""Mnemonics and numbers of the protocol."""

from __future__ import annotations

import dns.rcode
import dns.rdataclass
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.constants import (
    class_number,
    class_text,
    rcode_number,
    rcode_text,
    type_number,
    type_text,
)


class MnemonicTests(SynchronousTestCase):
    """Numbers as text and back."""

    def test_types(self) -> None:
        """Every type comes back out of its text, and dnspython takes the text for the same."""
        for number in (*range(300), 32768, 32769, 65280, 65535):
            self.assertEqual(type_number(type_text(number)), number)
            if not type_text(number).startswith("TYPE") and number in set(dns.rdatatype.RdataType):
                self.assertEqual(dns.rdatatype.from_text(type_text(number)), number)
        self.assertEqual((type_text(28), type_text(65280)), ("AAAA", "TYPE65280"))
        self.assertEqual(type_number("aaaa"), 28)

    def test_classes(self) -> None:
        """Every class comes back out of its text."""
        for number in range(300):
            self.assertEqual(class_number(class_text(number)), number)
        self.assertEqual((class_text(1), class_text(3), class_text(42)), ("IN", "CH", "CLASS42"))
        self.assertEqual(dns.rdataclass.from_text(class_text(255)), 255)

    def test_rcodes(self) -> None:
        """Every response code with a name comes back out of it."""
        for number in range(24):
            text = rcode_text(number)
            self.assertEqual(rcode_number(text), None if text.startswith("RCODE") else number)
        self.assertEqual((rcode_text(3), rcode_text(16), rcode_text(42)), ("NXDOMAIN", "BADVERS", "RCODE42"))
        self.assertEqual(dns.rcode.from_text("NXDOMAIN"), rcode_number("nxdomain"))

    def test_none(self) -> None:
        """Words that are no number of the protocol."""
        for text in ("", "FROB", "TYPE", "TYPE65536", "TYPE-1", "TYPE\uff11", "TYPE1x", "TYPE000001"):
            self.assertIsNone(type_number(text), text)
        for text in ("", "FROB", "CLASS", "CLASS65536"):
            self.assertIsNone(class_number(text), text)
        self.assertIsNone(rcode_number("RCODE3"))
