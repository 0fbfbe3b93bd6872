# -*- test-case-name: tests.cli.checking.test_surprises -*-
"""
What starts and then surprises: each function looks for one thing in a configuration that was put together, and yields what it finds.

None of this stops a start. What depends on the machine (its addresses, its files) is looked at on this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from kdns.cli.checking.findings import Finding, Severity, warning
from kdns.cli.checking.obsolete import DEFAULTS
from kdns.cli.checking.source import Source
from kdns.cli.checking.unused import said_in_vain
from kdns.core.config_files import read_config_file
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.keys import Scheme, syntax_warning
from kdns.corefile.lexer import Token
from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER
from kdns.corefile.tree import Directive
from kdns.corefile.values import format_duration
from kdns.plugin import registry
from kdns.plugin.seam import Block, BlockBuilder
from kdns.server.assembly import Configuration
from kdns.wire.names import is_subdomain, longest_zone

ANSWERS = frozenset(("hosts", "kubernetes", "forward", "whoami"))
"""Links that answer; plugins from outside may, too."""

LONG_TTL = 3600
"""Seconds; what a cache does without being told (RFC 2308 section 5 takes three hours for the longest that makes sense for denials)."""

LEAST_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """A server block, put together as far as it could be."""

    builder: BlockBuilder
    directives: Mapping[str, Directive]
    configs: Mapping[str, Any]
    """What the plugins made of their directives; those with a fault are missing."""

    @property
    def block(self) -> Block:
        """As directives saw it."""
        return self.builder.block


def surprises(
    configuration: Configuration,
    source: Source,
    environment: Mapping[str, str],
    *,
    whole: bool = True,
    elsewhere: bool = False,
) -> list[Finding]:
    """
    All of them, in the order of their lines.

    :param whole: the configuration has no fault; otherwise what blocks do to each other is not looked at.
    :param elsewhere: it will run on another machine, whose addresses nobody knows here.
    """
    name = configuration.corefile.name
    seen = [
        _seen(builder, tree.directives)
        for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True)
    ]
    found: list[Finding] = []
    for look in (
        _zones_that_are_no_names,
        _answers_nothing,
        _cluster_alone,
        _not_reversed,
        _lacks,
        _caches,
        _shadowed,
        _repeated,
    ):
        for one in seen:
            found += look(one)
    if whole:
        found += _loops(seen)
        found += _hosts_to_look_up(seen)
        found += [] if elsewhere else _addresses_elsewhere(seen)
    found += said_in_vain(configuration, source, environment)
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.file != name, finding.file, finding.line))


def _seen(builder: BlockBuilder, directives: Mapping[str, Directive]) -> Seen:
    configs = {}
    for name, use in directives.items():
        try:
            configs[name] = registry.find(name, use.place).parse(Dispenser(use), builder.block)
        except CorefileError:
            pass  # it is among the faults
    return Seen(builder, directives, configs)


def _line_of(use: Directive, word: str) -> Place:
    """Where a word stands in a directive; the directive's own place when it does not."""
    return next((token.place for token in use.tokens if token.text == word), use.place)


# One block


def _zones_that_are_no_names(seen: Seen) -> Iterator[Finding]:
    for key in seen.block.keys:
        if syntax_warning(key.zone_text) is not None:
            text = (
                f"the zone {key.zone_text} is served, and is no name of a host: letters, digits and hyphens are usual"
            )
            advice = "a port is a number behind the last colon" if ":" in key.zone_text else ""
            advice = "schemes are dns, tls, quic, https, https3 and grpc" if "://" in key.zone_text else advice
            yield warning(key.place, "", text, key.zone_text, advice)


def _answers_nothing(seen: Seen) -> Iterator[Finding]:
    links = [name for name in seen.directives if name not in CONFIGURATION_ONLY]
    if any(name in ANSWERS or name not in registry.BUILT_IN for name in links):
        return
    place = seen.block.keys[0].place
    if not links:
        yield warning(
            place, "", "this block has no plugin that answers: every query is REFUSED", suggestion="add one, as forward"
        )
    else:
        text = f"this block has no plugin that answers behind {', '.join(links)}: every query is SERVFAIL"
        yield warning(place, "", text, suggestion="add kubernetes, hosts or forward")


def _cluster_alone(seen: Seen) -> Iterator[Finding]:
    config = seen.configs.get("kubernetes")
    others = [name for name in seen.directives if name in ANSWERS - {"kubernetes"} or name not in DIRECTIVE_ORDER]
    if config is None or others:
        return
    own = frozenset(zone.name for zone in config.zones)
    outside = [key.zone_text for key in seen.block.keys if longest_zone(key.zone, own) is None]
    if outside:
        text = f"names of {outside[0]} that are not in the cluster are SERVFAIL: nothing in this block answers them"
        yield warning(
            seen.directives["kubernetes"].place,
            "kubernetes",
            text,
            suggestion="add forward, or serve the cluster's zones alone",
        )


