# -*- test-case-name: tests.plugins.loadbalance.test_config -*-
"""What a Corefile says about the order of addresses, as one frozen value."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from kdns.core.networks import Network
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_cidr, parse_duration, quote
from kdns.plugin.seam import Block


@dataclass(frozen=True, slots=True)
class LoadbalanceConfig:
    """``round_robin`` when there is no file of weights."""

    weights: str = ""
    """Path of the weight file."""

    reload: float = 30.0
    """Seconds between two looks at it; 0 is never."""

    prefer: tuple[Network, ...] = ()
    """Networks whose addresses come first."""


def parse(tokens: Dispenser, block: Block) -> LoadbalanceConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    config = LoadbalanceConfig()
    for _ in tokens.invocations():
        config = _parse_one(tokens, block)
    return config


def _parse_one(tokens: Dispenser, block: Block) -> LoadbalanceConfig:
    words = tokens.remaining_args() or ["round_robin"]
    weights = ""
    match words[0]:
        case "round_robin":
            if len(words) > 1:
                raise tokens.error(f"unknown property for {words[0]}")
        case "weighted":
            if len(words) < 2:
                raise tokens.error("missing weight file argument")
            if len(words) > 2:
                raise tokens.error("unexpected argument(s)")
            weights = os.path.join(block.root, words[1])
        case _:
            raise tokens.plain_error(f"unknown policy: {words[0]}")
    reload = 30.0
    prefer: list[Network] = []
    for option in tokens.block():
        if option == "reload" and weights:
            reload = _reload(tokens)
        elif option == "prefer" and not weights:
            prefer += [_network(tokens, word) for word in tokens.remaining_args()]
        else:
            raise tokens.unknown_property("reload" if weights else "prefer")
    return LoadbalanceConfig(weights, reload, tuple(prefer))


def _reload(tokens: Dispenser) -> float:
    words = tokens.remaining_args()
    if not words:
        raise tokens.error("reload duration value is missing")
    if len(words) > 1:
        raise tokens.error("unexpected argument")
    try:
        seconds = parse_duration(words[0])
    except BadValue:
        seconds = -1.0
    if seconds < 0:
        raise tokens.error(f"invalid reload duration '{words[0]}'")
    return seconds


def _network(tokens: Dispenser, word: str) -> Network:
    try:
        return parse_cidr(word)
    except BadValue as error:
        raise tokens.error(f"invalid CIDR {quote(word)}: {error}") from None
