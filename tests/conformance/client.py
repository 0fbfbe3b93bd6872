# -*- test-case-name: tests.conformance.test_in_memory -*-
"""
The golden client: makes the octets of a question, and tells a reply in the words of the case files.

It reads and writes messages with dnspython, which shares no line with kdns, so that a fault in kdns's own codec cannot hide itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

HEADER_BITS = (
    ("qr", 0x8000), ("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080), ("z", 0x0040), ("ad", 0x0020), ("cd", 0x0010),
)  # fmt: skip
"""In the order in which case files name them."""

DO = 0x8000
IDENT = 0x6B64

_OWN_SOA = re.compile(r"( SOA ns1?\.(?:dns|test)\.\S* hostmaster\.\S*) (\d+) ", re.IGNORECASE)
_RECORD = re.compile(r"(?P<owner>\S+) (?P<ttl>\d+) (?P<rest>.*)", re.DOTALL)


def query(question: Mapping[str, Any], ident: int = IDENT) -> bytes:
    """The octets of a question as the case files write it."""
    edns = question["edns"]
    made = dns.message.Message(id=ident)
    made.set_opcode(dns.opcode.from_text(question.get("opcode", "QUERY")))
    qclass = dns.rdataclass.from_text(question.get("qclass", "IN"))
    name = dns.name.from_text(question["qname"])
    made.question.append(dns.rrset.RRset(name, qclass, dns.rdatatype.from_text(question["qtype"])))
    if question["rd"]:
        made.flags |= dns.flags.RD
    for bit in question.get("set", ()):
        made.flags |= dict(HEADER_BITS)[bit]
    if "ixfr_serial" in question:
        made.authority.append(dns.rrset.from_text(name, 0, "IN", "SOA", f". . {question['ixfr_serial']} 0 0 0 0"))
    if edns is not None:
        flags = (DO if edns["do"] else 0) | edns.get("z", 0)
        options = [dns.edns.GenericOption(row["code"], bytes.fromhex(row["hex"])) for row in edns.get("options", ())]
        made.use_edns(edns.get("version", 0), flags, edns["size"], options=list(options))
    return made.to_wire()


@dataclass(frozen=True, slots=True)
class Told:
    """A reply in the words of the case files."""

    expect: Mapping[str, Any]
    serials: tuple[int, ...] = ()
    """Of the cluster's own SOA records; in their place the records say ``SERIAL``."""

    question: tuple[str, ...] = ()
    size: int = 0


NOTHING = Told({"no_reply": True})


def tell(reply: bytes | None, port: int = 0, asked: bytes = b"") -> Told:
    """
    Read a reply.

    :param reply: its octets, or None when nothing came.
    :param port: the client's own, told as ``PORT``.
    :param asked: the query, whose identifier the reply must have.
    """
    if reply is None:
        return NOTHING
    message = dns.message.from_wire(reply, one_rr_per_rrset=True)
    if asked and reply[:2] != asked[:2]:
        return Told({"error": f"identifier {reply[:2].hex()}"})
    flags = int.from_bytes(reply[2:4], "big")
    serials: list[int] = []
    expect: dict[str, Any] = {
        "rcode": dns.rcode.to_text(message.rcode()),
        "flags": [name for name, bit in HEADER_BITS if flags & bit],
        "answer": _records(message.answer, serials, port),
        "authority": _records(message.authority, serials, port),
        "additional": _records(message.additional, serials, port),
        "edns": _edns(message),
    }
    if message.opcode() != dns.opcode.QUERY:
        expect["opcode"] = dns.opcode.to_text(message.opcode())
    question = tuple(
        f"{row.name} {dns.rdataclass.to_text(row.rdclass)} {dns.rdatatype.to_text(row.rdtype)}"
        for row in message.question
    )
    return Told(expect, tuple(serials), question, len(reply))


def tell_transfer(replies: list[bytes]) -> Mapping[str, Any]:
    """Read all messages of a transfer, in the words of the case files."""
    records: list[Any] = []
    expect: dict[str, Any] = {}
    for reply in replies:
        message = dns.message.from_wire(reply, one_rr_per_rrset=True, xfr=True)
        records += message.answer
        flags = int.from_bytes(reply[2:4], "big")
        told = {
            "rcode": dns.rcode.to_text(message.rcode()),
            "flags": [name for name, bit in HEADER_BITS if flags & bit],
        }
        expect = expect or told
        expect |= {"last_flags": told["flags"], "last_answer_count": len(message.answer)}
    owners = [str(rrset.name) for rrset in records]
    in_order = [text for rrset in records for text in _records([rrset], [], 0)]
    expect |= {
        "answer": sorted(in_order),
        "answer_in_order": in_order,
        "owners_in_order": [owner for at, owner in enumerate(owners) if not at or owners[at - 1] != owner],
        "messages": len(replies),
    }
    return expect


