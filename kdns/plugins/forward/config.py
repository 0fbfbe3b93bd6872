# -*- test-case-name: tests.plugins.forward.test_config -*-
"""What one ``forward`` of a Corefile says, as a value with every default filled in (:class:`Stanza`), and how it is parsed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from twisted.logger import Logger

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import zones_of
from kdns.corefile.values import BadValue, format_duration, parse_duration, parse_int, parse_uint
from kdns.plugin.seam import Block
from kdns.plugins.forward.policy import Policy
from kdns.plugins.forward.targets import Carrier, NamedTarget, Target, To, canonical_address, each_once, parse_to
from kdns.wire.constants import NOERROR, rcode_number
from kdns.wire.names import ROOT, BadName, from_text, is_subdomain

_log = Logger(namespace="plugin/forward")


class DohMethod(Enum):
    """How a query is sent over HTTP; the value is the word in a Corefile."""

    GET = "GET"
    """In the URL; shared caches may answer."""

    POST = "POST"
    """In the body."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; empty where there is none."""

    certificate: str = ""
    key: str = ""
    authority: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are given."""
        return tuple(path for path in (self.certificate, self.key, self.authority) if path)


NO_FILES = TlsFiles()
"""The system's trust, and no certificate of our own."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """
    How an upstream is checked after a query to it failed.

    :ivar interval: seconds from a failed check to the next.
    :ivar recursion: the RD bit of the check.
    :ivar domain: the name asked for, in wire form.
    """

    interval: float = 0.5
    recursion: bool = True
    domain: bytes = ROOT


@dataclass(frozen=True, slots=True)
class Stanza:
    """
    One ``forward``; names are lower-case wire form, times are seconds.

    :ivar excepted: names that are not forwarded, with all names below them.
    :ivar max_age: 0 means that connections live as long as they are used.
    :ivar max_fails: 0 means that an upstream is never down.
    :ivar max_connect_attempts: None means two for each upstream, 0 as many as there is time for.
    :ivar max_concurrent: 0 means any number.
    :ivar resolver: the servers asked for the addresses of host names in *to*; none means the system's resolver.
    :ivar root: the folder that relative paths start at; empty is the working directory.
    """

    to: tuple[To, ...]
    origin: bytes = ROOT
    excepted: tuple[bytes, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    expire: float = 10.0
    max_age: float = 0.0
    max_idle_conns: int = 0
    read_timeout: float = 2.0
    max_fails: int = 2
    max_connect_attempts: int | None = None
    health_check: HealthCheck = HealthCheck()
    policy: Policy = Policy.RANDOM
    max_concurrent: int = 0
    next_rcodes: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failover: frozenset[int] = frozenset()
    failfast: bool = False
    tls: TlsFiles = NO_FILES
    tls_servername: str = ""
    doh_method: DohMethod = DohMethod.POST
    source_address: str = ""
    resolver: tuple[Target, ...] = ()
    root: str = ""

    @property
    def takes_all(self) -> bool:
        """Whether queries for all names are forwarded."""
        return self.origin == ROOT and not self.excepted

    def takes(self, qname: bytes) -> bool:
        """Whether queries for *qname*, in lower case, are forwarded. The origin itself is never excepted."""
        if not is_subdomain(qname, self.origin):
            return False
        return qname == self.origin or not any(is_subdomain(qname, name) for name in self.excepted)


def parse(tokens: Dispenser, block: Block) -> tuple[Stanza, ...]:
    """
    All ``forward`` stanzas of a block, in file order.

    :raises CorefileError: ``docs/plugins/forward.md`` says what is wanted.
    """
    return tuple(parse_stanza(tokens, block.root, OPTIONS) for _ in tokens.invocations())


def parse_stanza(
    tokens: Dispenser, root: str, options: Mapping[str, Option], parse_to: Callable[[str], To] = parse_to
) -> Stanza:
    """
    One ``FROM TO... { OPTIONS }``.

    :param options: those that may be set.
    """
    origin = _origin(tokens, tokens.expect_arg())
    words = [tokens.expect_arg(), *tokens.remaining_args()]
    to = tuple(dict.fromkeys(tokens.convert(parse_to, word) for word in words))
    addresses = [target for target in to if isinstance(target, Target)]
    if addresses:
        tokens.convert(lambda _: each_once(addresses), "")
    stanza = Stanza(to, origin, root=root)
    for option in tokens.block():
        if option not in options:
            raise tokens.unknown_property(*options)
        stanza = replace(stanza, **options[option](tokens, stanza))
    if stanza.max_age and stanza.max_age < stanza.expire:
        raise tokens.plain_error(
            f"max_age ({format_duration(stanza.max_age)}) must not be less than expire ({format_duration(stanza.expire)})"
        )
    for target in to:
        if stanza.tls_servername and target.server_name:
            shown = target.url if isinstance(target, Target) else target.name
            raise tokens.plain_error(
                f"both forward ('{stanza.tls_servername}') and proxy level ('{target.server_name}') TLS servernames "
                f"are set for upstream proxy '{shown}'"
            )
    return stanza


def _origin(tokens: Dispenser, text: str) -> bytes:
    try:
        zones = zones_of(text)
    except BadValue:
        raise tokens.plain_error(f"unable to normalize '{text}'") from None
    if len(zones) > 1:
        _log.warn(
            "{text} stands for {count} zones, only {zone} is forwarded", text=text, count=len(zones), zone=zones[0].text
        )
    return zones[0].name


_Fields = dict[str, Any]
"""Fields of a stanza to replace; each option checks its own types."""

Option = Callable[[Dispenser, Stanza], _Fields]
"""Reads the words of an option."""


def _flag(field: str) -> Option:
    def parse_option(tokens: Dispenser, stanza: Stanza) -> _Fields:
        tokens.args(0)
        return {field: True}

    return parse_option


def _duration(field: str, *, zero: bool = True) -> Option:
    def parse_option(tokens: Dispenser, stanza: Stanza) -> _Fields:
        seconds = tokens.duration()
        if seconds < 0:
            raise tokens.plain_error(f"{field} can't be negative: {format_duration(seconds)}")
        if not zero and seconds == 0:
            raise tokens.plain_error(f"{field} must be positive: {format_duration(seconds)}")
        return {field: seconds}

    return parse_option


def _number(field: str) -> Option:
    def parse_option(tokens: Dispenser, stanza: Stanza) -> _Fields:
        number = tokens.convert(parse_int, tokens.word())
        if number < 0:
            raise tokens.plain_error(f"{field} can't be negative: {number}")
        return {field: number}

    return parse_option


def _unsigned(field: str) -> Option:
    def parse_option(tokens: Dispenser, stanza: Stanza) -> _Fields:
        return {field: tokens.convert(lambda text: parse_uint(text, 32), tokens.word())}

    return parse_option


def _excepted(tokens: Dispenser, stanza: Stanza) -> _Fields:
    names = []
    for word in tokens.args(1, None):
        try:
            names += [zone.name for zone in zones_of(word)]
        except BadValue:
            raise tokens.plain_error(f"unable to normalize '{word}'") from None
    return {"excepted": tuple(dict.fromkeys((*stanza.excepted, *names)))}


def _rcodes(tokens: Dispenser) -> frozenset[int]:
    codes = set()
    for word in tokens.args(1, None):
        code = rcode_number(word)
        if code is None:
            raise tokens.plain_error(f"{word} is not a valid rcode")
        codes.add(code)
    return frozenset(codes)


def _next(tokens: Dispenser, stanza: Stanza) -> _Fields:
    return {"next_rcodes": stanza.next_rcodes | _rcodes(tokens)}


def _failover(tokens: Dispenser, stanza: Stanza) -> _Fields:
    codes = _rcodes(tokens)
    if NOERROR in codes:
        raise tokens.plain_error("NoError cannot be used in failover")
    return {"failover": stanza.failover | codes}


def _policy(tokens: Dispenser, stanza: Stanza) -> _Fields:
    word = tokens.word()
    try:
        return {"policy": Policy(word)}
    except ValueError:
        raise tokens.error(f"unknown policy '{word}'") from None


def _health_check(tokens: Dispenser, stanza: Stanza) -> _Fields:
    interval = tokens.convert(parse_duration, tokens.expect_arg())
    if interval < 0:
        raise tokens.plain_error(f"health_check can't be negative: {format_duration(interval)}")
    check = HealthCheck(interval)
    while (word := tokens.next_arg()) is not None:
        if word == "no_rec":
            check = replace(check, recursion=False)
        elif word == "domain":
            name = tokens.expect_arg()
            try:
                check = replace(check, domain=from_text(name))
            except BadName:
                raise tokens.plain_error(f"health_check: invalid domain name {name}") from None
        else:
            raise tokens.plain_error(f"health_check: unknown option {word}")
    return {"health_check": check}


def _tls(tokens: Dispenser, stanza: Stanza) -> _Fields:
    match [os.path.join(stanza.root, word) for word in tokens.args(0, 3)]:
        case []:
            files = TlsFiles()
        case [authority]:
            files = TlsFiles(authority=authority)
        case [certificate, key]:
            files = TlsFiles(certificate, key)
        case [certificate, key, authority]:
            files = TlsFiles(certificate, key, authority)
        case _:
            raise tokens.arg_error()
    return {"tls": files}


def _tls_servername(tokens: Dispenser, stanza: Stanza) -> _Fields:
    return {"tls_servername": tokens.word()}


def _doh_method(tokens: Dispenser, stanza: Stanza) -> _Fields:
    word = tokens.word()
    try:
        return {"doh_method": DohMethod(word.upper())}
    except ValueError:
        raise tokens.plain_error(f"doh_method must be GET or POST, found '{word}'") from None


def _source_address(tokens: Dispenser, stanza: Stanza) -> _Fields:
    word = tokens.word()
    address = canonical_address(word)
    if address is None:
        raise tokens.plain_error(f"source_address is no IP address: '{word}'")
    return {"source_address": address}


def _resolver(tokens: Dispenser, stanza: Stanza) -> _Fields:
    found = []
    for word in tokens.args(1, None):
        target = tokens.convert(parse_to, word)
        if isinstance(target, NamedTarget) or target.carrier is not Carrier.DNS:
            raise tokens.plain_error(f"resolver is no IP address: '{word}'")
        found.append(target)
    return {"resolver": stanza.resolver + tuple(found)}


OPTIONS: dict[str, Option] = {
    "except": _excepted,
    "force_tcp": _flag("force_tcp"),
    "prefer_udp": _flag("prefer_udp"),
    "expire": _duration("expire"),
    "max_age": _duration("max_age"),
    "max_idle_conns": _number("max_idle_conns"),
    "read_timeout": _duration("read_timeout", zero=False),
    "max_fails": _unsigned("max_fails"),
    "max_connect_attempts": _unsigned("max_connect_attempts"),
    "health_check": _health_check,
    "policy": _policy,
    "max_concurrent": _number("max_concurrent"),
    "next": _next,
    "next_on_nodata": _flag("next_on_nodata"),
    "failover": _failover,
    "failfast_all_unhealthy_upstreams": _flag("failfast"),
    "tls": _tls,
    "tls_servername": _tls_servername,
    "doh_method": _doh_method,
    "source_address": _source_address,
    "resolver": _resolver,
}
"""The options of the block, each with its parser."""
