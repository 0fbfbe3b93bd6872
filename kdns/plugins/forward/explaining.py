# -*- test-case-name: tests.plugins.forward.test_explaining -*-
"""Whom a stanza would ask and how they are, in words."""

from __future__ import annotations

from collections.abc import Sequence

from kdns.core.explaining import Note
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.health import Health
from kdns.wire.names import to_text

_WORDS = {
    Health.HEALTHY: "healthy",
    Health.SUSPECT: "did not answer lately, is being checked",
    Health.DOWN: "down: checks fail",
    Health.WITHDRAWN: "taken out of use",
}


def of_stanza(forwarder: Forwarder) -> list[Note]:
    """The stanza that takes a question."""
    stanza = forwarder.stanza
    notes = [Note(f"forward {to_text(stanza.origin)} takes the name; policy {stanza.policy.value}, in turn:")]
    for upstream in forwarder.upstreams:
        words = _WORDS[upstream.health.state]
        if upstream.health.fails:
            words += f", {upstream.health.fails} checks failed"
        if upstream.reason:
            words += f": {upstream.reason}"
        notes.append(Note(f"  {upstream.text}: {words}"))
    if not any(upstream.health.usable for upstream in forwarder.upstreams):
        notes.append(Note("no upstream is healthy: one is asked all the same", missing=True))
    return notes


def of_nobody(forwarders: Sequence[Forwarder], qname: bytes) -> list[Note]:
    """No stanza takes a name."""
    notes = []
    for forwarder in forwarders:
        stanza = forwarder.stanza
        excepted = [zone for zone in stanza.excepted if qname == zone or qname.endswith(zone)]
        why = f"except {to_text(excepted[0])}" if excepted else "the name is not in it"
        notes.append(Note(f"forward {to_text(stanza.origin)} does not take the name: {why}"))
    return notes
