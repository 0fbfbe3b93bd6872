# -*- test-case-name: tests.corefile.test_keys -*-
"""
Server keys and zones: from ``[SCHEME://]ZONE[:PORT]`` to the names a server block answers for.

Decides which zones a text stands for: a network in CIDR notation becomes its reverse zones, cut at octets (IPv4) or nibbles (IPv6).
Plugins read their ZONES arguments with the same functions. Whether two blocks may have the same key is left to
:mod:`kdns.corefile.overlap`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from kdns.corefile.errors import BadKey, BadPort, Place
from kdns.corefile.tree import ServerBlock
from kdns.corefile.values import BadValue, parse_int, quote
from kdns.wire.names import from_text

MAX_ZONE_TEXT = 255
"""Octets of a zone as it is written, escapes included."""

MAX_ZONES = 100_000
"""Zones of one server block. A network may stand for 128 of them, so a short text could name millions."""

_CIDR = re.compile(r"[0-9A-Fa-f:.]+/[0-9]{1,3}")
_PREFERRED_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_FINAL_DOT = re.compile(r"(?<!\\)(?:\\\\)*\.\Z")  # one that no backslash makes part of a label
_REVERSE = (".in-addr.arpa.", ".ip6.arpa.")


class Scheme(Enum):
    """How the queries for a server key arrive; the value is the scheme."""

    DNS = "dns"
    TLS = "tls"
    QUIC = "quic"
    HTTPS = "https"
    HTTPS3 = "https3"
    GRPC = "grpc"

    @property
    def default_port(self) -> int:
        """The port of a key without one."""
        return _DEFAULT_PORTS[self]


_DEFAULT_PORTS = {
    Scheme.DNS: 53,
    Scheme.TLS: 853,
    Scheme.QUIC: 853,
    Scheme.HTTPS: 443,
    Scheme.HTTPS3: 443,
    Scheme.GRPC: 443,
}


@dataclass(frozen=True, slots=True)
class Zone:
    """
    A zone that was written down.

    :ivar name: in lower-case wire form.
    :ivar text: as it was written, in lower case and with the final dot; this is what metrics and messages show.
    """

    name: bytes
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ServerKey:
    """
    One zone on one port, as a server block claims it.

    :ivar zone: in lower-case wire form.
    :ivar zone_text: as it was written, in lower case and with the final dot.
    :ivar port: 0 lets the system choose.
    :ivar place: where the key stands; two keys are equal wherever they stand.
    """

    scheme: Scheme
    zone: bytes
    zone_text: str
    port: int
    place: Place = field(compare=False)

    def __str__(self) -> str:
        """As it is announced at the start: ``.:53``, ``tls://.:853``."""
        prefix = "" if self.scheme is Scheme.DNS else f"{self.scheme.value}://"
        return f"{prefix}{self.zone_text}:{self.port}"

    @property
    def url(self) -> str:
        """As errors name it, always with the scheme: ``dns://.:53``."""
        return f"{self.scheme.value}://{self.zone_text}:{self.port}"


def server_keys(block: ServerBlock, dns_port: int = 53) -> tuple[ServerKey, ...]:
    """
    The keys of a block, networks expanded.

    :param dns_port: the port of keys that name neither a port nor a scheme other than ``dns``.
    :raises BadKey: a zone is none, or there are too many.
    :raises BadPort: a port is too large.
    """
    found: list[ServerKey] = []
    for key in block.keys:
        scheme, rest = split_scheme(key.text)
        try:
            zones, port = _zones_and_port(rest)
        except BadValue as error:
            hint = "a blank is missing before '{'" if rest.endswith("{") else None
            raise BadKey(str(error), place=key.place, hint=hint) from error
        if port is None:
            port = dns_port if scheme is Scheme.DNS else scheme.default_port
        if not 0 <= port <= 65535:
            raise BadPort(str(port), place=key.place)
        if len(found) + len(zones) > MAX_ZONES:
            raise BadKey(f"more than {MAX_ZONES} zones in one server block", place=key.place)
        found += [ServerKey(scheme, zone.name, zone.text, port, key.place) for zone in zones]
    return tuple(found)