def _not_reversed(seen: Seen) -> Iterator[Finding]:
    from kdns.plugins.kubernetes.config import is_reverse

    config = seen.configs.get("kubernetes")
    if config is None or "forward" not in seen.directives:
        return
    for zone in config.zones:
        top = zone.text in ("in-addr.arpa.", "ip6.arpa.")
        if top and is_reverse(zone.name) and longest_zone(zone.name, config.fallthrough) is None:
            text = f"addresses outside of the cluster have no names: {zone.text} is answered here and does not fall through to forward"
            yield warning(
                seen.directives["kubernetes"].place,
                "kubernetes",
                text,
                suggestion=f"fallthrough {zone.text.rstrip('.')}",
            )


def _lacks(seen: Seen) -> Iterator[Finding]:
    if "kubernetes" not in seen.directives:
        if "loop" in seen.directives and "forward" not in seen.directives:
            yield warning(
                seen.directives["loop"].place,
                "loop",
                "there is no forward in this block whose upstreams it could look at",
            )
        return
    place = seen.block.keys[0].place
    for name, since, effect in DEFAULTS:
        if name not in seen.directives and (name != "loop" or "forward" in seen.directives):
            yield Finding(
                Severity.NOTE,
                place.file,
                place.line,
                name,
                f"the default Corefile of clusters has it{since}: {effect}",
                suggestion=f"add {name}",
            )
    health = seen.configs.get("health")
    if health is not None and all(token.text != "lameduck" for token in seen.directives["health"].tokens):
        text = "without lameduck the process ends while clients still send to it"
        yield Finding(
            Severity.NOTE,
            *_at(seen.directives["health"].place),
            "health",
            text,
            wanted="lameduck DURATION",
            suggestion="lameduck 5s",
        )
    prometheus = seen.configs.get("prometheus")
    if prometheus is not None and prometheus.address.host in ("localhost", "127.0.0.1", "::1"):
        text = f"the page of metrics is at {prometheus.address}, where nobody outside of the pod reaches it"
        yield warning(
            seen.directives["prometheus"].place, "prometheus", text, suggestion=f"prometheus :{prometheus.address.port}"
        )


def _at(place: Place) -> tuple[str, int]:
    return place.file, place.line


def _caches(seen: Seen) -> Iterator[Finding]:
    config = seen.configs.get("cache")
    if config is None:
        return
    use = seen.directives["cache"]
    for kind, limits in (("success", config.success), ("denial", config.denial)):
        place = _line_of(use, kind)
        asked = _numbers(use, kind)
        if limits.most_ttl > LONG_TTL:
            text = f"{kind} is kept for up to {limits.most_ttl} s: what changes outside is seen that late"
            yield warning(place, "cache", text, suggestion=f"at most {LONG_TTL}, which is the default for success")
        if limits.least_ttl > limits.most_ttl:
            text = f"the lowest TTL of {kind}, {limits.least_ttl} s, is above the highest, {limits.most_ttl} s"
            yield warning(place, "cache", text, f"{kind} {' '.join(map(str, asked))}")
        if asked and limits.entries > asked[0] and limits.entries == LEAST_ENTRIES:
            yield warning(
                place, "cache", f"{kind} has {limits.entries} entries, the fewest there can be", str(asked[0])
            )
    cluster = seen.configs.get("kubernetes")
    if cluster is not None and cluster.ttl > config.success.most_ttl and not config.no_success:
        text = f"records of the cluster are shown with TTL {config.success.most_ttl} at most, not with the {cluster.ttl} of kubernetes"
        yield warning(use.place, "cache", text)
    if config.stale is not None and config.stale.most_age > 86400:
        age = format_duration(config.stale.most_age)
        yield warning(
            _line_of(use, "serve_stale"),
            "cache",
            f"answers are served for {age} after their end",
            suggestion="serve_stale 1h",
        )


def _numbers(use: Directive, option: str) -> list[int]:
    """The numbers behind an option."""
    words = [token.text for token in use.tokens if token.place == _line_of(use, option)]
    return [int(word) for word in words[1:] if word.isdigit()]


def _shadowed(seen: Seen) -> Iterator[Finding]:
    """A forward behind one that takes all that it would take."""
    stanzas = seen.configs.get("forward", ())
    starts = (
        [token for token in seen.directives["forward"].tokens if token.text == "forward" and token.starts_line]
        if stanzas
        else []
    )
    if len(starts) != len(stanzas):
        return
    for number, stanza in enumerate(stanzas):
        for earlier in stanzas[:number]:
            goes_on = earlier.next_rcodes or earlier.next_on_nodata or earlier.excepted
            if is_subdomain(stanza.origin, earlier.origin) and not goes_on:
                text = "it is never asked: an earlier forward of this block takes the same names"
                yield warning(
                    starts[number].place,
                    "forward",
                    text,
                    suggestion="put the longer zone first, or give the earlier one `next`",
                )
                break


