# -*- test-case-name: tests.plugins.cache.test_policy -*-
"""
What is kept, in which store, and for how long: a core module of *cache*.

Follows RFC 2308 for what does not exist, and CoreDNS in what it adds: one TTL for all records of a reply, with a floor and a ceiling.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from kdns.core.answer import Answer, Kind
from kdns.core.request import Request
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.wire.constants import AXFR, DO, IXFR, NOTIMP, OPCODE_MASK, RD, RRSIG, SERVFAIL, TC
from kdns.wire.message import ANSWER, Relayed
from kdns.wire.names import longest_zone

DEFAULT_TTL = 5
"""Seconds for answers without a TTL of their own that counts: no records, referrals, errors."""


class Place(Enum):
    """Where an answer goes."""

    SUCCESS = "success"
    DENIAL = "denial"
    NOWHERE = "nowhere"


class Verdict(NamedTuple):
    """What becomes of an answer."""

    place: Place
    ttl: int
    """Whole seconds that all its records get, kept or not."""


def passed_by(request: Request) -> bool:
    """Whether the request is none of the cache's business: a transfer, or no query at all."""
    return request.qtype in (AXFR, IXFR) or bool(request.flags & OPCODE_MASK)


def judge(answer: Answer, request: Request, config: CacheConfig, wall: float) -> Verdict:
    """
    Decide what becomes of an answer to a request.

    :param wall: seconds since 1970, for the validity of signatures.
    """
    place, ttl = _by_kind(answer, request, config, wall)
    if place is not Place.NOWHERE:
        disabled = config.no_success if place is Place.SUCCESS else config.no_denial
        if (
            answer.flags & TC
            or ttl <= 0
            or _unasked_for(answer, request)
            or not answer.validity.cacheable
            or (disabled and longest_zone(request.qname, disabled) is not None)
        ):
            place = Place.NOWHERE
    return Verdict(place, ttl)


def _unasked_for(answer: Answer, request: Request) -> bool:
    """
    Whether an upstream was asked not to recurse.

    It says then what it happens to know, a referral, or REFUSED, which is no answer for those who want it to find out. The other way round
    there is no harm: who does not ask for recursion may be given what it found for others.
    """
    return isinstance(answer.body, Relayed) and not request.flags & RD


def _by_kind(answer: Answer, request: Request, config: CacheConfig, wall: float) -> tuple[Place, int]:
    body, edns = answer.body, request.edns
    if isinstance(body, Relayed) and not answer.rcode and (edns is None or not edns.flags & DO):
        # What nearly every reply is, told at a glance: records of the type asked for, no signatures looked at.
        qtype = request.qtype
        for slot in body.slots:
            if slot.rtype == qtype and slot.section == ANSWER:
                return Place.SUCCESS, clamped(answer.body.lowest_ttl, config.success)
    if answer.rcode in (SERVFAIL, NOTIMP):
        # RFC 2308 section 7: a failure may be kept for a short time.
        return Place.DENIAL, config.servfail
    kind = answer.kind(request.qtype)
    if kind is not Kind.ERROR and request.do and _expired_signatures(answer, wall):
        kind = Kind.ERROR
    match kind:
        case Kind.NXDOMAIN | Kind.NODATA:
            # RFC 2308 section 5: no longer than the SOA's TTL; the lowest of all TTLs is never above it.
            return Place.DENIAL, clamped(answer.body.lowest_ttl, config.denial)
        case Kind.SUCCESS if answer.answer_count():
            place = Place.SUCCESS if answer.reaches(request.qtype) else Place.NOWHERE
            return place, clamped(answer.body.lowest_ttl, config.success)
        case Kind.SUCCESS | Kind.DELEGATION:
            return Place.SUCCESS, clamped(DEFAULT_TTL, config.success)
        case _:
            return Place.NOWHERE, clamped(DEFAULT_TTL, config.success)


def positive(answer: Answer, qtype: int) -> bool:
    """Whether an answer holds what was asked for."""
    return answer.kind(qtype) is Kind.SUCCESS and answer.reaches(qtype)


def clamped(ttl: int | None, limits: Limits) -> int:
    """The floor first, then the ceiling: ``cache 3`` keeps nothing longer than 3 seconds."""
    if ttl is None:
        ttl = DEFAULT_TTL
    if ttl < limits.least_ttl:
        ttl = limits.least_ttl
    return ttl if ttl < limits.most_ttl else limits.most_ttl


def _expired_signatures(answer: Answer, wall: float) -> bool:
    """Whether some signature is not valid at *wall*, by serial number arithmetic (RFC 4034 section 3.1.5)."""
    body = answer.body
    if isinstance(body, Relayed):
        validities = [body.message[slot.rdata + 8 : slot.rdata + 16] for slot in body.slots if slot.rtype == RRSIG]
    else:
        validities = [record.rdata[8:16] for section in body.sections() for record in section if record.rtype == RRSIG]
    now = int(wall)
    for validity in validities:
        expiration, inception = int.from_bytes(validity[:4], "big"), int.from_bytes(validity[4:], "big")
        if (expiration - now) & 0xFFFFFFFF >= 0x80000000 or (now - inception) & 0xFFFFFFFF >= 0x80000000:
            return True
    return False
