"""The orders of a finished reply's addresses."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import dns.message
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, cname, txt
from kdns.wire.render import render
from kdns.wire.rotation import MOST_KEPT, Preferred, Rotation, rotation_of


def reply(*sets: str, compressed: bool = True) -> bytes:
    """A reply behind its identifier; each set is owner, type and addresses, "+" in front for the additional section."""
    sections: tuple[list[Record], list[Record]] = ([], [])
    for text in sets:
        owner, rtype, *words = text.lstrip("+").split()
        name = from_text(owner)
        for word in words:
            match rtype:
                case "CNAME":
                    record = cname(name, 30, from_text(word))
                case "TXT":
                    record = txt(name, 30, word.encode())
                case _:
                    record = a_or_aaaa(name, 30, ip_address(word).packed)
            sections[text.startswith("+")].append(record)
    question = from_text("web.prod.") + b"\x00\x01\x00\x01"
    return render(1, 0x8180, question, (sections[0], (), sections[1]), b"", 65535, 0 if compressed else 65535)[2:]


def shown(octets: bytes) -> list[list[str]]:
    """The records' data of answer and additional section, in the order of the wire."""
    message = dns.message.from_wire(b"\0\0" + octets, one_rr_per_rrset=True)
    return [[str(rrset[0]) for rrset in section] for section in (message.answer, message.additional)]


def orders(octets: bytes, prefer: Preferred = ()) -> list[list[list[str]]]:
    """All orders, the first one last."""
    rotation = rotation_of(octets, prefer)
    assert isinstance(rotation, Rotation)
    return [shown(rotation.next(octets)) for _ in range(rotation.turns)]


class RotationTests(SynchronousTestCase):
    """Which orders there are."""

    def test_each_address_is_first_equally_often(self) -> None:
        """As many orders as addresses, with kept orders and without."""
        for count in (2, 3, MOST_KEPT, MOST_KEPT + 1, 200):
            texts = [f"10.0.0.{number}" for number in range(count)]
            found = orders(reply(f"web.prod. A {' '.join(texts)}"))
            self.assertEqual(Counter(answer[0] for answer, _ in found), Counter(texts))
            self.assertTrue(all(sorted(answer) == sorted(texts) for answer, _ in found))
            self.assertEqual(found[-1][0], texts)

    def test_again(self) -> None:
        """After the last order the first one comes again."""
        octets = reply("web.prod. A 10.0.0.1 10.0.0.2")
        rotation = rotation_of(octets)
        assert rotation is not None
        firsts = [shown(rotation.next(octets))[0][0][-1] for _ in range(5)]
        self.assertEqual("".join(firsts), "21212")

    def test_sets_of_different_size(self) -> None:
        """Two and three addresses have six orders, in which each is first as often as its neighbours."""
        found = orders(reply("web.prod. A 10.0.0.1 10.0.0.2", "+x.prod. AAAA ::1 ::2 ::3", compressed=False))
        self.assertEqual(len(found), 6)
        self.assertEqual(set(Counter(answer[0] for answer, _ in found).values()), {3})
        self.assertEqual(set(Counter(additional[0] for _, additional in found).values()), {2})

    def test_one_order(self) -> None:
        """Addresses of different names, and other types, do not rotate."""
        self.assertIsNone(rotation_of(reply("web.prod. A 10.0.0.1", "+x.prod. A 10.0.0.1", "+y.prod. A 10.0.0.2")))
        self.assertIsNone(rotation_of(reply("web.prod. TXT a b c")))

    def test_alias_first(self) -> None:
        """What is no address stays where it stands."""
        found = orders(reply("web.prod. CNAME x.prod.", "x.prod. A 10.0.0.1 10.0.0.2"))
        self.assertEqual([answer[0] for answer, _ in found], ["x.prod."] * 2)

    def test_preferred(self) -> None:
        """Preferred addresses stay in front and rotate among themselves."""
        octets = reply("web.prod. A 10.0.0.1 10.0.0.2 10.1.0.1 10.1.0.2 10.1.0.3")
        found = orders(octets, (ip_network("10.0.0.0/24"),))
        self.assertEqual(len(found), 6)
        for answer, _ in found:
            self.assertEqual(
                [ip_address(text) in ip_network("10.0.0.0/24") for text in answer], [True] * 2 + [False] * 3
            )
        self.assertEqual(set(Counter(answer[0] for answer, _ in found).values()), {3})

    def test_forget(self) -> None:
        """Orders are made from the reply as it is now."""
        old, new = reply("web.prod. A 10.0.0.1 10.0.0.2"), reply("web.prod. A 10.0.0.3 10.0.0.4")
        rotation = rotation_of(old)
        assert rotation is not None
        rotation.next(old), rotation.next(old)
        rotation.forget()
        self.assertEqual(shown(rotation.next(new))[0], ["10.0.0.4", "10.0.0.3"])

    @given(st.binary(max_size=200))
    def test_any_bytes(self, octets: bytes) -> None:
        """Bytes that are no message are refused with one of the errors that are documented."""
        try:
            rotation_of(octets)
        except (ValueError, IndexError):
            pass
        except Exception as error:
            self.assertEqual(type(error).__name__, "error", "struct.error is the only other one")
