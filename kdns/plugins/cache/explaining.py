# -*- test-case-name: tests.plugins.cache.test_explaining -*-
"""What a cache knows of a question, and what it does with an answer, in words."""

from __future__ import annotations

from math import ceil

from kdns.core.answer import Answer
from kdns.core.explaining import Note
from kdns.core.request import Request
from kdns.plugins.cache.config import CacheConfig
from kdns.plugins.cache.entries import Entry
from kdns.plugins.cache.policy import Place, judge, passed_by
from kdns.wire.constants import TC
from kdns.wire.names import longest_zone, to_text


def of_question(config: CacheConfig, request: Request, entry: Entry | None, now: float) -> list[Note]:
    """
    Whether the question is answered from an entry.

    :param entry: the one that may be served, if there is one.
    """
    zones = frozenset(zone.name for zone in config.zones)
    if longest_zone(request.qname, zones) is None:
        return [Note(f"not for this name: its zones are {', '.join(map(to_text, sorted(zones)))}")]
    if passed_by(request):
        return [Note("a question that is never cached")]
    if entry is None:
        return [Note("miss: there is no entry for this question")]
    kind = "denial" if entry.denial else "success"
    age, left = int(now - entry.stored), entry.left(now)
    if left > 0:
        return [Note(f"hit: a {kind}, stored {age} s ago for {entry.ttl} s, {left} s left")]
    text = f"an entry that expired {-left} s ago ({kind}, stored {age} s ago)"
    if config.stale is not None and now < entry.retry_at:
        return [Note(f"{text}: served stale, the next attempt to refresh it is in {ceil(entry.retry_at - now)} s")]
    verify = config.stale is not None and config.stale.verify
    return [Note(f"{text}: " + ("served stale if asking brings nothing" if verify else "served stale, and refreshed"))]


def of_answer(config: CacheConfig, request: Request, answer: Answer, wall: float) -> list[Note]:
    """Whether an answer from behind is kept."""
    place, ttl = judge(answer, request, config, wall)
    zones = frozenset(zone.name for zone in config.zones)
    if longest_zone(request.qname, zones) is None or passed_by(request):
        return []
    if place is not Place.NOWHERE:
        return [Note(f"kept as a {place.value} for {ttl} s")]
    if answer.flags & TC:
        return [Note("not kept: the answer is cut off (TC)")]
    for word, zones in (("success", config.no_success), ("denial", config.no_denial)):
        zone = longest_zone(request.qname, frozenset(zones))
        if zone is not None and (answer.answer_count() > 0) == (word == "success"):
            return [Note(f"not kept: disable {word} {to_text(zone)}")]
    if not answer.validity.cacheable:
        return [Note("not kept: the answer is for this question alone")]
    if ttl <= 0:
        return [Note("not kept: its TTL is 0")]
    return [Note("not kept: not a kind of answer that is cached")]