def _repeated(seen: Seen) -> Iterator[Finding]:
    for name, use in seen.directives.items():
        if name not in ("kubernetes", "cache", "hosts", "metadata"):
            continue
        words = [token.text.lower().rstrip(".") for token in use.tokens if token.place == use.place][1:]
        for word in dict.fromkeys(words):
            if words.count(word) > 1 and not word.isdigit():
                yield warning(use.place, name, f"the zone {word} stands here more than once", word)


# All blocks


def _loops(all_seen: list[Seen]) -> Iterator[Finding]:
    """A forward whose queries come back: to the block itself, or through others to it."""
    reached: dict[int, dict[int, tuple[Place, str]]] = {number: {} for number in range(len(all_seen))}
    for number, seen in enumerate(all_seen):
        for stanza, start in _stanzas(seen):
            for target, place in _targets(stanza, start, seen.directives["forward"]):
                for other in _takers(all_seen, target.host, target.port, stanza.origin, seen):
                    reached[number].setdefault(other, (place, target.text))
    for number, following in reached.items():
        for other, (place, address) in following.items():
            if number in _all_reached(reached, other):
                text = f"{address} is this very server: queries come back here and go round"
                yield warning(place, "forward", text, address, "name a resolver that is none of kdns's own addresses")


def _all_reached(reached: Mapping[int, Mapping[int, object]], start: int) -> set[int]:
    """Every block that queries of *start* come to, and itself."""
    found, waiting = {start}, [start]
    while waiting:
        for other in reached[waiting.pop()]:
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _stanzas(seen: Seen) -> Iterator[tuple[Any, Token]]:
    stanzas = seen.configs.get("forward", ())
    if stanzas:
        tokens = seen.directives["forward"].tokens
        starts = [token for token in tokens if token.text == "forward" and token.starts_line]
        yield from zip(stanzas, starts, strict=False)


def _targets(stanza: Any, start: Token, use: Directive) -> Iterator[tuple[Any, Place]]:
    """Addresses of plain DNS that a forward names, in the Corefile or in a file on this machine."""
    from kdns.plugins.forward.targets import Carrier, Target, nameservers

    for to in stanza.to:
        if to.carrier is not Carrier.DNS:
            continue
        if isinstance(to, Target):
            yield to, start.place
        else:
            path = os.path.join(stanza.root, to.name)
            yield from ((target, start.place) for target in nameservers(_read(path)))


def _read(path: str) -> str:
    """A file with name servers on this machine; empty when there is none."""
    try:
        return read_config_file(path).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _takers(all_seen: list[Seen], host: str, port: int, origin: bytes, sender: Seen) -> Iterator[int]:
    """Numbers of the blocks that take queries for *origin* and below, sent to an address."""
    ours = (
        ip_address(host).is_loopback
        or ip_address(host).is_unspecified
        or host in sender.builder.context.own_addresses()
    )
    zones: dict[bytes, int] = {}
    for number, seen in enumerate(all_seen):
        bound = host in seen.builder.binds or (not seen.builder.binds and ours)
        for key in seen.block.keys:
            if bound and key.port == port and key.scheme is Scheme.DNS:
                zones.setdefault(key.zone, number)
    best = longest_zone(origin, frozenset(zones))
    if best is not None:
        yield zones[best]
    yield from (
        number for zone, number in zones.items() if zone != origin and is_subdomain(zone, origin) and zone != best
    )


def _hosts_to_look_up(all_seen: list[Seen]) -> Iterator[Finding]:
    from kdns.plugins.forward.targets import Elsewhere

    for seen in all_seen:
        for stanza, start in _stanzas(seen):
            for to in stanza.to:
                if (
                    isinstance(to, Elsewhere)
                    and not os.path.exists(os.path.join(stanza.root, to.name))
                    and "/" not in to.name
                ):
                    text = f"{to.name} is neither an address nor a file here: a start looks it up, and fails when that brings nothing"
                    place = next(
                        (token.place for token in seen.directives["forward"].tokens if to.name in token.text),
                        start.place,
                    )
                    yield warning(place, "forward", text, to.name, "name resolvers by address")


def _addresses_elsewhere(all_seen: list[Seen]) -> Iterator[Finding]:
    told: set[str] = set()
    for seen in all_seen:
        own = set(seen.builder.context.own_addresses()) if seen.builder.binds else set()
        for address in seen.builder.binds:
            if address not in told | own and not ip_address(address.partition("%")[0]).is_loopback:
                use = seen.directives["bind"]
                text = f"{address} is no address of this machine: a start here would end with: cannot assign requested address"
                yield warning(_line_of(use, address), "bind", text, address)
                told.add(address)
