# -*- test-case-name: tests.cli.test_translate -*-
"""
``kdns translate``: the ConfigMap of kube-dns as a Corefile.

Stub domains become server blocks with all their servers, those with the same servers one block; upstream name servers take the place of
the node's. Federations mean nothing any more and are named on standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from kdns.core.text import reason_of

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
"""What one ``forward`` takes."""


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
    words = list(arguments)
    if any(word in ("-h", "--help", "-help") for word in words):
        stderr.write(HELP)
        return FINE
    if len(words) > 1 or (words and words[0] != "-" and words[0].startswith("-")):
        stderr.write(f"one file is wanted, found: {' '.join(words)}\n{HELP}")
        return BAD_USAGE
    try:
        text = _text(words[0] if words else "-", stdin)
        corefile, left = corefile_for(data_of(text))
    except CannotTranslate as error:
        stderr.write(f"kdns translate: {error}\n")
        return CANNOT
    stdout.write(corefile)
    for line in left:
        stderr.write(f"{line}\n")
    return FINE


def _text(file: str, stdin: TextIO) -> str:
    if file == "-":
        return stdin.read(MAX_FILE)
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read(MAX_FILE)
    except OSError as error:
        raise CannotTranslate(f"open {file}: {reason_of(error)}") from None


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
    The Corefile, and what of the ConfigMap is not in it.

    :raises CannotTranslate: a key does not hold what kube-dns wants in it.
    """
    blocks: dict[tuple[str, ...], list[str]] = {}
    for domain, servers in _json(data, "stubDomains", dict).items():
        zone = str(domain).lower().rstrip(".")
        blocks.setdefault(_servers(f"stubDomains: {domain}", servers), []).append(_zone(zone))
    upstreams = _json(data, "upstreamNameservers", list)
    forward = " ".join(_servers("upstreamNameservers", upstreams)) if upstreams else "/etc/resolv.conf"
    stubs = (
        STUB.format(keys=", ".join(f"{zone}:53" for zone in zones), servers=" ".join(to))
        for to, zones in blocks.items()
    )
    known = ("stubDomains", "upstreamNameservers")
    left = [f"{key}: there is no such thing any more; it is left out" for key in data if key not in known]
    return "".join(stubs) + MAIN.format(upstreams=forward), left


def _json(data: Mapping[str, str], key: str, kind: type) -> Any:
    if not data.get(key, "").strip():
        return kind()
    try:
        value = json.loads(data[key])
    except json.JSONDecodeError as error:
        raise CannotTranslate(f"{key}: wanted JSON, found {data[key]!r} ({error})") from None
    if not isinstance(value, kind):
        raise CannotTranslate(f"{key}: wanted {'an object' if kind is dict else 'a list'}, found {data[key]!r}")
    return value


def _zone(text: str) -> str:
    from kdns.corefile.keys import zones_of
    from kdns.corefile.values import BadValue

    try:
        zones_of(text)
    except BadValue as error:
        raise CannotTranslate(f"stubDomains: {error}") from None
    if not text or any(not (char.isalnum() or char in "-_.") for char in text):
        raise CannotTranslate(f"stubDomains: wanted a domain, found {text!r}")
    return text


def _servers(what: str, value: Any) -> tuple[str, ...]:
    """Addresses with or without a port, each once."""
    from ipaddress import ip_address

    from kdns.corefile.values import BadValue, split_host_port

    if not isinstance(value, list) or not value:
        raise CannotTranslate(f"{what}: wanted a list of addresses, found {value!r}")
    found: dict[str, None] = {}
    for server in value:
        host = str(server)
        try:
            if not _is_address(host):
                host, port = split_host_port(host)
                if not port.isdigit() or int(port) > 65535:
                    raise ValueError
            ip_address(host)
        except (BadValue, ValueError):
            raise CannotTranslate(f"{what}: wanted ADDRESS or ADDRESS:PORT, found {server!r}") from None
        found[str(server)] = None
    if len(found) > MOST_UPSTREAMS:
        raise CannotTranslate(f"{what}: wanted {MOST_UPSTREAMS} servers at most, found {len(found)}")
    return tuple(found)


def _is_address(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True
