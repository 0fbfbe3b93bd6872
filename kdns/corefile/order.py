# -*- test-case-name: tests.corefile.test_order -*-
"""
The order of directives, which is fixed: where one stands in the Corefile does not matter.

The list is CoreDNS's whole one, plugins that kdns does not have included, so that a name from outside can be placed next to any of
them. Which plugins exist is left to their registry.
"""

from __future__ import annotations

DIRECTIVE_ORDER: tuple[str, ...] = (
    "root",
    "metadata",
    "geoip",
    "cancel",
    "proxyproto",
    "quic",
    "grpc_server",
    "https",
    "https3",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "trace",
    "ready",
    "health",
    "pprof",
    "shed",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "local",
    "dns64",
    "any",
    "chaos",
    "loadbalance",
    "tsig",
    "rewrite",
    "autopath",
    "acl",
    "cache",
    "header",
    "dnssec",
    "tls",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "kubernetes",
    "file",
    "auto",
    "secondary",
    "etcd",
    "loop",
    "forward",
    "grpc",
    "erratic",
    "whoami",
    "on",
    "sign",
    "view",
    "nomad",
)
"""All directive names; the first is outermost in the chain, and set-up and start-up go in this order too."""

OWN: frozenset[str] = frozenset(("family", "lastgood", "leakguard", "web"))
"""Directives that CoreDNS does not have; like plugins from outside, they name their place themselves."""

CONFIGURATION_ONLY: frozenset[str] = frozenset(
    (
        "root",
        "proxyproto",
        "quic",
        "grpc_server",
        "https",
        "https3",
        "timeouts",
        "multisocket",
        "reload",
        "bind",
        "debug",
        "ready",
        "health",
        "pprof",
        "web",
        "tls",
        "on",
        "sign",
    )
)
"""Directives that add no link to the chain; a block with nothing but these answers REFUSED."""

NO_SAY: frozenset[str] = frozenset(
    (
        "reload",
        "debug",
        "trace",
        "ready",
        "health",
        "pprof",
        "web",
        "prometheus",
        "errors",
        "log",
        "dnstap",
        "loadbalance",
    )
)
"""Directives that do not change what plugins after them answer: a cache stays valid with or without them."""

_RANK = {name: rank for rank, name in enumerate(DIRECTIVE_ORDER)}


def rank(name: str) -> int:
    """The position of a directive in the fixed order; names that are not in it come after all that are."""
    return _RANK.get(name, len(DIRECTIVE_ORDER))
