# -*- test-case-name: tests.cli.test_translate -*-
"""
``kdns translate``: the ConfigMap of kube-dns as a Corefile.

Each stub domain becomes a server block that forwards to its servers; domains with the same servers share a block. Upstream name servers
replace those of the node. Federations do not exist any more and are named on standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kdns.core.text import printable, reason_of

HELP = """\
Usage of kdns translate:
  kdns translate [FILE]

Prints a Corefile for the ConfigMap of kube-dns (kubectl -n kube-system get configmap kube-dns -o yaml). FILE is "-" by default, which reads
standard input. Look at the result with kdns check.

Exit status: 0 printed, 1 the ConfigMap cannot be translated, 2 the command line cannot be understood.
"""

FINE, CANNOT, BAD_USAGE = 0, 1, 2

MAX_FILE = 8 * 1024 * 1024
"""Characters that are read; a ConfigMap has 1 MiB at most."""

STUB = """\
{keys} {{
    errors
    cache 30
    loop
    forward . {servers} {{
        max_concurrent 1000
    }}
}}
"""

MAIN = """\
.:53 {{
    errors
    health {{
        lameduck 5s
    }}
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus :9153
    forward . {upstreams} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"""
"""The default Corefile of clusters."""

MOST_UPSTREAMS = 15
"""Upstreams of one ``forward``."""


class CannotTranslate(Exception):
    """A ConfigMap that kube-dns would not take either; the text names the key, what was wanted and what was found."""


def main(
    arguments: Sequence[str], stdin: TextIO | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> int:
    """
    Run the command.

    :return: the exit status.
    """
    stdin, stdout, stderr = stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr
    words = list(arguments) or ["-"]
    if {"-h", "--help", "-help"} & set(words):
        stderr.write(HELP)
        return FINE
    if len(words) > 1 or (words[0] != "-" and words[0].startswith("-")):
        stderr.write(f"one file is wanted, found: {printable(' '.join(words))}\n{HELP}")
        return BAD_USAGE
    try:
        if words[0] == "-":
            text = stdin.read(MAX_FILE)
        else:
            with open(words[0], encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_FILE)
        corefile, left = corefile_for(data_of(text))
    except OSError as error:
        stderr.write(f"kdns translate: open {printable(words[0])}: {reason_of(error)}\n")
        return CANNOT
    except CannotTranslate as error:
        stderr.write(f"kdns translate: {printable(str(error))}\n")
        return CANNOT
    stdout.write(corefile)
    for line in left:
        stderr.write(f"{printable(line)}\n")
    return FINE


def data_of(text: str) -> Mapping[str, str]:
    """
    The keys of the ConfigMap.

    :raises CannotTranslate: it is none.
    """
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CannotTranslate(f"wanted a ConfigMap, found no YAML: {error}") from None
    if not isinstance(document, Mapping) or document.get("kind") != "ConfigMap":
        raise CannotTranslate("wanted a ConfigMap, found something else")
    data = document.get("data") or {}
    if not isinstance(data, Mapping) or not all(isinstance(value, str) for value in data.values()):
        raise CannotTranslate(f"data: wanted texts by key, found {data!r}")
    return {str(key): value for key, value in data.items()}


def corefile_for(data: Mapping[str, str]) -> tuple[str, list[str]]:
    """
    The Corefile, and lines about what of the ConfigMap is not in it.

    :raises CannotTranslate: a key does not hold what kube-dns wants in it.
    """
    blocks: dict[tuple[str, ...], list[str]] = {}
    for domain, servers in _json(data, "stubDomains", dict).items():
        blocks.setdefault(_servers(f"stubDomains: {domain}", servers), []).append(f"{_zone(str(domain))}:53")
    upstreams = _json(data, "upstreamNameservers", list)
    forward = " ".join(_servers("upstreamNameservers", upstreams)) if upstreams else "/etc/resolv.conf"
    stubs = (STUB.format(keys=", ".join(keys), servers=" ".join(servers)) for servers, keys in blocks.items())
    other = [key for key in data if key not in ("stubDomains", "upstreamNameservers")]
    left = [f"{key}: there is no such thing any more; it is left out" for key in other]
    return "".join(stubs) + MAIN.format(upstreams=forward), left


def _json(data: Mapping[str, str], key: str, kind: type) -> Any:
    text = data.get(key, "").strip()
    try:
        value = json.loads(text) if text else kind()
    except json.JSONDecodeError as error:
        raise CannotTranslate(f"{key}: wanted JSON, found {data[key]!r} ({error})") from None
    if not isinstance(value, kind):
        raise CannotTranslate(f"{key}: wanted {'an object' if kind is dict else 'a list'}, found {data[key]!r}")
    return value


def _zone(text: str) -> str:
    from kdns.corefile.keys import zones_of
    from kdns.corefile.values import BadValue

    zone = text.lower().rstrip(".")
    try:
        zones_of(zone)
    except BadValue as error:
        raise CannotTranslate(f"stubDomains: {error}") from None
    if not all(char.isalnum() or char in "-_." for char in zone):
        raise CannotTranslate(f"stubDomains: wanted a domain, found {zone!r}")
    return zone


def _servers(what: str, value: Any) -> tuple[str, ...]:
    """Addresses with or without a port, each once."""
    if not isinstance(value, list) or not value:
        raise CannotTranslate(f"{what}: wanted a list of addresses, found {value!r}")
    for server in value:
        if not _is_address(str(server)):
            raise CannotTranslate(f"{what}: wanted ADDRESS or ADDRESS:PORT, found {server!r}")
    found = tuple(dict.fromkeys(map(str, value)))
    if len(found) > MOST_UPSTREAMS:
        raise CannotTranslate(f"{what}: wanted {MOST_UPSTREAMS} servers at most, found {len(found)}")
    return found


def _is_address(text: str) -> bool:
    from ipaddress import ip_address

    from kdns.corefile.values import BadValue, split_host_port

    try:
        host, port = split_host_port(text)
        ip_address(host)
    except (BadValue, ValueError):  # no port: an address alone, IPv6 without brackets among them
        host, port = text, "53"
    try:
        ip_address(host)
    except ValueError:
        return False
    return port.isdigit() and int(port) <= 65535
