# -*- test-case-name: tests.plugins.loadbalance.test_weights -*-
"""
How often each address of a name is first: the weight file, a core module of *loadbalance*.

A line with one word is a name, the lines after it are its addresses with their weights. Addresses that are not there weigh 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from random import Random

from kdns.wire.constants import AAAA, A
from kdns.wire.names import BadName, from_text
from kdns.wire.records import Record

Weights = Mapping[bytes, Mapping[bytes, int]]
"""Weights by packed address by name in wire form."""

MOST = 255


class BadWeights(ValueError):
    """A file that holds no weights; the text names the line."""


def parse_weights(text: str) -> dict[bytes, dict[bytes, int]]:
    """
    Read a weight file; ``#`` begins a comment.

    :raises BadWeights: some line is neither a name nor an address and its weight.
    """
    found: dict[bytes, dict[bytes, int]] = {}
    current: dict[bytes, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if len(words) == 1:
                current = found.setdefault(from_text(words[0]), {})
                continue
            address, weight = words
            packed = ip_address(address).packed
        except BadName:
            raise BadWeights(f"line {number}: not a domain name: {words[0]}") from None
        except ValueError:
            raise BadWeights(f"line {number}: not an address and its weight: {' '.join(words)}") from None
        if current is None:
            raise BadWeights(f"line {number}: an address before the first name")
        if not weight.isascii() or not weight.isdigit() or not 1 <= int(weight) <= MOST:
            raise BadWeights(f"line {number}: a weight is a number from 1 to {MOST}: {weight}")
        current[packed] = int(weight)
    return found


def chosen_first(section: Sequence[Record], weights: Weights, random: Random) -> tuple[Record, ...]:
    """
    The records with one of the addresses, drawn by weight, in the place of the first one.

    :param section: addresses behind everything else, as :mod:`~kdns.plugins.loadbalance.orders` leaves it.
    """
    places = [at for at, record in enumerate(section) if record.rtype in (A, AAAA)]
    if len(places) < 2:
        return tuple(section)
    heavy = [weights.get(section[at].owner.lower(), {}).get(section[at].rdata, 1) for at in places]
    (at,) = random.choices(places, heavy)
    ordered = list(section)
    ordered[places[0]], ordered[at] = ordered[at], ordered[places[0]]
    return tuple(ordered)


def concerns(section: Sequence[Record], weights: Weights) -> bool:
    """Whether some address of the section has a weight."""
    return any(record.rtype in (A, AAAA) and record.owner.lower() in weights for record in section)
