# -*- test-case-name: tests.checking.test_rules -*-
"""
What starts and then surprises, and what differs from CoreDNS: rules over a configuration that was put together.

Most rules look at one server block and stand in :data:`RULES`. What depends on the machine (its addresses, its files) is looked up on this
one. Nothing here stops a start.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import pairwise
from typing import Any, NamedTuple

from kdns.checking.coredns_support import PAGE, ROWS
from kdns.checking.findings import Finding, Severity, note, warning
from kdns.checking.patterns import rewrites, templates
from kdns.checking.source import Probe, Source
from kdns.core.config_files import read_config_file
from kdns.core.text import checkout_path
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.environment import expand
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.keys import Scheme, syntax_warning
from kdns.corefile.lexer import Token, tokens_of
from kdns.corefile.loader import Corefile
from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER
from kdns.corefile.tree import Directive
from kdns.corefile.values import format_duration
from kdns.plugin import registry
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.chaos import CHAOS_NAMES
from kdns.server.assembly import Configuration
from kdns.wire.names import is_subdomain, longest_zone, to_text
from kdns.zones.signing import ds_rdata

ANSWERS = frozenset(
    ("auto", "azure", "clouddns", "erratic", "etcd", "file", "forward", "grpc", "hosts", "k8s_external", "kubernetes")
) | {"local", "nomad", "route53", "secondary", "template", "whoami"}
"""Plugins of CoreDNS that answer; those from outside may, too."""

LONG_TTL = 3600
"""Seconds; cache's own default. RFC 2308 section 5 takes three hours for the longest that makes sense for denials."""

LEAST_ENTRIES = 1024

PROGRAMMING = 3
"""Seconds from a pod that is not ready to nodes that send it nothing more: the endpoint controller and kube-proxy."""

LAST_ANSWERS = 5
"""Seconds after lameduck in which queries that wait are answered."""

QUICK_PROBE = "readinessProbe: {periodSeconds: 1, failureThreshold: 1}"

SPELLINGS = frozenset(":-=?+|")
"""Characters that a reference with a default would have in a shell or a template."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A server block, put together as far as possible."""

    builder: BlockBuilder
    directives: Mapping[str, Directive]
    configs: Mapping[str, Any]
    """What the plugins read; directives with a fault are missing."""

    @property
    def block(self) -> Block:
        """As directives saw it."""
        return self.builder.block

    def config(self, name: str) -> Any:
        """What a plugin read, or None."""
        return self.configs.get(name)

    def place(self, name: str, word: str = "") -> Place:
        """Where a word of a directive stands, or the directive; without a directive, the block."""
        use = self.directives.get(name)
        if use is None:
            return self.block.keys[0].place
        return next((token.place for token in use.tokens if token.text == word), use.place)

    def has(self, name: str, word: str = "") -> bool:
        """Whether there is such a directive, or such a word in it."""
        return name in self.directives and (not word or any(one.text == word for one in self.directives[name].tokens))


def find_surprises(
    configuration: Configuration,
    source: Source,
    environment: Mapping[str, str],
    *,
    whole: bool = True,
    elsewhere: bool = False,
) -> list[Finding]:
    """
    All surprises, in the order of their lines.

    :param whole: the configuration has no fault; otherwise what blocks do to each other is not looked at.
    :param elsewhere: it will run on another machine, whose addresses are not known here.
    """
    name = configuration.corefile.name
    seen = [
        _seen(builder, tree.directives)
        for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True)
    ]
    found: list[Finding] = []
    for one in seen:
        for rule in RULES:
            found += rule.findings(one)
        for look in (_odd_names, _caches, _forwards, _repeated_zones, _delegation_signers):
            found += look(one)
        found += rewrites(one.directives.get("rewrite"), one.config("rewrite"))
        found += templates(one.directives.get("template"), one.config("template"), _answers_behind(one, "template"))
    if source.embedded:
        found += _short_lameduck(seen)
    if whole:
        found += [*_loops(seen), *_hosts_to_look_up(seen), *([] if elsewhere else _addresses_elsewhere(seen))]
    found += _unused_words(configuration, source, environment)
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.file != name, finding.file, finding.line))


def _seen(builder: BlockBuilder, directives: Mapping[str, Directive]) -> Seen:
    configs = {}
    for name, use in directives.items():
        try:
            configs[name] = registry.find(name, use.place).parse(Dispenser(use), builder.block)
        except CorefileError:
            pass  # it is among the faults
    return Seen(builder, directives, configs)


