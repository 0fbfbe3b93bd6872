# -*- test-case-name: tests.corefile.test_guesses -*-
"""
Guesses at what an unknown word of a Corefile means: a misspelling, a word of old CoreDNS versions, or a plugin of another build of CoreDNS.

A start, a reload and ``kdns check`` all ask here, so they guess alike. A wrong guess costs an operator more than none.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

_KEEP = "keep CoreDNS with that plugin for the zones that need it, and forward them to it"
_DATABASE = "for a few names use hosts; else " + _KEEP
_BLOCK = "write the names into a file for hosts, with 0.0.0.0 in front of each, and `fallthrough`"
_LIMIT = "delete it: kdns bounds what waits by itself; limit clients in front of it"
_CACHE = "use cache, which is there; an external store is not needed"
_RETRY = "use `next RCODE...` in forward, with another forward after it"

EXTERNAL: dict[str, str] = {
    "alias": "write the records of the target into hosts",
    "alternate": _RETRY,
    "amazondns": "forward the zone to the resolver of the VPC, x.x.x.2",
    "blocker": _BLOCK,
    "blocklist": _BLOCK,
    "docker": _KEEP,
    "dockerdiscovery": _KEEP,
    "dump": "use log",
    "dynapi": _KEEP,
    "ebpf": "use a NetworkPolicy",
    "ens": _KEEP,
    "fallback": _RETRY,
    "fanout": "use forward, which asks one upstream after another, and leaves out those that fail health checks",
    "finalize": "delete it where clients follow CNAME records, as all stub resolvers with a recursive server do",
    "flatten": "delete it where clients follow CNAME records, as all stub resolvers with a recursive server do",
    "gathersrv": _KEEP,
    "git": "let a sidecar such as git-sync write the files",
    "gravwell": "send the lines of log there",
    "gslb": _KEEP,
    "idetcd": _DATABASE,
    "ipecho": _KEEP,
    "ipin": _KEEP,
    "json": _KEEP,
    "k8s_cache": _CACHE,
    "k8s_crd": _KEEP,
    "k8s_dns_chaos": "it makes errors for tests; delete it",
    "k8s_event": "use log and the metrics",
    "k8s_gateway": "it serves names of Ingresses, Gateways and LoadBalancers; " + _KEEP,
    "kubeforward": "forward to the Service of the cluster's DNS",
    "kubenodes": "for names of nodes use hosts; else " + _KEEP,
    "kubernetai": "write a server block for each cluster's domain, each with a kubernetes of its own",
    "lighthouse": "it serves Submariner's names; use `multicluster` of kubernetes where the MCS API is installed, else "
    + _KEEP,
    "mdns": "it needs multicast in the node's network; " + _KEEP,
    "meship": _KEEP,
    "meshname": _KEEP,
    "multicluster": "use the option `multicluster` of kubernetes",
    "mysql": _DATABASE,
    "mysql_extend": _DATABASE,
    "netbox": _DATABASE,
    "ocp_dnsnameresolver": "it is OpenShift's, for EgressFirewalls with DNS names: delete it where there are none",
    "pdsql": _DATABASE,
    "pocketbase": _DATABASE,
    "ratelimit": _LIMIT,
    "rebind": _KEEP,
    "records": "use hosts for addresses; else " + _KEEP,
    "recursor": "forward to a recursive resolver, such as Unbound",
    "redis": _DATABASE,
    "redis_cache": _CACHE,
    "redisc": _CACHE,
    "responsefilter": _KEEP,
    "rrl": _LIMIT,
    "umbrella": "forward to the service's addresses",
    "unbound": "forward to an Unbound",
    "warnlist": "use log, with `only name`",
    "wgsd": _KEEP,
}
"""Plugins that are not in CoreDNS's own builds, and what to do without them."""

OBSOLETE: dict[str, str] = {
    "proxy": "CoreDNS 1.5.0 replaced it by forward: for `proxy . 10.0.0.1` write `forward . 10.0.0.1`, with the options of forward",
    "federation": "CoreDNS 1.7.0 dropped it: delete it with its block",
    "reverse": "CoreDNS dropped it; kubernetes answers reverse names of the cluster, hosts those of its lines",
    "startup": "CoreDNS replaced it by `on startup`, which kdns does not have: use life-cycle hooks of the pod",
    "shutdown": "CoreDNS replaced it by `on shutdown`, which kdns does not have: use life-cycle hooks of the pod",
}
"""Directives of old versions of CoreDNS."""

OBSOLETE_OPTIONS: dict[tuple[str, str], str] = {
    ("kubernetes", "upstream"): "CoreDNS 1.7.0 dropped it: the server itself looks up outside names. Delete the line",
    ("kubernetes", "resyncperiod"): "CoreDNS 1.7.0 dropped it: a watch needs no resynchronization. Delete the line",
    (
        "kubernetes",
        "transfer",
    ): "CoreDNS 1.8.0 replaced it by the plugin transfer. Delete the line where nobody transfers the zone",
    (
        "kubernetes",
        "cidrs",
    ): "it is of old versions: write the networks after the zones, as in `kubernetes cluster.local 10.96.0.0/12`",
    ("forward", "protocol"): "it is of the old proxy: use force_tcp, prefer_udp, or tls:// before an address",
    ("forward", "fail_timeout"): "it is of the old proxy: upstreams are checked by health_check and max_fails",
    ("forward", "spray"): "it is of the old proxy: when all upstreams are down, one of them is asked all the same",
}
"""Options of old versions of CoreDNS, by directive and first word."""

OBSOLETE_ARGUMENTS: dict[str, str] = {
    "errors": "old versions wrote to a file; errors go to standard output now. Delete the argument",
}
"""Directives whose arguments had another meaning."""


def directive_hint(word: str, known: Iterable[str]) -> str | None:
    """
    What to do about an unknown directive.

    :param known: directives that can be used, so that no guess leads to a second refusal.
    """
    if word in OBSOLETE:
        return OBSOLETE[word]
    if word in EXTERNAL:
        return f"an external plugin of CoreDNS that kdns does not have: {EXTERNAL[word]}"
    if word.endswith("{") and word != "{":
        return "put a blank before '{'"
    return nearest_hint(word, known)


def option_hint(directive: str, word: str, known: Iterable[str]) -> str | None:
    """What to do about an unknown option of a directive."""
    return OBSOLETE_OPTIONS.get((directive, word)) or nearest_hint(word, known)


def nearest_hint(word: str, known: Iterable[str]) -> str | None:
    """
    ``did you mean 'X'?`` with the known word of which *word* is a misspelling, or None.

    Words that merely resemble each other (``redis`` and ``ready``, ratio 0.6) are no misspellings; two exchanged letters are.
    """
    if len(word) > 64:  # longer than any known name, and the comparison is quadratic
        return None
    by_folded = {name.lower(): name for name in islice(known, 1000)}
    folded = word.lower()
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.76)
    near = near or [name for name in by_folded if sorted(name) == sorted(folded)]
    return f"did you mean '{by_folded[near[0]]}'?" if near else None
