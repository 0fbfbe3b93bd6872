# -*- test-case-name: tests.plugins.loadbalance.test_weights -*-
"""
How often each address of a name is first: the weight file, a core module of *loadbalance*.

A line with one word is a name, the lines after it are its addresses with their weights. Addresses that are not there weigh 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from random import Random

from kdns.corefile.values import quote
from kdns.wire.constants import AAAA, A
from kdns.wire.names import BadName, from_text
from kdns.wire.records import Record

Weights = Mapping[bytes, Mapping[bytes, int]]
"""Weights by packed address by name in wire form."""

MOST = 255


class BadWeights(ValueError):
    """A file that holds no weights, in CoreDNS's words."""


def parse_weights(text: str, path: str) -> dict[bytes, dict[bytes, int]]:
    """
    Read a weight file; ``#`` begins a comment.

    :param path: the file's name, for errors.
    :raises BadWeights: some line is neither a name nor an address and its weight.
    """
    found: dict[bytes, dict[bytes, int]] = {}
    current: dict[bytes, int] | None = None
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        match line.split():
            case []:
                continue
            case [word]:
                current = found.setdefault(_name(word, path), {})
            case [_, _] if current is None:
                raise BadWeights(f"missing domain name in weight file {path}")
            case [address, weight]:
                assert current is not None
                current[_address(address, path)] = _weight(weight, path)
            case _:
                raise BadWeights(f"could not parse weight line:{quote(line)} in weight file {path}")
    return found


def _name(word: str, path: str) -> bytes:
    try:
        ip_address(word)
    except ValueError:
        try:
            return from_text(word)
        except BadName:
            pass
    raise BadWeights(f"wrong domain name:{quote(word)} in weight file {path}. (Maybe a missing weight value?)")


def _address(word: str, path: str) -> bytes:
    try:
        return ip_address(word).packed
    except ValueError:
        raise BadWeights(f"wrong IP address:{quote(word)} in weight file {path}") from None


def _weight(word: str, path: str) -> int:
    if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= MOST:
        raise BadWeights(f"wrong weight value:{quote(word)} in weight file {path}")
    return int(word)


def chosen_first(section: Sequence[Record], weights: Weights, random: Random) -> tuple[Record, ...]:
    """
    The records with one of the addresses, drawn by weight, in the place of the first address, and that one in its place.

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
