# -*- test-case-name: tests.admin.test_search_path_report -*-
"""
How the resolver of a pod walks its search path: which names it asks for, one after another, and which answer ends the walk.

A pod's ``resolv.conf`` says ``search NS.svc.DOMAIN svc.DOMAIN DOMAIN`` and ``options ndots:5``. What a node adds to it is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kdns.admin.tracing import Run, summary
from kdns.wire.constants import NOERROR, NXDOMAIN
from kdns.wire.names import MAX_NAME, MalformedName, from_labels, label_count

NDOTS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One name that was asked for."""

    name: str
    said: str
    ends: bool
    missing: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "said": self.said, "ends": self.ends, "missing": self.missing}


def search_steps(spelled: bytes, namespace: str, domain: bytes) -> Iterator[bytes]:
    """
    The names that a pod in *namespace* asks for when a program wants a name that does not end with a dot.

    A name of at least five dots is tried as it is first, another one last (resolv.conf(5), ``ndots``).
    """
    dots = label_count(spelled) - 1
    if dots >= NDOTS:
        yield spelled
    label = namespace.encode()
    for path in ((label, b"svc"), (b"svc",), ()):
        name = spelled[:-1] + _labels(path) + domain
        if len(name) <= MAX_NAME:
            yield name
    if dots < NDOTS:
        yield spelled


def _labels(labels: tuple[bytes, ...]) -> bytes:
    try:
        return from_labels(labels)[:-1]
    except MalformedName:
        return b""


def judged(run: Run) -> Step:
    """What a resolver makes of the answer to one name."""
    answer = run.answer
    if run.held_back or answer is None:
        said = "not known: an upstream would be asked"
        return Step(run.qname, said, False, run.missing)
    said = summary(answer)
    ends = answer.rcode == NOERROR and answer.answer_count() > 0
    if answer.rcode == NOERROR and not ends:
        said += "; glibc goes on, musl stops here"
    elif answer.rcode not in (NOERROR, NXDOMAIN):
        said += f": {run.error}" if run.error else ""
        said += "; glibc goes on, musl stops here"
    return Step(run.qname, said, ends, run.missing)
