# -*- test-case-name: tests.plugins.loadbalance.test_orders -*-
"""
In which order the records of an answer are given: a core module of *loadbalance*.

Each section becomes aliases, others, addresses, mail exchangers; addresses and mail exchangers are shuffled. An answer that is given again
from the answer table must not show one order all the time, so it comes with several finished orders that take turns: all rotations of one
shuffle, so that each address is first equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from math import lcm
from random import Random
from typing import TypeVar

from msgspec.structs import replace

from kdns.core.answer import Answer, Scope
from kdns.wire.constants import AAAA, CNAME, MX, A
from kdns.wire.message import ANSWER, Relayed, Slot
from kdns.wire.names import MalformedName
from kdns.wire.records import Record

MOST_TURNS = 16
"""Orders that are kept of one answer."""

LONGEST_HOLD = 1.0
"""Seconds after which orders are drawn anew when there are more than could be kept."""

Network = IPv4Network | IPv6Network
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Group:
    """Things whose order is free, those that come first apart."""

    preferred: tuple[int, ...]
    others: tuple[int, ...]
    """Positions in the list that is to be ordered."""

    def order(self, turn: int, turns: int, things: Sequence[T]) -> list[T]:
        """The things in the order of one of *turns* turns."""
        return [things[at] for part in (self.preferred, self.others) for at in _rotated(part, turn, turns)]

    @property
    def cycle(self) -> int:
        """Turns after which each has been first."""
        return lcm(max(1, len(self.preferred)), max(1, len(self.others)))

    @property
    def largest(self) -> int:
        """How many things at most take turns in being first."""
        return max(len(self.preferred), len(self.others))


def _rotated(positions: tuple[int, ...], turn: int, turns: int) -> tuple[int, ...]:
    """A rotation; where there are fewer turns than positions they are spread over them."""
    if not positions:
        return positions
    start = (turn if len(positions) <= turns else turn * len(positions) // turns) % len(positions)
    return positions[start:] + positions[:start]


def balanced(answer: Answer, random: Random, prefer: tuple[Network, ...], now: float) -> Answer:
    """
    The answer in a random order, with the orders that take turns with it when it may be given again.

    :param prefer: networks whose addresses come first.
    :param now: seconds of the server's clock.
    """
    relayed = answer.relayed
    if relayed is None:
        if len(answer.answer) < 2 and len(answer.authority) < 2 and len(answer.additional) < 2:
            return answer
        return _of_records(answer, random, prefer, now)
    if len(relayed.slots) < 2:
        return answer
    try:
        if _in_place(relayed):
            return _of_message(answer, relayed, random, prefer, now)
        sections = answer.sections()
    except MalformedName:
        return answer  # what cannot be taken apart is passed on as it came
    answers, authority, additional = sections
    taken_apart = replace(answer, relayed=None, answer=answers, authority=authority, additional=additional, ttl=None)
    return _of_records(taken_apart, random, prefer, now)


def _of_records(answer: Answer, random: Random, prefer: tuple[Network, ...], now: float) -> Answer:
    sections = [_sorted(section) for section in (answer.answer, answer.authority, answer.additional)]
    groups = [
        (_shuffled([r.rdata for r in addresses], random, prefer), _shuffled([r.rdata for r in mail], random, ()))
        for _, addresses, mail in sections
    ]
    turns = _turns(answer, [group for pair in groups for group in pair])
    forms = []
    for turn in range(turns):
        answers, authority, additional = (
            (*first, *of_addresses.order(turn, turns, addresses), *of_mail.order(turn, turns, mail))
            for (first, addresses, mail), (of_addresses, of_mail) in zip(sections, groups, strict=True)
        )
        forms.append(replace(answer, answer=answers, authority=authority, additional=additional, turns=()))
    return _taking_turns(forms, [group for pair in groups for group in pair], now)


def _of_message(answer: Answer, relayed: Relayed, random: Random, prefer: tuple[Network, ...], now: float) -> Answer:
    sets = relayed.address_sets()
    if not sets:
        return answer
    groups = [_shuffled([relayed.message[slot.rdata : slot.end] for slot in slots], random, prefer) for slots in sets]
    turns = _turns(answer, groups)
    forms = []
    for turn in range(turns):
        changes: list[tuple[Sequence[Slot], Sequence[Slot]]] = [
            (slots, group.order(turn, turns, slots)) for slots, group in zip(sets, groups, strict=True)
        ]
        forms.append(replace(answer, relayed=relayed.rearranged(changes), turns=()))
    return _taking_turns(forms, groups, now)


def _in_place(relayed: Relayed) -> bool:
    """Whether it is enough to exchange addresses: aliases stand before them, and no mail exchangers are to be shuffled."""
    addresses = mail = 0
    for slot in relayed.slots:
        if slot.rtype in (A, AAAA):
            addresses += slot.section == ANSWER
        elif slot.rtype == MX:
            mail += 1
        elif slot.rtype == CNAME and addresses and slot.section == ANSWER:
            return False
    return mail < 2


def _sorted(section: Sequence[Record]) -> tuple[list[Record], list[Record], list[Record]]:
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


def _shuffled(rdata: Sequence[bytes], random: Random, prefer: tuple[Network, ...]) -> _Group:
    positions = list(range(len(rdata)))
    if len(positions) > 1:
        random.shuffle(positions)
    if not prefer:
        return _Group((), tuple(positions))
    preferred = [at for at in positions if _inside(rdata[at], prefer)]
    chosen = frozenset(preferred)
    return _Group(tuple(preferred), tuple(at for at in positions if at not in chosen))


def _inside(rdata: bytes, networks: tuple[Network, ...]) -> bool:
    """Whether an address is in one of the networks; rdata that is no address, as an upstream may send, is in none."""
    return len(rdata) in (4, 16) and any(ip_address(rdata) in network for network in networks)


def _turns(answer: Answer, groups: Sequence[_Group]) -> int:
    """How many orders to make; one where nobody will give the answer again."""
    if answer.validity.scope < Scope.TRANSPORT:
        return 1
    cycle = lcm(*(group.cycle for group in groups))
    if cycle <= MOST_TURNS:
        return cycle
    return min(MOST_TURNS, max(group.largest for group in groups))


def _taking_turns(forms: list[Answer], groups: Sequence[_Group], now: float) -> Answer:
    first, *others = forms
    holds = first.validity
    if others and max(group.largest for group in groups) > MOST_TURNS:
        holds = holds.narrowed(until=now + LONGEST_HOLD)
    return replace(first, validity=holds, turns=tuple(others))
