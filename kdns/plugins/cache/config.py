# -*- test-case-name: tests.plugins.cache.test_config -*-
"""
What a Corefile says about the cache, as one frozen value.

``cache [TTL] [ZONES...]``, options in a block. Which answers these limits apply to is :mod:`kdns.plugins.cache.policy`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Zone, zones_or_keys
from kdns.corefile.values import parse_duration, parse_int
from kdns.plugin.seam import Block

SHARDS = 256
"""A capacity is a multiple of this, and at least four times this: the steps in which CoreDNS allots its cache."""

DEFAULT_CAPACITY = 10_000
OCTETS_FOR_EACH = 2048
"""Octets of memory set aside for each entry of the capacity; an entry with one address takes about half of it."""

LONGEST_SERVFAIL = 300
"""Seconds (RFC 2308 section 7.1: a server failure must not be kept longer than five minutes)."""

LONGEST_RECHECK = 300
"""Seconds between two attempts to refresh what could not be refreshed."""

_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}


def rounded(capacity: int) -> int:
    """The number of entries that a capacity in a Corefile stands for."""
    return max(4, capacity // SHARDS) * SHARDS


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one kind of entries; TTLs in whole seconds."""

    entries: int
    most_ttl: int
    least_ttl: int
    octets: int = 0
    """Memory that the entries may take."""


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Refresh before the end what is asked for often."""

    amount: int
    """Hits that make an entry worth it."""

    gap: float
    """Seconds without a hit after which counting starts anew."""

    percent: int
    """Of its TTL that an entry may have left."""

    def threshold(self, ttl: int) -> int:
        """Seconds that an entry of *ttl* has left when it is time."""
        return -(-ttl * self.percent // 100)


@dataclass(frozen=True, slots=True)
class Stale:
    """Serve what has expired when nothing newer can be had (RFC 8767)."""

    most_age: int
    """Seconds past its end for which an entry may be served."""

    verify: bool = False
    """Ask first, and serve the expired entry only when that brings nothing."""

    timeout: float = 0.0
    """Seconds to wait for it; 0 is as long as it takes."""

    ttl: int = 0
    """Whole seconds that such a reply shows."""

    recheck: float = 0.0
    """Seconds after a refresh that failed before the next one."""

    prefer_positive: bool = False
    """Whether only a complete positive answer takes the place of an expired one."""


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """All settings of one ``cache``."""

    zones: tuple[Zone, ...]
    success: Limits = Limits(rounded(DEFAULT_CAPACITY), 3600, 5)
    denial: Limits = Limits(rounded(DEFAULT_CAPACITY), 1800, 5)
    prefetch: Prefetch | None = None
    stale: Stale | None = None
    servfail: int = 5
    """Whole seconds for which SERVFAIL and NOTIMP are kept; 0 means not at all."""

    no_success: frozenset[bytes] = frozenset()
    """Zones whose positive answers are not kept."""

    no_denial: frozenset[bytes] = frozenset()
    keep_ttl: bool = False
    """Whether replies show the TTL that was stored, not what is left of it."""


def parse(tokens: Dispenser, block: Block) -> CacheConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    config = CacheConfig(())
    for _ in tokens.invocations(once=True):
        config = _Reader(tokens, block).read()
    return config


class _Reader:
    """Reads one ``cache``, option by option."""

    def __init__(self, tokens: Dispenser, block: Block) -> None:
        self._tokens = tokens
        self._block = block
        self._config = CacheConfig(())
        self._octets = 0
        self._policy = False

    def read(self) -> CacheConfig:
        """The settings, every default filled in."""
        tokens = self._tokens
        words = tokens.remaining_args()
        if words:
            try:
                ttl = parse_int(words[0])
            except ValueError:
                pass  # then it is a zone
            else:
                self._positive_ttl(ttl)
                self._change("success", most_ttl=ttl)
                self._change("denial", most_ttl=ttl)
                del words[0]
        zones = tokens.convert(lambda _: zones_or_keys(words, self._block.keys), "")
        self._config = replace(self._config, zones=zones)
        for option in tokens.block():
            self._option(option)
        if self._policy:
            if self._config.stale is None:
                raise tokens.plain_error("serve_stale_policy requires serve_stale")
            self._config = replace(self._config, stale=replace(self._config.stale, prefer_positive=True))
        for kind, limits in (("success", self._config.success), ("denial", self._config.denial)):
            self._change(kind, octets=self._octets // 2 or limits.entries * OCTETS_FOR_EACH)
        return self._config

    def _option(self, option: str) -> None:
        tokens = self._tokens
        match option:
            case "success" | "denial":
                self._capacity(option)
            case "prefetch":
                self._prefetch()
            case "serve_stale":
                self._serve_stale()
            case "serve_stale_policy":
                if tokens.word() != "prefer_positive":
                    raise tokens.plain_error(f"invalid value for serve_stale_policy: {tokens.val}")
                self._policy = True
            case "servfail":
                seconds = tokens.duration()
                if seconds < 0:
                    raise tokens.plain_error("invalid negative ttl for servfail")
                if seconds > LONGEST_SERVFAIL:
                    raise tokens.plain_error("caching SERVFAIL responses over 5 minutes is not permitted")
                self._config = replace(self._config, servfail=int(seconds))
            case "disable":
                self._disable()
            case "keepttl":
                tokens.args(0)
                self._config = replace(self._config, keep_ttl=True)
            case "size":
                self._octets = self._size(tokens.word())
            case _:
                raise tokens.arg_error()

    def _change(self, kind: str, **changes: int) -> None:
        if kind == "success":
            self._config = replace(self._config, success=replace(self._config.success, **changes))
        else:
            self._config = replace(self._config, denial=replace(self._config.denial, **changes))

    def _positive_ttl(self, ttl: int) -> None:
        if ttl <= 0:
            raise self._tokens.plain_error(f"cache TTL can not be zero or negative: {ttl}")

    def _capacity(self, kind: str) -> None:
        tokens = self._tokens
        numbers = [tokens.convert(parse_int, word) for word in tokens.args(1, None)]
        self._change(kind, entries=rounded(numbers[0]))
        if len(numbers) > 1:
            self._positive_ttl(numbers[1])
            self._change(kind, most_ttl=numbers[1])
        if len(numbers) > 2:
            if numbers[2] < 0:
                raise tokens.plain_error(f"cache min TTL can not be negative: {numbers[2]}")
            self._change(kind, least_ttl=numbers[2])

    def _prefetch(self) -> None:
        tokens = self._tokens
        words = tokens.args(1, 3)
        amount = tokens.convert(parse_int, words[0])
        if amount < 0:
            raise tokens.plain_error(f"prefetch amount should be positive: {amount}")
        gap = tokens.convert(parse_duration, words[1]) if len(words) > 1 else 60.0
        percent = 10
        if len(words) > 2:
            if not words[2].endswith("%"):
                raise tokens.plain_error(f"last character of percentage should be `%`, but is: {words[2][-1:]!r}")
            percent = tokens.convert(parse_int, words[2][:-1])
            if not 10 <= percent <= 90:
                raise tokens.plain_error(f"percentage should fall in range [10, 90]: {percent}")
        self._config = replace(self._config, prefetch=Prefetch(amount, gap, percent) if amount else None)

    def _serve_stale(self) -> None:
        tokens = self._tokens
        words = tokens.args(0, 5)
        most_age = tokens.convert(parse_duration, words[0]) if words else 3600.0
        if most_age < 0:
            raise tokens.plain_error("invalid negative duration for serve_stale")
        mode = words[1].lower() if len(words) > 1 else "immediate"
        if mode not in ("immediate", "verify"):
            raise tokens.plain_error(f"invalid value for serve_stale refresh mode: {mode}")
        rest = [tokens.convert(parse_duration, word) for word in words[2:]]
        if any(seconds < 0 for seconds in rest):
            raise tokens.plain_error("invalid negative duration for serve_stale")
        timeout = rest.pop(0) if mode == "verify" and rest else 0.0
        if len(rest) > 2:
            raise tokens.arg_error()
        ttl, recheck = (*rest, 0.0, 0.0)[:2]
        if recheck > LONGEST_RECHECK:
            raise tokens.plain_error("serve_stale recheck over 5 minutes is not permitted")
        self._config = replace(self._config, stale=Stale(int(most_age), mode == "verify", timeout, int(ttl), recheck))

    def _disable(self) -> None:
        tokens = self._tokens
        kind, *words = tokens.args(1, None)
        zones = tokens.convert(lambda _: zones_or_keys(words, self._block.keys), "")
        names = frozenset(zone.name for zone in zones)
        match kind:
            case "success":
                self._config = replace(self._config, no_success=names)
            case "denial":
                self._config = replace(self._config, no_denial=names)
            case _:
                raise tokens.plain_error('cache type for disable must be "success" or "denial"')

    def _size(self, text: str) -> int:
        digits, unit = text, 1
        if text[-1:].upper() in _UNITS:
            digits, unit = text[:-1], _UNITS[text[-1:].upper()]
        octets = self._tokens.convert(parse_int, digits) * unit
        if octets < 64 * 1024:
            raise self._tokens.plain_error(f"cache size should be at least 64K: {text}")
        return octets