# Rules over one block


class Rule(NamedTuple):
    """
    A surprise that one text describes.

    :ivar directive: which directive the finding is about.
    :ivar look: the text, empty where there is nothing to say.
    :ivar word: at which word of the directive.
    """

    directive: str
    look: Callable[[Seen], str]
    suggestion: str = ""
    word: str = ""
    severity: Severity = Severity.WARNING

    def findings(self, seen: Seen) -> Iterator[Finding]:
        """The finding, if there is one."""
        text = self.look(seen)
        if text:
            place = seen.place(self.directive, self.word)
            yield Finding(self.severity, place.file, place.line, self.directive, text, suggestion=self.suggestion)


def _answers_nothing(seen: Seen) -> str:
    links = [name for name in seen.directives if name not in CONFIGURATION_ONLY]
    if any(name in ANSWERS or name not in registry.BUILT_IN for name in links):
        return ""
    if "chaos" in links and all(key.zone in CHAOS_NAMES for key in seen.block.keys):
        return ""
    if not links:
        return "this block has no plugin that answers: every query is REFUSED"
    return f"this block has no plugin that answers, only {', '.join(links)}: every query is SERVFAIL"


def _cluster_alone(seen: Seen) -> str:
    config = seen.config("kubernetes")
    if config is None or any(one in ANSWERS - {"kubernetes"} or one not in DIRECTIVE_ORDER for one in seen.directives):
        return ""
    own = frozenset(zone.name for zone in config.zones)
    outside = [key.zone_text for key in seen.block.keys if longest_zone(key.zone, own) is None]
    return (
        f"names of {outside[0]} that are not in the cluster are SERVFAIL: nothing in this block answers them"
        if outside
        else ""
    )


def _not_reversed(seen: Seen, top: str) -> str:
    config = seen.config("kubernetes")
    if config is None or not seen.has("forward"):
        return ""
    for zone in config.zones:
        if zone.text == top and longest_zone(zone.name, config.fallthrough) is None:
            return f"addresses outside the cluster have no names: {top} is answered here and does not fall through to forward"
    return ""


def _no_domain(seen: Seen) -> str:
    from kdns.plugins.kubernetes.config import is_reverse

    config = seen.config("kubernetes")
    if config is None or not all(is_reverse(zone.name) for zone in config.zones):
        return ""
    return "no zone here is the cluster's domain: names of addresses end in cluster.local."


def _answers_behind(seen: Seen, name: str) -> str:
    """The first plugin that answers behind another one; empty without one."""
    behind = DIRECTIVE_ORDER[DIRECTIVE_ORDER.index(name) + 1 :]
    return next((one for one in behind if one in ANSWERS and seen.has(one)), "")


def _hosts_end(seen: Seen) -> str:
    """Hosts that keeps names from a plugin after it that would answer them."""
    config = seen.config("hosts")
    after = _answers_behind(seen, "hosts")
    if config is None or not after or config.fallthrough:
        return ""
    zones = [key.zone_text for key in seen.block.keys if longest_zone(key.zone, frozenset(config.zones)) is not None]
    return (
        f"names of {zones[0]} that it does not have are SERVFAIL: without fallthrough {after} is not asked"
        if zones
        else ""
    )


def _metrics_inside(seen: Seen) -> str:
    config = seen.config("prometheus")
    if config is None or not seen.has("kubernetes") or config.address.host not in ("localhost", "127.0.0.1", "::1"):
        return ""
    return f"the page of metrics is at {config.address}, which cannot be reached from outside the pod"


def _signs_nothing(seen: Seen) -> str:
    config = seen.config("dnssec")
    return "there is no key: nothing is signed" if config is not None and not config.key_paths else ""


def _no_key(seen: Seen) -> str:
    config = seen.config("tsig")
    if config is None or config.keys:
        return ""
    return "there is no key: signed queries are NOTAUTH, and queries that must be signed are REFUSED"


def _stale(seen: Seen) -> str:
    age = getattr(getattr(seen.config("cache"), "stale", None), "most_age", 0.0)
    return f"answers are served for {format_duration(age)} after their end" if age > 86400 else ""


