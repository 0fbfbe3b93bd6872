# -*- test-case-name: tests.plugins.loadbalance.test_orders -*-
"""
In which order the records of an answer are sent: a core module of *loadbalance*.

Each section becomes aliases, others, addresses, mail exchangers; addresses and mail exchangers are shuffled, preferred addresses first.
A reply that is repeated from the answer table rotates its addresses there (:mod:`kdns.wire.rotation`); mail exchangers do not rotate, so
an answer with several of them is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from msgspec.structs import replace

from kdns.core.answer import Answer, Records, Sections
from kdns.wire.constants import AAAA, CNAME, MX, A
from kdns.wire.message import ANSWER, MOST_CHANGED, MOST_TAKEN_APART, Relayed
from kdns.wire.names import MalformedName
from kdns.wire.records import Record
from kdns.wire.rotation import Preferred, preference, rotation_of

MOST_SHUFFLED = 64
"""Records that are shuffled; more are rotated by a random number of places, which takes no time worth mentioning."""

T = TypeVar("T")


def balanced(answer: Answer, random: Random, prefer: Preferred) -> Answer:
    """
    The answer in a random order, which rotates each time the reply is repeated.

    :param prefer: networks whose addresses come first.
    """
    body = answer.body
    if sum(body.counts) < 2:
        return answer
    try:
        if isinstance(body, Relayed) and (len(body.slots) > MOST_TAKEN_APART or _only_addresses_move(body)):
            if len(body.slots) > (MOST_CHANGED if prefer else MOST_TAKEN_APART):
                return _turned(answer, body, random)
            sets = body.address_sets()
            if not sets:
                return answer
            orders = [
                _shuffled(slots, [body.message[slot.rdata : slot.end] for slot in slots], random, prefer)
                for slots in sets
            ]
            return replace(answer, body=body.rearranged(zip(sets, orders, strict=True)), rotate=prefer)
        sections = body.sections()
    except MalformedName:
        return answer  # a record that cannot be read is passed on as it came
    mail = False
    parts: list[Records] = []
    for section in sections:
        if len(section) < 2:
            parts.append(section)
            continue
        first, addresses, exchangers = _sorted(section)
        mail = mail or len(exchangers) > 1
        addresses = _shuffled(addresses, [record.rdata for record in addresses], random, prefer)
        exchangers = _shuffled(exchangers, [], random, ())
        parts.append((*first, *addresses, *exchangers))
    balanced = replace(answer, body=Sections(*parts), rotate=prefer)
    return balanced.with_validity(answer.validity.not_repeated()) if mail else balanced


def in_order(section: Records) -> Records:
    """The records of a section with addresses in the order of kinds, each kind in its own order."""
    first, addresses, exchangers = _sorted(section)
    return (*first, *addresses, *exchangers) if addresses else section


def _turned(answer: Answer, body: Relayed, random: Random) -> Answer:
    """The answer with its address sets beginning at a random place; addresses of one set with different TTLs stay where they are."""
    reply = body.message[2:]
    rotation = rotation_of(reply)
    if rotation is None:
        return answer
    # Records that change places have the same size, so the slots are still right.
    message = body.message[:2] + rotation.order(reply, random.randrange(rotation.turns))
    return replace(answer, body=replace(body, message=message), rotate=())


def _only_addresses_move(relayed: Relayed) -> bool:
    """Whether exchanging addresses is enough: aliases stand in front of them, and there are no mail exchangers to shuffle."""
    addresses = mail = 0
    for slot in relayed.slots:
        if slot.rtype in (A, AAAA):
            addresses += slot.section == ANSWER
        elif slot.rtype == MX:
            mail += 1
        elif slot.rtype == CNAME and addresses and slot.section == ANSWER:
            return False
    return mail < 2


def _sorted(section: Records) -> tuple[list[Record], list[Record], list[Record]]:
    """What stands first in its own order, then addresses, then mail exchangers."""
    aliases: list[Record] = []
    others: list[Record] = []
    addresses: list[Record] = []
    mail: list[Record] = []
    for record in section:
        if record.rtype in (A, AAAA):
            addresses.append(record)
        elif record.rtype == CNAME:
            aliases.append(record)
        elif record.rtype == MX:
            mail.append(record)
        else:
            others.append(record)
    return aliases + others, addresses, mail


def _shuffled(things: Sequence[T], addresses: Sequence[bytes], random: Random, prefer: Preferred) -> list[T]:
    """*things* in a random order; those whose address is preferred come first."""
    count = len(things)
    if count > MOST_SHUFFLED:
        cut = random.randrange(count)
        order = [*range(cut, count), *range(cut)]
    else:
        order = list(range(count))
        if count > 1:
            random.shuffle(order)
    if prefer:
        order.sort(key=lambda at: preference(addresses[at], prefer))
    return [things[at] for at in order]
