# -*- test-case-name: tests.cli.test_translate -*-
"""
``kdns translate``: the ConfigMap of kube-dns as a Corefile.

Each stub domain becomes a server block that forwards to its servers; domains with the same servers share a block. Upstream name servers
replace those of the node. Federations do not exist any more and are named on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from kdns.core.text import printable, reason_of
from kdns.corefile.kube_dns import KEYS, BadSettings, read_settings

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
    except BadSettings as error:
        stderr.write(f"kdns translate: {printable(str(error))}\n")
        return CANNOT
    stdout.write(corefile)
    for line in left:
        stderr.write(f"{printable(line)}\n")
    return FINE


def data_of(text: str) -> Mapping[str, str]:
    """
    The keys of the ConfigMap.

    :raises BadSettings: it is none.
    """
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadSettings(f"wanted a ConfigMap, found no YAML: {error}") from None
    if not isinstance(document, Mapping) or document.get("kind") != "ConfigMap":
        raise BadSettings("wanted a ConfigMap, found something else")
    data = document.get("data") or {}
    if not isinstance(data, Mapping) or not all(isinstance(value, str) for value in data.values()):
        raise BadSettings(f"data: wanted texts by key, found {data!r}")
    return {str(key): value for key, value in data.items()}


def corefile_for(data: Mapping[str, str]) -> tuple[str, list[str]]:
    """
    The Corefile, and lines about what of the ConfigMap is not in it.

    :raises BadSettings: a key does not hold what kube-dns wants in it.
    """
    settings = read_settings(data)
    blocks: dict[tuple[str, ...], list[str]] = {}
    for domain, servers in settings.stub_domains.items():
        blocks.setdefault(servers, []).append(f"{domain}:53")
    stubs = (STUB.format(keys=", ".join(keys), servers=" ".join(servers)) for servers, keys in blocks.items())
    forward = " ".join(settings.upstreams) or "/etc/resolv.conf"
    left = [f"{key}: there is no such thing any more; it is left out" for key in data if key not in KEYS]
    return "".join(stubs) + MAIN.format(upstreams=forward), left