def _short_ttl(seen: Seen) -> str:
    cache, cluster = seen.config("cache"), seen.config("kubernetes")
    if cache is None or cluster is None or cluster.ttl <= cache.success.most_ttl or cache.no_success:
        return ""
    return f"records of the cluster have TTL {cache.success.most_ttl} at most, not the {cluster.ttl} of kubernetes"


def _labels_unread(seen: Seen) -> str:
    return "" if seen.has("metadata") or not seen.has("geoip") else "without metadata in this block it has no effect"


def _lacks(name: str, text: str, seen: Seen) -> str:
    """A directive of the default Corefile of clusters that is missing in a block with *kubernetes*."""
    lacking = seen.has("kubernetes") and not seen.has(name) and (name != "loop" or seen.has("forward"))
    return f"the default Corefile of clusters has it{text}" if lacking else ""


def _behind_forward(seen: Seen) -> str:
    """Nomad stands behind forward in the chain, wherever it stands in the Corefile."""
    config = seen.config("nomad")
    if config is None:
        return ""
    for stanza, _ in _stanzas(seen):
        if is_subdomain(config.zone, stanza.origin):
            return f"forward stands before it in the chain and takes its names: it is never asked for {to_text(config.zone)}"
    return ""


def _password_in_clear(seen: Seen) -> str:
    """A password of etcd that anybody on the way can read."""
    config = seen.config("etcd")
    plain = (
        config is not None and config.source.user and any(one.startswith("http://") for one in config.source.endpoints)
    )
    return "the password is sent over http:// without encryption" if plain else ""


RULES: tuple[Rule, ...] = (
    Rule("", _answers_nothing, "add kubernetes, hosts or forward"),
    Rule("kubernetes", _cluster_alone, "add forward, or serve the cluster's zones alone"),
    Rule("kubernetes", partial(_not_reversed, top="in-addr.arpa."), "fallthrough in-addr.arpa"),
    Rule("kubernetes", partial(_not_reversed, top="ip6.arpa."), "fallthrough ip6.arpa"),
    Rule("kubernetes", _no_domain, "name the domain: kubernetes cluster.local in-addr.arpa ip6.arpa"),
    Rule("hosts", _hosts_end, "add fallthrough"),
    Rule("nomad", _behind_forward, "give it a server block of its own"),
    Rule("etcd", _password_in_clear, "use https:// endpoints, and tls", "credentials"),
    Rule("prometheus", _metrics_inside, "prometheus :9153"),
    Rule("geoip", _labels_unread, "add metadata"),
    Rule("dnssec", _signs_nothing, "add key file BASE"),
    Rule("tsig", _no_key, "add secret or secrets"),
    Rule("cache", _stale, "serve_stale 1h", "serve_stale"),
    Rule("cache", _short_ttl),
    Rule(
        "loop",
        lambda seen: (
            ""
            if not seen.has("loop") or seen.has("forward") or seen.has("kubernetes")
            else "there is no forward in this block whose upstreams it could check"
        ),
    ),
    Rule(
        "ready",
        partial(_lacks, "ready", " since 1.5.0: without it nothing answers the readiness probe"),
        "add ready",
        severity=Severity.NOTE,
    ),
    Rule(
        "loop",
        partial(
            _lacks,
            "loop",
            " since 1.2.1: without it queries that come back from an upstream go round until they time out",
        ),
        "add loop",
        severity=Severity.NOTE,
    ),
    Rule(
        "reload",
        partial(_lacks, "reload", ": without it an edited Corefile takes effect only with SIGUSR1 or a restart"),
        "add reload",
        severity=Severity.NOTE,
    ),
    Rule(
        "health",
        lambda seen: (
            "without lameduck the process ends while clients still send to it"
            if seen.has("kubernetes") and seen.config("health") is not None and not seen.has("health", "lameduck")
            else ""
        ),
        "lameduck 5s",
        severity=Severity.NOTE,
    ),
)
"""One text each; what says several things about a block is a function below."""


def _odd_names(seen: Seen) -> Iterator[Finding]:
    for key in seen.block.keys:
        if syntax_warning(key.zone_text) is not None:
            text = f"the zone {key.zone_text} is served, and is no host name: letters, digits and hyphens are usual"
            advice = "a port is a number after the last colon" if ":" in key.zone_text else ""
            advice = "schemes are dns, tls, quic, https, https3 and grpc" if "://" in key.zone_text else advice
            yield warning(key.place, "", text, key.zone_text, advice)