def is_whole_transfer(replies: list[bytes]) -> bool:
    """Whether nothing more can come: the SOA came twice, or alone, or there is no record at all."""
    if not replies:
        return False
    found = [
        rrset for reply in replies for rrset in dns.message.from_wire(reply, one_rr_per_rrset=True, xfr=True).answer
    ]
    return not found or (found[-1].rdtype == dns.rdatatype.SOA and (len(found) > 1 or len(replies[0]) < 300))


def compare_transfer(wanted: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """Say what differs between two transfers, a line each; what is not wanted to be known is not compared."""
    found = Comparison()
    for key, value in wanted.items():
        if key == "answer" and value and value[0].endswith(" records"):
            if value[0] != f"{len(told['answer'])} records":
                found.differ(key, value[0], len(told["answer"]))
        elif key in told and value != told[key]:
            found.differ(key, value, told[key])
    return found.differences


def _records(section: Iterable[Any], serials: list[int], port: int) -> list[str]:
    found = []
    for rrset in section:
        qclass = "" if rrset.rdclass == dns.rdataclass.IN else f"{dns.rdataclass.to_text(rrset.rdclass)} "
        for rdata in rrset:
            text = f"{rrset.name} {rrset.ttl} {qclass}{dns.rdatatype.to_text(rrset.rdtype)} {rdata}"
            own = _OWN_SOA.search(text)
            if own is not None:
                serials.append(int(own[2]))
                text = _OWN_SOA.sub(r"\1 SERIAL ", text)
            if port:
                text = text.replace(f" SRV 0 0 {port} ", " SRV 0 0 PORT ")
            found.append(text)
    return sorted(found)


def _edns(message: dns.message.Message) -> dict[str, Any] | None:
    if message.edns < 0:
        return None
    told: dict[str, Any] = {
        "version": message.edns,
        "size": message.payload,
        "do": bool(message.ednsflags & DO),
    }
    if message.ednsflags & 0x7FFF:
        told["z"] = message.ednsflags & 0x7FFF
    if message.options:
        told["options"] = [{"code": int(row.otype), "hex": row.to_wire().hex()} for row in message.options]
    return told


@dataclass(slots=True)
class Comparison:
    """What differs between a reply and what was wanted; empty when nothing does."""

    differences: list[str] = field(default_factory=list)

    def differ(self, what: str, wanted: object, got: object) -> None:
        """Note a difference."""
        self.differences.append(f"{what}: wanted {wanted}, got {got}")


def compare(
    question: Mapping[str, Any], wanted: Mapping[str, Any], told: Told, *, synced: bool = True, now: int = 0
) -> list[str]:
    """
    Say what differs, a line each.

    TTLs may be one second lower than wanted, as a cache counts them. Serials are 0 before the cluster was seen, and Unix times after.
    """
    found = Comparison()
    if wanted.get("no_reply") or "rcode" not in told.expect:
        if dict(wanted) != dict(told.expect):
            found.differ("reply", dict(wanted), dict(told.expect))
        return found.differences
    for key in ("rcode", "flags", "edns"):
        if wanted[key] != told.expect[key]:
            found.differ(key, wanted[key], told.expect[key])
    for section in ("answer", "authority", "additional"):
        if not _same_records(wanted[section], told.expect[section]):
            found.differ(section, wanted[section], told.expect[section])
    spelled = dns.name.from_text(question["qname"])
    asked = (f"{spelled} {question.get('qclass', 'IN')} {question['qtype']}",)
    if tuple(wanted.get("question", asked)) != told.question:
        found.differ("question", wanted.get("question", asked), told.question)
    if "bytes" in wanted and wanted["bytes"] != told.size:
        found.differ("octets", wanted["bytes"], told.size)
    for serial in told.serials:
        if (serial != 0) if not synced else not now - 3600 <= serial <= now + 1:
            found.differ("serial", "Unix time" if synced else 0, serial)
    return found.differences


def _same_records(wanted: list[str], got: list[str]) -> bool:
    """Whether both hold the same records, each as often; a TTL that was got may be one second lower."""
    left = sorted(got)
    for text in sorted(wanted):
        record = _RECORD.fullmatch(text)
        assert record is not None, text
        lower = f"{record['owner']} {max(0, int(record['ttl']) - 1)} {record['rest']}"
        for candidate in (text, lower):
            if candidate in left:
                left.remove(candidate)
                break
        else:
            return False
    return not left
