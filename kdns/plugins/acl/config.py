# -*- test-case-name: tests.plugins.acl.test_config -*-
"""What a Corefile says about access, as one frozen value."""

from __future__ import annotations

from itertools import takewhile

from kdns.core.networks import Network
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_or_keys
from kdns.corefile.values import BadValue, parse_cidr, quote
from kdns.plugin.seam import Block
from kdns.plugins.acl.policy import AccessList, Action, Rule
from kdns.wire.constants import type_number

_SECTIONS = ("type", "net")


def parse(tokens: Dispenser, block: Block) -> tuple[AccessList, ...]:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    lists = []
    for _ in tokens.invocations():
        words = tokens.remaining_args()
        zones = tokens.convert(lambda _, words=words: zones_or_keys(words, block.keys), "")  # type: ignore[misc]  # a default
        lists.append(AccessList(tuple(zones), tuple(_rule(tokens, action) for action in tokens.block())))
    return tuple(lists)


def _rule(tokens: Dispenser, word: str) -> Rule:
    try:
        action = Action(word.lower())
    except ValueError:
        text = f"unexpected token {quote(word)}; expect 'allow', 'block', 'filter' or 'drop'"
        raise tokens.error(text) from None
    place = str(tokens.place)
    types: set[int] | None = None
    networks: list[Network] | None = None
    every_type = every_client = False
    words = tokens.remaining_args()
    while words:
        section = words[0].lower()
        if section not in _SECTIONS:
            raise tokens.error(f"unexpected token {quote(words[0])}; expect 'type | net'")
        listed = list(takewhile(lambda word: word.lower() not in _SECTIONS, words[1:]))
        words = words[1 + len(listed) :]
        if not listed:
            raise tokens.error(f"no token specified in {quote(section)} section")
        # A star ends its list: CoreDNS reads nothing behind it.
        meant = list(takewhile(lambda word: word != "*", listed))
        if section == "type":
            every_type = every_type or len(meant) < len(listed)
            types = (types or set()) | {_type(tokens, word) for word in meant}
        else:
            every_client = every_client or len(meant) < len(listed)
            networks = (networks or []) + [_network(tokens, word) for word in meant]
    return Rule(
        action,
        None if every_type or types is None else frozenset(types),
        None if every_client or networks is None else tuple(networks),
        place,
    )


def _type(tokens: Dispenser, word: str) -> int:
    number = type_number(word)
    # Lower case and TYPE65280 are no types to CoreDNS here; a list that it refuses must not mean something else in kdns.
    if number is None or word != word.upper() or word.startswith("TYPE"):
        raise tokens.error(f"unexpected token {quote(word)}; expect legal QTYPE")
    return number


def _network(tokens: Dispenser, word: str) -> Network:
    text = word if "/" in word else f"{word}/{128 if ':' in word else 32}"
    try:
        return parse_cidr(text)
    except BadValue:
        raise tokens.error(f"illegal CIDR notation {quote(text)}") from None
