"""The golden cases of ``dnssec``, each asked thrice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dns.rdata
import dns.rdatatype
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnssec.denial import APEX_TYPES, TYPES
from kdns.wire.constants import type_text
from tests.conformance.cases import Case, CaseFile, case_file
from tests.conformance.client import Told, compare, compare_transfer, query, tell, tell_transfer
from tests.conformance.world import MemoryWorld, world_of

MINIMUM = 5
"""Of the SOA in the files: the TTL of a denial."""

_RRSIG = re.compile(r"( RRSIG (?:\S+ ){4})(\d{14}) (\d{14}) (\d+ \S+) .*")
_NSEC = re.compile(r"(\S+ \d+ NSEC \S+) (.*)")
_TTL = re.compile(r"^(\S+) \d+ ")


def masked(text: str, now: float) -> str:
    """A record in the words of the files: times of a signature relative to *now*, and no signature."""

    def hours(text: str) -> str:
        seconds = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp() - now
        return f"NOW{round(seconds / 3600):+d}h"

    return _RRSIG.sub(lambda found: f"{found[1]}{hours(found[2])} {hours(found[3])} {found[4]} SIG", text)


def corrected(question: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    What is wanted where kdns differs by a rule (``docs/standards.md``).

    An NSEC record lists all types that a name may have, and a denial has the lower of the SOA's TTL and its last number.
    """
    apex = question["qname"].lower() == "example.org."
    qtype = question["qtype"]
    inside = question["qname"].lower().endswith("example.org.")
    denial = inside and any(" SOA " in text and " RRSIG " not in text for text in wanted["authority"])

    def record(text: str) -> str:
        found = _NSEC.fullmatch(text)
        if found is not None and not _cut(text, wanted):
            types = {int(dns.rdatatype.from_text(word)) for word in found[2].split()} | (APEX_TYPES if apex else TYPES)
            if qtype != "NSEC":
                types -= {int(dns.rdatatype.from_text(qtype))}
            text = f"{found[1]} {' '.join(type_text(number) for number in sorted(types))}"
        if denial or (qtype == "NSEC" and ("NSEC " in text)):
            text = _TTL.sub(rf"\1 {MINIMUM} ", text)
        return text

    sections = ("answer", "authority") if qtype == "NSEC" else ("authority",)
    return {**wanted, **{section: [record(text) for text in wanted[section]] for section in sections}}


def with_keys(file: CaseFile, folder: Path) -> CaseFile:
    """A file whose Corefile finds the keys."""
    corefile = re.sub(
        r"(?m)^( +key file )(.+)$",
        lambda found: found[1] + " ".join(str(folder / word) for word in found[2].split()),
        file.corefile,
    )
    return replace(file, corefile=corefile)


def _cut(text: str, wanted: Mapping[str, Any]) -> bool:
    """Whether an NSEC is in a referral."""
    return not wanted["answer"] and not any(" SOA " in one for one in wanted["authority"])


class DnssecTests(SynchronousTestCase):
    """A server for each file."""

    maxDiff = None

    def differences(self, world: MemoryWorld, case: Case, *, again: bool = False) -> list[str]:
        """
        Ask a case, and say what is not as wanted.

        :param again: it may come out of a cache.
        """
        message = query(case.question)
        reply, port = world.ask(message, case.question["proto"])
        told = tell(reply, port, message)
        now = world.reactor.seconds()
        sections = {
            name: sorted(masked(text, now) for text in told.expect[name])
            for name in ("answer", "authority", "additional")
        }
        found = Told({**told.expect, **sections}, told.serials, told.question, told.size)
        if again:
            # A cache sets AA from the second time on.
            found = Told({**found.expect, "flags": case.wanted["flags"]}, found.serials, found.question, found.size)
        wanted = case.wanted if case.wanted is not case.golden else corrected(case.question, case.wanted)
        return compare(case.question, wanted, found)

    def check(self, name: str) -> None:
        """Ask all cases of a file, three times."""
        file = case_file(name)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        world = world_of(with_keys(file, folder), folder)
        world.start()
        wrong = []
        for turn in range(1, 4):
            for case in file.cases:
                wrong += [
                    f"{name}/{case.id}, time {turn}: {text}"
                    for text in self.differences(world, case, again=turn > 1 and "cache" in file.corefile)
                ]
        self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def test_one_key(self) -> None:
        """A key that signs everything."""
        self.check("dnssec-csk")

    def test_two_keys(self) -> None:
        """One key signs the keys, and another one the rest."""
        self.check("dnssec-split")

    def test_no_key(self) -> None:
        """Without a key answers are those of the plugins behind; CoreDNS adds NSEC records that nothing proves."""
        file = case_file("dnssec-no-key")
        told: list[list[Told]] = []
        for corefile in (file.corefile, re.sub(r"    dnssec \{\n    \}\n", "", file.corefile)):
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            world = world_of(replace(file, corefile=corefile), folder)
            world.start()
            told.append([tell(world.ask(query(case.question), case.question["proto"])[0]) for case in file.cases])
            self.assertEqual(world.stop(), [])
        self.assertEqual(told[0], told[1])
        self.assertNotIn("dnssec", corefile)

    def test_zones(self) -> None:
        """Zones within each other, and a cache in front."""
        self.check("dnssec-zones")


_MADE = re.compile(r"( RRSIG (?:\S+ ){4})\d{14} \d{14} (\d+ \S+) .*")
_SERIAL = re.compile(r"( SOA \S+ \S+) 17\d{8} ")


class SignTests(SynchronousTestCase):
    """The golden cases of ``sign``, served by ``file``."""

    maxDiff = None

    def masked(self, text: str) -> str:
        """A record in the words of the file."""
        return _SERIAL.sub(r"\1 SERIAL ", _MADE.sub(r"\1EXPIRES INCEPTION \2 SIG", text))

    def test_sign(self) -> None:
        """A zone is signed at the start, and served when *file* looks again."""
        file = case_file("sign")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        corefile = file.corefile.replace("directory .", f"directory {folder}")
        corefile = corefile.replace("file db.example.org.signed", f"file {folder}/db.example.org.signed")
        world = world_of(with_keys(replace(file, corefile=corefile), folder), folder)
        world.start()
        world.reactor.advance(3.0)
        wrong = []
        for case in file.cases:
            message = query(case.question)
            if "xfr" in case.question:
                told = tell_transfer(world.ask_transfer(message))
                found = {**told, "answer": sorted(map(self.masked, told["answer"]))}
                differences = compare_transfer({**case.wanted, "answer": sorted(case.wanted["answer"])}, found)
            else:
                reply, port = world.ask(message, case.question["proto"])
                one = tell(reply, port, message)
                sections = {
                    name: sorted(map(self.masked, one.expect[name])) for name in ("answer", "authority", "additional")
                }
                differences = compare(
                    case.question, case.wanted, Told({**one.expect, **sections}, (), one.question, one.size)
                )
            wrong += [f"sign/{case.id}: {text}" for text in differences]
        self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
