# -*- test-case-name: tests.node_cache.test_template -*-
"""The Corefile of a node: the template of NodeLocal DNSCache, with its variables replaced and a block for each stub domain."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kdns.corefile.kube_dns import KubeDnsSettings

CLUSTER_DNS = "__PILLAR__CLUSTER__DNS__"
LOCAL_DNS = "__PILLAR__LOCAL__DNS__"
DNS_SERVER = "__PILLAR__DNS__SERVER__"
UPSTREAM_SERVERS = "__PILLAR__UPSTREAM__SERVERS__"

NODE_RESOLVERS = "/etc/resolv.conf"
"""What stands for the upstream servers when the ConfigMap names none."""

_OVER_TCP = re.compile(rf"(forward\s+\.\s+){UPSTREAM_SERVERS}[ \t]*\{{\s*force_tcp\s*\}}")
_VARIABLE = re.compile(r"__PILLAR__\w+?__(?![A-Z])")

STALE = "serve_stale 1h verify 1s 5s 5s"
"""
Added to each ``cache`` that says nothing of it: while the cluster's DNS is away, answers that expired an hour ago at most are served
after a second of waiting. *verify*, because names of a cluster change: an expired answer is never served while the upstream gives a newer
one.
"""

_CACHE = re.compile(r"^([ \t]*)cache\b([^\n{}#]*?)[ \t]*(\{[^{}]*\})?[ \t]*$", re.MULTILINE)

STUB = """\
{domain}:{port} {{
    errors
    cache 30 {{
        {stale}
    }}
    bind {addresses}
    forward . {servers}
}}
"""


class BadTemplate(Exception):
    """A template that no Corefile can be made of."""


def corefile_text(
    template: str, settings: KubeDnsSettings, *, addresses: Sequence[str], cluster_dns: str, variable: str, port: int
) -> str:
    """
    The text of the Corefile.

    :param addresses: what pods ask.
    :param cluster_dns: address of the Service that is asked for names of the cluster; empty when it is not known.
    :param variable: the environment variable that *cluster_dns* comes from.
    :param port: of DNS.
    :raises BadTemplate: a variable cannot be replaced.
    """
    if CLUSTER_DNS in template and not cluster_dns:
        raise BadTemplate(
            f"{CLUSTER_DNS} stands for the address of the upstream Service, wanted in the environment as {variable}, found nothing;"
            " create the Service before the pod, and name it with -upstreamsvc"
        )
    servers = " ".join(settings.upstreams)
    if servers:
        # The resolvers of a company often have no TCP; those of the node are asked as the template says.
        template = _OVER_TCP.sub(lambda found: found[1] + servers, template)
    values = {
        CLUSTER_DNS: cluster_dns,
        LOCAL_DNS: " ".join(addresses),
        DNS_SERVER: "",
        UPSTREAM_SERVERS: servers or NODE_RESOLVERS,
    }
    for name, value in values.items():
        template = template.replace(name, value)
    left = _VARIABLE.search(template)
    if left is not None:
        raise BadTemplate(f"{left[0]} is replaced when the manifest is installed, and still stands in the template")
    template = _CACHE.sub(_with_stale, template)
    stubs = [
        STUB.format(domain=domain, port=port, addresses=values[LOCAL_DNS], stale=STALE, servers=" ".join(wanted))
        for domain, wanted in sorted(settings.stub_domains.items())
    ]
    return "\n".join((template.rstrip("\n"), *stubs)) if stubs else template


def _with_stale(found: re.Match[str]) -> str:
    indent, arguments, block = found[1], found[2], found[3] or "{\n" + found[1] + "}"
    if "serve_stale" in block:
        return found[0]
    return f"{indent}cache{arguments} {{\n{indent}    {STALE}{block[1:]}"
