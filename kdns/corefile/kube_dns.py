# -*- test-case-name: tests.corefile.test_kube_dns -*-
"""
The settings that kube-dns reads from its ConfigMap: stub domains and upstream name servers.

``kdns translate`` makes a Corefile of them, and ``kdns node-cache`` follows them while it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from kdns.corefile.keys import zones_of
from kdns.corefile.values import BadValue, split_host_port

MOST_SERVERS = 15
"""Upstreams of one ``forward``."""

MOST_SHOWN = 100
"""Characters of a bad value that an error shows."""

STUB_DOMAINS, UPSTREAMS = KEYS = ("stubDomains", "upstreamNameservers")
"""Keys of the ConfigMap that have an effect."""


class BadSettings(Exception):
    """A ConfigMap that kube-dns would not take either; the text names the key, what was wanted and what was found."""


@dataclass(frozen=True, slots=True)
class KubeDnsSettings:
    """What the ConfigMap says; servers are ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``."""

    stub_domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Servers by domain; domains are in lower case, without a final dot."""

    upstreams: tuple[str, ...] = ()


def read_settings(data: Mapping[str, str]) -> KubeDnsSettings:
    """
    Read the keys of the ConfigMap; those without an effect are ignored.

    :raises BadSettings: a key does not hold what kube-dns wants in it.
    """
    stubs = {
        _zone(str(domain)): _servers(f"{STUB_DOMAINS}: {domain}", servers)
        for domain, servers in _json(data, STUB_DOMAINS, dict).items()
    }
    upstreams = _json(data, UPSTREAMS, list)
    return KubeDnsSettings(stubs, _servers(UPSTREAMS, upstreams) if upstreams else ())


def _json(data: Mapping[str, str], key: str, kind: type) -> Any:
    text = data.get(key, "").strip()
    try:
        value = json.loads(text) if text else kind()
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadSettings(f"{key}: wanted JSON, found {_shown(data[key])} ({error})") from None
    if not isinstance(value, kind):
        raise BadSettings(f"{key}: wanted {'an object' if kind is dict else 'a list'}, found {_shown(data[key])}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _zone(text: str) -> str:
    zone = text.lower().rstrip(".")
    try:
        zones_of(zone)
    except BadValue as error:
        raise BadSettings(f"{STUB_DOMAINS}: {error}") from None
    if not zone or not all(char.isalnum() or char in "-_." for char in zone):
        raise BadSettings(f"{STUB_DOMAINS}: wanted a domain, found {zone!r}")
    return zone


def _servers(what: str, value: Any) -> tuple[str, ...]:
    """Addresses with or without a port, each once."""
    if not isinstance(value, list) or not value:
        raise BadSettings(f"{what}: wanted a list of addresses, found {_shown(value)}")
    for server in value:
        if not _is_address(str(server)):
            raise BadSettings(f"{what}: wanted ADDRESS or ADDRESS:PORT, found {_shown(server)}")
    found = tuple(dict.fromkeys(map(str, value)))
    if len(found) > MOST_SERVERS:
        raise BadSettings(f"{what}: wanted {MOST_SERVERS} servers at most, found {len(found)}")
    return found


def _is_address(text: str) -> bool:
    try:
        host, port = split_host_port(text)
        ip_address(host)
    except (BadValue, ValueError):  # no port: an address alone, IPv6 without brackets among them
        host, port = text, "53"
    try:
        ip_address(host)
    except ValueError:
        return False
    return port.isascii() and port.isdigit() and int(port) <= 65535
