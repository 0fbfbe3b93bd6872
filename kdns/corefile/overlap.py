# -*- test-case-name: tests.corefile.test_overlap -*-
"""
Whether the server blocks of one configuration can all be served: no zone twice on listeners that cannot be told apart.

A pure check over what each block claims. Which addresses a block binds, and whether it has a ``view``, is found out by its plugins
before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kdns.corefile.errors import Overlap
from kdns.corefile.keys import ServerKey


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What one server block wants to serve.

    :ivar keys: all its keys.
    :ivar addresses: those it binds, as they are written; none is the wildcard.
    :ivar has_view: the block takes only the queries its view lets pass, so others may have the same zone.
    """

    keys: tuple[ServerKey, ...]
    addresses: tuple[str, ...] = ()
    has_view: bool = False


_Listener = tuple[str, bytes, int, str]  # scheme, zone, port, address


def check_overlaps(claims: Iterable[Claim]) -> None:
    """
    Go through the *claims* in file order.

    :raises Overlap: the first zone that cannot be served.
    """
    taken: dict[_Listener, str] = {}
    latest: dict[tuple[str, bytes, int], tuple[str, str]] = {}  # per zone and port: (address, text) claimed last
    for claim in claims:
        for key in claim.keys:
            zone = (key.scheme.value, key.zone, key.port)
            for address in claim.addresses or ("",):
                wanted = f"{key.url} on {address}" if address else key.url
                listener = (*zone, address)
                if listener in taken:
                    if claim.has_view:
                        continue
                    raise Overlap(wanted, wanted, place=key.place)
                if zone in latest and not address:
                    raise Overlap(wanted, latest[zone][1], place=key.place)
                if address and (*zone, "") in taken:
                    raise Overlap(wanted, taken[(*zone, "")], place=key.place)
                if not claim.has_view:
                    taken[listener] = wanted
                    latest[zone] = (address, wanted)