def _caches(seen: Seen) -> Iterator[Finding]:
    config = seen.config("cache")
    if config is None:
        return
    for kind, limits in (("success", config.success), ("denial", config.denial)):
        place = seen.place("cache", kind)
        line = [token.text for token in seen.directives["cache"].tokens if token.place == place]
        asked = [int(word) for word in line[1:] if word.isdigit()]
        if limits.most_ttl > LONG_TTL:
            text = f"{kind} is kept for up to {limits.most_ttl} s: changes outside are seen that late"
            yield warning(place, "cache", text, suggestion=f"at most {LONG_TTL}, which is the default for success")
        if limits.least_ttl > limits.most_ttl:
            text = f"the lowest TTL of {kind}, {limits.least_ttl} s, is above the highest, {limits.most_ttl} s"
            yield warning(place, "cache", text, " ".join(line))
        if asked and limits.entries > asked[0] and limits.entries == LEAST_ENTRIES:
            yield warning(
                place, "cache", f"{kind} has {limits.entries} entries, the fewest there can be", str(asked[0])
            )


def _forwards(seen: Seen) -> Iterator[Finding]:
    from kdns.plugins.forward.targets import Carrier

    stanzas = list(_stanzas(seen))
    for number, (stanza, start) in enumerate(stanzas):
        for earlier, _ in stanzas[:number]:
            goes_on = earlier.next_rcodes or earlier.next_on_nodata or earlier.excepted
            if is_subdomain(stanza.origin, earlier.origin) and not goes_on:
                text = "it is never asked: an earlier forward of this block takes the same names"
                advice = "put the longer zone first, or give the earlier one `next`"
                yield warning(start.place, "forward", text, suggestion=advice)
                break
        end = stanzas[number + 1][1] if number + 1 < len(stanzas) else None
        plain = next((to for to in stanza.to if to.carrier is Carrier.DNS), None)
        for token in _between(seen.directives["forward"].tokens, start, end):
            if plain is not None and token.starts_line and token.text in ("tls", "tls_servername"):
                shown = getattr(plain, "text", None) or getattr(plain, "name", "")
                text = f"{token.text} has no effect on {shown}: queries go there as plain DNS"
                yield warning(
                    token.place, "forward", text, token.text, f"write tls:// before the address: tls://{shown}"
                )


def _between(tokens: Sequence[Token], start: Token, end: Token | None) -> Sequence[Token]:
    first = next(number for number, token in enumerate(tokens) if token is start)
    last = next((number for number, token in enumerate(tokens) if token is end), len(tokens))
    return tokens[first:last]


def _repeated_zones(seen: Seen) -> Iterator[Finding]:
    for name in ("kubernetes", "cache", "hosts", "metadata"):
        place = seen.place(name)
        tokens = seen.directives[name].tokens if seen.has(name) else ()
        words = [token.text.lower().rstrip(".") for token in tokens if token.place == place][1:]
        for word in dict.fromkeys(words):
            if words.count(word) > 1 and not word.isdigit():
                yield warning(place, name, f"the zone {word} stands here more than once", word)


def _delegation_signers(seen: Seen) -> Iterator[Finding]:
    """The DS records that the zones above signed ones must have."""
    signed: list[tuple[str, bytes, Any]] = []
    dnssec, zones = seen.config("dnssec"), seen.config("sign") or ()
    if dnssec is not None:
        keys = _keys(dnssec.key_paths)
        keys = [key for key in keys if key.sep] or keys
        signed += [("dnssec", zone, key) for zone in dnssec.zones for key in keys]
    signed += [("sign", one.origin, key) for one in zones for key in _keys(one.key_paths)]
    for name, zone, key in signed:
        rdata = ds_rdata(zone, key.rdata)
        digest = rdata[4:].hex().upper()
        text = f"the zone above needs: {to_text(zone)} IN DS {key.tag} {key.algorithm} {rdata[3]} {digest}"
        yield note(seen.place(name), name, text)


def _keys(paths: Sequence[str]) -> list[Any]:
    """The keys that are on this machine and can be used."""
    from kdns.plugins.dnssec.keys import BadKey, read_key

    found = []
    for path in paths:
        try:
            found.append(read_key(path))
        except BadKey:
            pass  # it is among the faults
    return found


