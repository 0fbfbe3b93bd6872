"""The golden dnstap messages, from a whole server: what a reader is told of each query."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from dnstap_pb import Dnstap  # type: ignore[import-untyped]  # it has no annotations
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, OWN_WORDS
from tests.conformance.client import compare, query, tell
from tests.conformance.world import UPSTREAM, MemoryWorld
from tests.plugins.dnstap.reader import Readers

TAP = ("127.0.0.1", 6000)

MORE = {
    "x-servfail-test-a": ["CLIENT_RESPONSE"],
    "x-nowhere-a": ["CLIENT_QUERY", "CLIENT_RESPONSE"],
}
"""What is told besides the golden messages: replies that no plugin made (docs/standards.md)."""

OWN_EXTRA = {"A|out.tpl.test.|-|-": "A|in.rw.test.|-|-"}
"""Names are the client's own."""

MASKED = ("query_time_sec", "query_time_nsec", "response_time_sec", "response_time_nsec", "query_port", "response_port")


def told(found: Dnstap) -> dict[str, Any]:
    """A message in the words of the case files; messages of DNS stay bytes."""
    message: dict[str, Any] = {}
    for field, value in found.message.ListFields():
        if field.name == "type":
            value = field.enum_type.values_by_number[value].name
        elif field.name.endswith("_address"):
            value = str(ip_address(value))
        message[field.name] = value
    made: dict[str, Any] = {"message": message, "type": found.type}
    return made | {
        field.name: value.decode()
        for field, value in found.ListFields()
        if field.name in ("identity", "version", "extra")
    }


class GoldenDnstapTests(SynchronousTestCase):
    maxDiff = None

    def check(self, name: str) -> None:
        """Ask all cases of a file in their order, and compare what the reader got for each."""
        text = (CASES / f"{name}.json").read_text(encoding="utf-8")
        for masked, own in OWN_WORDS.items():
            text = text.replace(masked, own)
        document = json.loads(text)
        corefile = document["corefile"].replace("unix://{{TAP}}", f"tcp://{TAP[0]}:{TAP[1]}")
        world = MemoryWorld(corefile)
        readers = Readers()
        port = world.reactor.listenTCP(TAP[1], readers, interface=TAP[0])
        world.start()
        world.reactor.advance(1)
        (reader,) = readers.all
        wrong = []
        for case in document["cases"]:
            world.ask(query(case), case["proto"])
            world.reactor.advance(1.0)
            wrong += [
                f"{name}/{case['id']}: {text}" for text in self.differences(case, [told(one) for one in reader.take()])
            ]
        world.stop()
        port.stopListening()
        world.reactor.settle()
        self.assertEqual(world.reactor.leftovers(), [])
        self.assertEqual(reader.controls, [4, 2, 3], "READY, START, STOP")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

    def differences(self, case: Mapping[str, Any], got: list[dict[str, Any]]) -> list[str]:
        types = [one["message"]["type"] for one in got]
        wanted = case["frames"]
        golden = [one["message"]["type"] for one in wanted]
        if types != golden + MORE.get(case["id"], []):
            return [f"wanted {golden}, got {types}"]
        found = []
        for one, other in zip(wanted, got, strict=False):
            extra = OWN_EXTRA.get(one.get("extra"), one.get("extra"))
            for key, value in (("identity", one.get("identity")), ("version", one.get("version")), ("extra", extra)):
                if other.get(key) != value:
                    found.append(f"{key}: wanted {value}, got {other.get(key)}")
            found += self.fields(case, one["message"], other["message"])
        return found

    def fields(self, case: Mapping[str, Any], wanted: dict[str, Any], got: dict[str, Any]) -> list[str]:
        """The differences of one message."""
        if wanted.keys() != got.keys():
            return [f"{wanted['type']}: wanted {sorted(wanted)}, got {sorted(got)}"]
        found = []
        for key, value in wanted.items():
            if key in ("query_message", "response_message"):
                found += [f"{key}: {text}" for text in compare(case, self.allowed(case, value), tell(got[key]))]
            elif key == "response_port":
                if got[key] != UPSTREAM[1]:
                    found.append(f"{key}: {got[key]}")
            elif key in MASKED:
                if not got[key] and not key.endswith("nsec"):
                    found.append(f"{key} is 0")
            elif got[key] != value:
                found.append(f"{key}: wanted {value}, got {got[key]}")
        return found

    def allowed(self, case: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message as kdns sends it: an OPT only for a client that sent one, and the question as it was asked."""
        wanted = {key: part for key, part in value.items() if key != "question"}
        return {**wanted, "edns": None} if case["edns"] is None else wanted

    def test_dnstap(self) -> None:
        """With its defaults: no messages of DNS, the host's name."""
        self.check("dnstap")

    def test_dnstap_full(self) -> None:
        """With queries and replies, and a text in each message."""
        self.check("dnstap-full")