def syntax_warning(zone: str) -> str | None:
    """What to say about a zone whose labels are not letters, digits and hyphens, the root and reverse zones apart."""
    if zone == "." or zone.endswith(_REVERSE):
        return None
    if all(_PREFERRED_LABEL.fullmatch(label) for label in zone.removesuffix(".").split(".")):
        return None
    return f"Warning: Domain {quote(zone)} does not follow RFC1035 preferred syntax"


def split_scheme(text: str) -> tuple[Scheme, str]:
    """Cut a known scheme off; a text that begins with no known scheme is all zone."""
    for scheme in Scheme:
        prefix = f"{scheme.value}://"
        if text.startswith(prefix):
            return scheme, text[len(prefix) :]
    return Scheme.DNS, text


def zones_of(text: str) -> tuple[Zone, ...]:
    """
    The zones that an argument of a plugin stands for: one, or the reverse zones of a network. Scheme and port are dropped.

    :raises BadValue: it is no zone.
    """
    return tuple(_zones_and_port(split_scheme(text)[1])[0])


def zones_or_keys(args: Iterable[str], keys: Iterable[ServerKey]) -> tuple[Zone, ...]:
    """
    The zones of a plugin: its ZONES arguments, or all zones of its server block when there are none; each only once.

    An empty word, from a variable that is not set, is no argument.

    :raises BadValue: an argument is no zone.
    """
    zones = [zone for text in args if text for zone in zones_of(text)] or [
        Zone(key.zone, key.zone_text) for key in keys
    ]
    return tuple({zone.name: zone for zone in zones}.values())


def _zones_and_port(text: str) -> tuple[list[Zone], int | None]:
    """*text* is ``ZONE[:PORT]``; what follows the last colon is only a port if it is a number."""
    zone, colon, tail = text.rpartition(":")
    if colon and not tail:
        raise BadValue(f"expecting data after last colon: {quote(text)}")
    port = None
    if colon:
        try:
            port = parse_int(tail)
        except BadValue:
            pass
    if port is None:
        zone = text
    size = len(zone.encode("utf-8", errors="surrogatepass"))
    if size > MAX_ZONE_TEXT:
        raise BadValue(f"specified zone is too long: {size} > {MAX_ZONE_TEXT}")
    if not zone:
        raise BadValue(f"zone is not a valid domain name: {zone}")
    return [_zone(expanded) for expanded in _expand_network(zone)], port


def _expand_network(text: str) -> list[str]:
    """The reverse zones of a network, its prefix rounded up to the next label; a text that is no network stands for itself."""
    if not _CIDR.fullmatch(text):
        return [text]
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return [text]
    if text.startswith(":") or (text.startswith("0") and ":" in text):
        raise BadValue(f"invalid CIDR {text}")
    bits = 8 if network.version == 4 else 4
    labels = -(-network.prefixlen // bits)
    return [_reverse_name(part, labels) for part in network.subnets(new_prefix=labels * bits)]


def _reverse_name(network: ipaddress.IPv4Network | ipaddress.IPv6Network, labels: int) -> str:
    """The reverse zone of a network whose prefix is *labels* octets or nibbles long."""
    packed = network.network_address.packed
    if network.version == 4:
        parts = [str(octet) for octet in packed[:labels]]
        return ".".join([*reversed(parts), "in-addr.arpa."])
    return ".".join([*reversed(packed.hex()[:labels]), "ip6.arpa."])


def _zone(text: str) -> Zone:
    lower = text.lower()
    try:
        name = from_text(lower)
    except ValueError as error:
        raise BadValue(f"zone is not a valid domain name: {text}") from error
    return Zone(name, lower if _FINAL_DOT.search(lower) else lower + ".")