def _short_lameduck(all_seen: list[Seen]) -> Iterator[Finding]:
    """A pod that is gone before the cluster's nodes know, whatever its probe."""
    for seen in all_seen:
        config = seen.config("health")
        if config is not None and seen.has("kubernetes") and 0 < config.lameduck < 1 + PROGRAMMING:
            text = f"lameduck {format_duration(config.lameduck)} is over before all nodes stop sending to the pod: queries are lost"
            yield warning(seen.place("health", "lameduck"), "health", text, suggestion="lameduck 5s")


def find_slow_probes(probes: Sequence[Probe], configuration: Configuration, name: str) -> Iterator[Finding]:
    """Readiness probes that notice the end of a server too late for its ``lameduck``."""
    blocks = [
        _seen(*both)
        for both in zip(configuration.builders, (one.directives for one in configuration.corefile.blocks), strict=True)
    ]
    lameduck = max(
        (seen.config("health").lameduck for seen in blocks if seen.config("health") is not None), default=0.0
    )
    for probe in probes:
        place = Place(name, probe.line)
        shown = format_duration(lameduck)
        if probe.notices_after + PROGRAMMING > lameduck:
            late = f"and is seen as not ready only after {probe.notices_after}s: queries are lost"
            text = f"a server that ends answers for {shown} (lameduck), {late}"
            advice = QUICK_PROBE if lameduck >= 1 + PROGRAMMING else f"{QUICK_PROBE}, and lameduck 5s in the Corefile"
            yield warning(place, "", text, suggestion=advice)
        if probe.grace < lameduck + LAST_ANSWERS:
            text = f"the pod is killed {probe.grace}s after SIGTERM, before the {shown} of lameduck and the last answers are over"
            wanted = f"terminationGracePeriodSeconds: {math.ceil(lameduck) + LAST_ANSWERS}"
            yield warning(place, "", text, suggestion=wanted)


# Rules over all blocks


def _loops(all_seen: list[Seen]) -> Iterator[Finding]:
    """A forward whose queries come back: to the block itself, or through others to it."""
    reached: dict[int, dict[int, tuple[Place, str]]] = {number: {} for number in range(len(all_seen))}
    for number, seen in enumerate(all_seen):
        for stanza, start in _stanzas(seen):
            for target in _plain_targets(stanza):
                for other in _takers(all_seen, target.host, target.port, stanza.origin, seen):
                    reached[number].setdefault(other, (start.place, target.text))
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
    """Each forward of a block, and its first word."""
    stanzas = seen.config("forward") or ()
    if stanzas:
        tokens = seen.directives["forward"].tokens
        starts = [token for token in tokens if token.text == "forward" and token.starts_line]
        if len(starts) == len(stanzas):
            yield from zip(stanzas, starts, strict=True)


def _plain_targets(stanza: Any) -> Iterator[Any]:
    """Addresses of plain DNS that a forward names, in the Corefile or in a file on this machine."""
    from kdns.plugins.forward.targets import Carrier, Target, nameservers

    for to in stanza.to:
        if to.carrier is Carrier.DNS and isinstance(to, Target):
            yield to
        elif to.carrier is Carrier.DNS:
            try:
                text = read_config_file(os.path.join(stanza.root, to.name)).decode("utf-8", errors="replace")
            except OSError:
                continue  # it is no file here
            yield from nameservers(text)


def _takers(all_seen: list[Seen], host: str, port: int, origin: bytes, sender: Seen) -> Iterator[int]:
    """Numbers of the blocks that take queries for *origin* and below, sent to an address."""
    address = ip_address(host)
    ours = address.is_loopback or address.is_unspecified or host in sender.builder.context.own_addresses()
    zones: dict[bytes, int] = {}
    for number, seen in enumerate(all_seen):
        bound = host in seen.builder.binds or (not seen.builder.binds and ours)
        for key in seen.block.keys:
            if bound and key.port == port and key.scheme is Scheme.DNS:
                zones.setdefault(key.zone, number)
    best = longest_zone(origin, frozenset(zones))
    if best is not None:
        yield zones[best]
    yield from (number for zone, number in zones.items() if zone not in (origin, best) and is_subdomain(zone, origin))


