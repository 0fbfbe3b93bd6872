"""The reference itself, held against the golden cases: what it says is what a real CoreDNS said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugins.kubernetes import directive
from kdns.plugins.kubernetes.config import Config
from kdns.wire.names import to_text
from tests.conformance.cases import CASES, case_file
from tests.plugins.kubernetes.reference import Reference, Rules, Said
from tests.support import blocks_of

FILES = (
    "kubernetes", "pods-disabled", "pods-verified", "endpoint-pod-names", "ignore-empty-service", "namespaces", "namespaces-unknown",
    "noendpoints", "multicluster", "multicluster-ignore-empty", "zonal", "zone-root", "zones", "ttl-0", "ttl-3600", "ttl-default",
    "fallthrough-part", "fallthrough-all",
)  # fmt: skip
"""Golden files whose options the reference knows."""


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Outside(Exception):
    """The next plugin would be asked."""


def outside(name: str, qtype: str) -> Said:
    """Nobody is behind the cluster here."""
    raise Outside


def rules_of(corefile: str) -> Rules:
    """The rules that a golden Corefile sets."""
    text = re.sub(r"\{\{\w+\}\}", "127.0.0.1", corefile.replace("{{PORT}}", "53"))
    block, words = blocks_of(text, DIRECTIVE_ORDER)[0]
    config: Config = directive.parse(words["kubernetes"], block)
    return Rules(
        tuple(zone.text for zone in config.zones),
        tuple(map(to_text, config.multicluster)),
        config.pods,
        config.ttl,
        tuple(name.decode() for name in config.namespaces or ()),
        config.source.pod_names,
        config.source.endpoints,
        tuple(map(to_text, config.fallthrough)),
        config.ignore_empty,
        config.source.zones,
        ("10.244.0.2",),
    )


@cache
def objects_of(paths: tuple[Any, ...]) -> dict[str, list[Any]]:
    """The objects in manifests by kind."""
    found: dict[str, list[Any]] = {}
    for path in (CASES / "every-cluster.yaml", *paths):
        for one in yaml.load_all(path.read_text(), LOADER):
            for item in one.get("items", [one]) if one else ():
                found.setdefault(item["kind"], []).append(item)
    return found


def lowered(texts: list[str]) -> frozenset[str]:
    """Golden records in the words of the reference."""
    return frozenset(text.lower().replace(" serial ", " SERIAL ") for text in texts)


def told(texts: frozenset[str]) -> frozenset[str]:
    """The reference's, in the same case."""
    return lowered(list(texts))


class ReferenceTests(SynchronousTestCase):
    """Golden cases that the cluster alone answers."""

    def cases(self, name: str) -> Iterator[tuple[str, Said, Any]]:
        """Each case of a file with what the reference says and what is wanted."""
        file = case_file(name)
        found = objects_of(file.manifests)
        kinds = ("Service", "EndpointSlice", "Namespace", "Pod", "ServiceImport")
        reference = Reference(rules_of(file.corefile), outside, *(found.get(kind, []) for kind in kinds))
        for case in file.cases:
            question = case.question
            if "\\" in question["qname"] or question["qtype"] in ("AXFR", "IXFR") or "rcode" not in case.wanted:
                continue
            if "tc" in case.wanted["flags"] or case.wanted["rcode"] in ("REFUSED", "BADVERS", "FORMERR"):
                continue
            try:
                yield case.id, reference.resolve(question["qname"].lower(), question["qtype"]), case.wanted
            except Outside:
                continue

    def test_golden(self) -> None:
        """Response code, authority of the answer, and the three sections."""
        compared = 0
        for name in FILES:
            for ident, said, wanted in self.cases(name):
                compared += 1
                place = f"{name}: {ident}"
                self.assertEqual((said.rcode, said.aa), (wanted["rcode"], "aa" in wanted["flags"]), place)
                for section in ("answer", "authority", "additional"):
                    self.assertEqual(told(getattr(said, section)), lowered(wanted[section]), f"{place} {section}")
        self.assertGreater(compared, 600)
