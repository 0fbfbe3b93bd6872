# -*- test-case-name: tests.plugins.forward.test_targets -*-
"""
Where queries may be sent: what a TO of *forward* says, and what a resolv.conf says, as values.

A TO that is no address is a file or a host name. Which of the two, and its addresses, :mod:`kdns.plugins.forward.sources` finds out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from kdns.core.text import bracketed
from kdns.corefile.values import BadValue, parse_uint, split_host_port

MOST_TARGETS = 15
"""Upstreams of one stanza."""


class Carrier(Enum):
    """The protocol to an upstream; the value is the scheme of a TO."""

    DNS = "dns"
    """UDP or TCP, as the client asked."""

    TLS = "tls"
    """DNS over TLS (RFC 7858)."""

    HTTPS = "https"
    """DNS over HTTPS (RFC 8484)."""

    QUIC = "quic"
    """DNS over QUIC (RFC 9250)."""

    GRPC = "grpc"
    """CoreDNS's service over gRPC, without encryption; the plugin *grpc* asks so."""

    GRPCS = "grpcs"
    """The same over TLS."""

    @property
    def port(self) -> int:
        return {Carrier.DNS: 53, Carrier.TLS: 853, Carrier.QUIC: 853}.get(self, 443)

    @property
    def secure(self) -> bool:
        """Whether TLS is underneath; that of QUIC is its own."""
        return self not in (Carrier.DNS, Carrier.QUIC, Carrier.GRPC)


_UNSUPPORTED = {"grpc": 443, "https3": 443}
_UNKNOWN = ("grpcs",)
"""Carriers that are no scheme."""


@dataclass(frozen=True, slots=True)
class Target:
    """
    An upstream's address.

    :ivar host: an IP address, without brackets and without an interface.
    :ivar server_name: the name its certificate must have; empty means the address, or what the stanza says.
    """

    host: str
    port: int = 53
    carrier: Carrier = Carrier.DNS
    server_name: str = ""

    @property
    def text(self) -> str:
        """Address and port for metrics and errors."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.carrier.value}://{self.text}"


@dataclass(frozen=True, slots=True)
class NamedTarget:
    """A TO that is a path of a resolv.conf or a host name, not an address."""

    name: str
    port: int
    carrier: Carrier = Carrier.DNS
    server_name: str = ""

    def at(self, host: str) -> Target:
        """The target at one address of the host."""
        return Target(host, self.port, self.carrier, self.server_name)


To = Target | NamedTarget


def parse_to(text: str) -> To:
    """
    Read one TO: ``[SCHEME://]IP[%NAME][:PORT]``, a path, or a host name.

    :raises BadValue: an unknown scheme, a path behind an address, a bad port.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "dns", text
    if scheme in _UNSUPPORTED:
        host, port, _ = _host_and_port(rest, _UNSUPPORTED[scheme])
        shown = f"{bracketed(host)}:{port}"
        raise BadValue(f"'{scheme}' is not supported as a destination protocol in forward: {scheme}://{shown}")
    try:
        carrier = Carrier(scheme)
        if scheme in _UNKNOWN:
            raise ValueError(scheme)
    except ValueError:
        raise BadValue(f"unknown scheme in upstream: {text}") from None
    if carrier is Carrier.HTTPS and "/" in rest:
        raise BadValue(f"a DoH upstream has no path of its own, /dns-query is always asked: {text}")
    host, port, name = _host_and_port(rest, carrier.port)
    address = canonical_address(host)
    if address is None:
        if not host:
            raise BadValue(f'not an IP address or file: "{text}"')
        return NamedTarget(host if "/" not in host else rest, port, carrier, name)
    return Target(address, port, carrier, name if carrier is not Carrier.DNS else "")


def _host_and_port(text: str, default: int) -> tuple[str, int, str]:
    """Host, port, and the part after ``%``: a server name, or an interface, which is ignored."""
    bare, _, name = text.strip("[]").partition("%")
    if canonical_address(bare) is not None and ":" not in name:
        return bare, default, name
    try:
        host, port = split_host_port(text)
        number = parse_uint(port, 16)
    except BadValue:
        if ":" in text and "/" not in text:
            raise BadValue(f"bad address or port in upstream: {text}") from None
        return text, default, ""
    host, _, name = host.partition("%")
    return host, number, name


def canonical_address(text: str) -> str | None:
    """The canonical spelling of an IP address; None when invalid."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def nameservers(text: str) -> list[Target]:
    """
    The name servers of a resolv.conf in their order; ``search``, ``options`` and unreadable words are left out.

    A line may hold several addresses. An interface (``fe80::1%eth0``) is dropped; a port (``10.0.0.1:5353``) is taken.
    """
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if words[:1] == ["nameserver"]:
            for word in words[1:]:
                try:
                    target = parse_to(word)
                except BadValue:
                    continue
                if isinstance(target, Target) and target.carrier is Carrier.DNS:
                    found.append(target)
    return found


def each_once(targets: Iterable[Target]) -> tuple[Target, ...]:
    """
    Without repetitions; the first place of each counts.

    :raises BadValue: none is left, or more than 15.
    """
    kept = tuple(dict.fromkeys(targets))
    if not kept:
        raise BadValue("no valid upstream addresses found")
    if len(kept) > MOST_TARGETS:
        raise BadValue(f"more than {MOST_TARGETS} TOs configured: {len(kept)}")
    return kept


def with_carrier(target: Target, source: NamedTarget) -> Target:
    """A name server of a file, with the protocol of the TO that names the file."""
    if source.carrier is Carrier.DNS:
        return target
    port = source.port if target.port == Carrier.DNS.port else target.port
    return replace(target, port=port, carrier=source.carrier, server_name=source.server_name)