def _hosts_to_look_up(all_seen: list[Seen]) -> Iterator[Finding]:
    from kdns.plugins.forward.targets import NamedTarget

    for seen in all_seen:
        for stanza, start in _stanzas(seen):
            for to in stanza.to:
                if (
                    isinstance(to, NamedTarget)
                    and "/" not in to.name
                    and not os.path.exists(os.path.join(stanza.root, to.name))
                ):
                    text = f"{to.name} is neither an address nor a file here: a start looks it up, and fails if there is no such name"
                    tokens = seen.directives["forward"].tokens
                    place = next((token.place for token in tokens if to.name in token.text), start.place)
                    yield warning(place, "forward", text, to.name, "name resolvers by address")


def _addresses_elsewhere(all_seen: list[Seen]) -> Iterator[Finding]:
    seen_before: set[str] = set()
    for seen in all_seen:
        own = set(seen.builder.context.own_addresses()) if seen.builder.binds else set()
        for address in seen.builder.binds:
            if address not in seen_before | own and not ip_address(address.partition("%")[0]).is_loopback:
                text = f"{address} is no address of this machine: a start here would end with: cannot assign requested address"
                yield warning(seen.place("bind", address), "bind", text, address)
                seen_before.add(address)


# Words without an effect, seen in the text


def _unused_words(configuration: Configuration, source: Source, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that are not set, imports without a match, snippets that are never imported."""
    imported: set[str] = set()
    empty = [text for text in configuration.corefile.warnings if "import glob pattern" in text]
    for file in dict.fromkeys((source.name, *configuration.corefile.files)):
        if file != source.name and file == source.files.absolute(source.name):
            continue
        tokens = list(tokens_of(source.content(file), file))
        for token in tokens:
            for name in unset_in(token.text, environment):
                text, advice = f"the environment variable {name} is not set here, and reads as nothing", f"set {name}"
                if SPELLINGS & set(name):
                    bare = next(name[:index] for index, char in enumerate(name) if char in SPELLINGS)
                    text = f"references have no defaults: this is the variable named '{name}', which is not set and reads as nothing"
                    advice = f"write {{${bare}}}, and set {bare}"
                yield warning(token.place, "", text, token.text, advice)
        for statement, pattern in pairwise(tokens):
            if statement.text == "import":
                imported.add(pattern.text)
                shown = expand(pattern.text, environment)
                if statement.starts_line and any(text.endswith(f": {shown}") for text in empty):
                    yield warning(statement.place, "import", f"no file matches {shown}: nothing is imported", shown)
    for key, brace in pairwise(tokens_of(source.text, source.name)):
        name = key.text[1:-1]
        snippet = key.starts_line and key.text[:1] == "(" and key.text[-1:] == ")" and brace.text == "{"
        if snippet and name not in imported:
            yield warning(key.place, "import", f"the snippet {name} is imported by nothing, and was not looked at")


def unset_in(text: str, environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that a text refers to and that are not set."""
    missing = _Missing(environment)
    try:
        expand(text, missing)
    except ValueError:  # too long
        return []
    return missing.names


class _Missing(dict[str, str]):
    """An environment that notes which variables it lacks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self.names: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:
        """See :class:`dict`."""
        if name not in self:
            self.names.append(name)
        return super().get(name, default)


# Differences from CoreDNS


def find_differences(corefile: Corefile) -> list[Finding]:
    """A note for each directive and option that does not do what it does in CoreDNS, once, where it stands first."""
    found: dict[tuple[str, str], Finding] = {}
    for tree in () if corefile.built_in else corefile.blocks:
        for use in tree.directives.values():
            for one in _differences(use):
                found.setdefault((one.directive, one.text), one)
    return list(found.values())


def _differences(use: Directive) -> Iterator[Finding]:
    row = ROWS.get(use.name)
    if row is None and registry.accept(use.name):
        yield note(use.place, use.name, "CoreDNS does not have this directive: it is a plugin for kdns")
    if row is None:
        return
    see = ", ".join(filter(None, map(checkout_path, (f"docs/plugins/{use.name}.md", PAGE))))
    for text in row.differences:
        yield note(use.place, use.name, text, see and f"see {see}")
    for first, *rest in _option_lines(use):
        words = " ".join(token.text for token in (first, *rest)) + " "
        for option, text in row.options.items():
            if words.startswith(f"{option} "):
                yield note(first.place, use.name, f"{option}: {text}", see and f"see {see}")


def _option_lines(use: Directive) -> list[list[Token]]:
    lines: list[list[Token]] = []
    for token in use.tokens:
        if token.starts_line:
            lines.append([])
        lines[-1].append(token)
    return [line for line in lines if line[0].text not in (use.name, "}")]
