# -*- test-case-name: tests.plugins.k8s_external.test_config -*-
"""What a Corefile says about external names, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Zone, zones_or_keys
from kdns.plugin.seam import Block
from kdns.plugins.kubernetes.config import is_reverse
from kdns.wire.names import ROOT, BadName, from_text

DEFAULT_TTL = 5
MAX_TTL = 3600
OPTIONS = ("apex", "ttl", "headless", "fallthrough")


@dataclass(frozen=True, slots=True)
class ExternalConfig:
    """What a ``k8s_external`` says."""

    zones: tuple[Zone, ...]
    apex: bytes = b"dns"
    """The label below a zone under which its name server is."""

    ttl: int = DEFAULT_TTL
    """Of addresses, SOA, NS and PTR; SRV and CNAME have the TTL of ``kubernetes``."""

    headless: bool = False
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose unknown names go to the next plugin."""

    @property
    def primary(self) -> bytes:
        """The zone that PTR records point into: the first that is no reverse zone."""
        return next((zone.name for zone in self.zones if not is_reverse(zone.name)), self.zones[0].name)


def parse(tokens: Dispenser, block: Block) -> ExternalConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`; of several uses the last one's words count."""
    config: ExternalConfig | None = None
    for _ in tokens.invocations():
        config = _parse_one(tokens, block)
    assert config is not None
    if "kubernetes" not in block.directives:
        raise tokens.plain_error("kubernetes plugin not loaded")
    return config


def _parse_one(tokens: Dispenser, block: Block) -> ExternalConfig:
    words = tokens.remaining_args()
    zones = tokens.convert(lambda _: zones_or_keys(words, block.keys), "")
    apex, ttl, headless = b"dns", DEFAULT_TTL, False
    fallthrough: tuple[bytes, ...] = ()
    for option in tokens.block():
        match option:
            case "apex":
                apex = _apex(tokens, tokens.word())
            case "ttl":
                ttl = tokens.integer()
                if not 0 <= ttl <= MAX_TTL:
                    raise tokens.error(f"ttl must be in range [0, {MAX_TTL}]: {ttl}")
            case "headless":
                headless = True
            case "fallthrough":
                names = tokens.remaining_args()
                listed = tokens.convert(lambda _, names=names: zones_or_keys(names, ()), "")  # type: ignore[misc]  # a default
                fallthrough = tuple(zone.name for zone in listed) or (ROOT,)
            case _:
                raise tokens.unknown_property(*OPTIONS)
    return ExternalConfig(zones, apex, ttl, headless, fallthrough)


def _apex(tokens: Dispenser, word: str) -> bytes:
    try:
        name = from_text(word)
    except BadName as error:
        raise tokens.error(f"apex must be a single label: {error}") from None
    if name == ROOT or len(name) != name[0] + 2:
        raise tokens.error("apex must be a single label")
    return name[1:-1]
