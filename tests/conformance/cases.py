# -*- test-case-name: tests.conformance.test_in_memory -*-
"""
The golden cases as values: which questions, in which order, of which Corefile, and what is wanted.

What is wanted of a case is what CoreDNS answered; where a newer release of it answers better, that (``kdns_expect``, with the reason in
``why``); and where kdns answers something else for good, that (``deviations.json``, with the reason in there). One deviation is a rule: a
reply has an OPT only if the query had one, and its DO bit is the query's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from socket import gethostname
from typing import Any

from twisted.internet.defer import Deferred

from kdns import __version__

HERE = Path(__file__).parent
CASES = HERE / "cases"

CLUSTER = (
    "kubernetes", "default", "bind", "no-forward", "ttl-0", "ttl-3600", "ttl-default", "pods-disabled", "pods-verified",
    "endpoint-pod-names", "fallthrough-all", "fallthrough-part", "ignore-empty-service", "labels", "namespace-labels",
    "namespaces-unknown", "namespaces", "noendpoints", "multicluster", "multicluster-ignore-empty", "zonal", "zone-root", "zones",
    "k8s-external", "k8s-external-headless", "dns64-kubernetes", "rewrite-kubernetes",
    "bufsize-kubernetes", "minimal-kubernetes", "nsid-kubernetes", "autopath",
)  # fmt: skip
"""Files about a cluster in which nothing has to wait."""

WAITING = ("before-sync", "cache-disable", "cache-kubernetes")
"""Files about a cluster in which time passes."""

WITH_FILE = ("rewrite-cname", "rewrite-name", "rewrite-rcode", "rewrite-ttl", "rewrite-type-class")
"""Files with a zone in a master file."""

OTHERS = (
    "acl", "acl-order", "autopath-file", "views",
    "dns64", "dns64-ipv4-client", "dns64-more", "dns64-prefix-32", "dns64-prefix-40", "dns64-prefix-64",
    "dns64-prefix-96",
    "any", "bufsize", "chaos", "chaos-more", "erratic", "erratic-truncate", "header", "local", "local-prefix",
    "local-prefix-off", "minimal", "nsid", "bufsize-more", "header-inner", "erratic-axfr",
    "any-more", "header-more", "nsid-more", "mix-localnames", "geoip-asn", "geoip-city", "geoip-view",
    "blocks", "blocks-no-root", "cache", "cache-30", "cache-keepttl", "cache-options", "cache-prefetch", "cache-stale-verify",
    "cache-stale", "forward", "forward-max-concurrent", "forward-next", "forward-options", "hosts", "hosts-fallthrough-part",
    "hosts-fallthrough", "hosts-zones", "rewrite", "rewrite-edns0", "rewrite-ttl-opt", "template", "template-language",
    "template-records", "whoami", *WITH_FILE,
)  # fmt: skip
"""Files without a cluster."""

TWO_LISTENERS = tuple(
    f"rewrite-edns0-{rest}"
    for rest in (
        "local-append-revert", "local-append", "local-replace-revert", "local-replace", "local-set-revert", "local-set", "local-unset",
        "nsid-append", "nsid-replace", "nsid-set-revert", "nsid-set", "nsid-unset", "subnet-append", "subnet-replace",
        "subnet-set-revert", "subnet-set", "subnet-unset", "subnet-zero",
    )
)  # fmt: skip
"""Files whose server asks itself, at a second port."""


ZONES = (
    "auto", "auto-reload", "file-alone", "file-basic", "file-directives", "file-fallthrough", "file-fallthrough-part", "file-reload",
    "file-signed", "secondary", "transfer", "transfer-file", "transfer-file-big", "transfer-file-signed", "transfer-limited",
    "transfer-namespaces",
)  # fmt: skip
"""Files about zone data; the last ones are about transfers."""

OWN_WORDS = {"HOSTNAME": gethostname(), "CoreDNS-1.14.7": f"kdns-{__version__}"}
"""What the files show in the place of the host's name, and how CoreDNS calls itself; with the words that kdns has for them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question and the answer that is wanted."""

    id: str
    question: Mapping[str, Any]
    """Its keys are those of the file: ``qname``, ``qtype``, ``edns``, ``proto`` and so on."""

    golden: Mapping[str, Any]
    """The answer of CoreDNS, of the newer release where there are two."""

    wanted: Mapping[str, Any]
    """The answer that kdns shall give."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A Corefile and the questions to ask, in their order, of a server that has just been started with it."""

    name: str
    corefile: str
    files: Mapping[str, str]
    """Further files of the working directory."""

    manifests: tuple[Path, ...]
    """What is in the cluster, beside what is in every cluster."""

    unreachable: bool
    """Whether nobody listens where the API server should be."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Deviation:
    """A case in which kdns means to answer something else than CoreDNS."""

    file: str
    id: str
    kdns: Mapping[str, Any]
    reason: str


@cache
def deviations() -> Mapping[tuple[str, str], Deviation]:
    """All deviations by file and case."""
    rows = json.loads((HERE / "deviations.json").read_text(encoding="utf-8"))
    return {(row["file"], row["id"]): Deviation(row["file"], row["id"], row["kdns"], row["reason"]) for row in rows}


@cache
def case_file(name: str) -> CaseFile:
    """The case file of that name, without its suffix."""
    text = (CASES / f"{name}.json").read_text(encoding="utf-8")
    for masked, own in OWN_WORDS.items():
        text = text.replace(masked, own)
    document: Any = json.loads(text)
    cases = []
    for row in document["cases"]:
        golden = _with_asked_opt(row, row.get("kdns_expect", row["expect"]))
        deviation = deviations().get((name, row["id"]))
        wanted = golden if deviation is None else deviation.kdns
        cases.append(Case(row["id"], row, golden, wanted))
    manifests = document.get("manifests", ["cluster.yaml"])
    return CaseFile(
        name,
        document["corefile"],
        document.get("files", {}),
        tuple(CASES / manifest for manifest in manifests),
        document.get("api") == "unreachable",
        tuple(cases),
    )


def _with_asked_opt(question: Mapping[str, Any], golden: Mapping[str, Any]) -> Mapping[str, Any]:
    """A golden answer with the OPT that the rule allows: CoreDNS sends one with DO=1 wherever a plugin adds an option."""
    edns, asked = golden.get("edns"), question["edns"]
    if edns is None:
        return golden
    return {**golden, "edns": None if asked is None else {**edns, "do": edns["do"] and asked["do"]}}


def add_tests(case: Any, names: Iterable[str], said: str) -> None:
    """
    Give a test case a test for each file of cases, which runs its coroutine ``check(name)``.

    :param said: what becomes of every case of a file.
    """
    for name in names:

        def test(self: Any, name: str = name) -> Deferred[None]:
            return Deferred.fromCoroutine(self.check(name))

        test.__doc__ = f"Every case of {name}.json {said}"
        test.__name__ = f"test_{name.replace('-', '_')}"
        setattr(case, test.__name__, test)
