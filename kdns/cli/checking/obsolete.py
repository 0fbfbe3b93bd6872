# -*- test-case-name: tests.cli.checking.test_obsolete -*-
"""
What old Corefiles say that nobody understands any more, and what to write in its place.

CoreDNS dropped directives and options over the years; a Corefile that was never touched since may still have them.
"""

from __future__ import annotations

DIRECTIVES: dict[str, str] = {
    "proxy": "CoreDNS 1.5.0 replaced it by forward: for `proxy . 10.0.0.1` write `forward . 10.0.0.1`, with the options of forward.",
    "federation": "CoreDNS 1.7.0 dropped it: delete it with its block.",
    "reverse": "CoreDNS dropped it; kubernetes answers reverse names of the cluster, hosts those of its lines.",
    "startup": "CoreDNS replaced it by `on startup`, which kdns does not have: use life-cycle hooks of the pod.",
    "shutdown": "CoreDNS replaced it by `on shutdown`, which kdns does not have: use life-cycle hooks of the pod.",
}
"""Directives that CoreDNS does not know either."""

OPTIONS: dict[tuple[str, str], str] = {
    (
        "kubernetes",
        "upstream",
    ): "CoreDNS 1.7.0 dropped it: names outside are looked up by the server itself. Delete the line.",
    ("kubernetes", "resyncperiod"): "CoreDNS 1.7.0 dropped it: a watch needs no resynchronization. Delete the line.",
    ("kubernetes", "transfer"): (
        "CoreDNS 1.8.0 replaced it by the plugin transfer, which kdns does not have yet. Delete the line where nobody transfers the zone."
    ),
    ("kubernetes", "cidrs"): (
        "It is of old versions: put the networks behind the zones, as in `kubernetes cluster.local 10.96.0.0/12`."
    ),
    ("forward", "protocol"): "It is of the old proxy: use force_tcp, prefer_udp, or tls:// before an address.",
    ("forward", "fail_timeout"): "It is of the old proxy: upstreams are checked by health_check and max_fails.",
    ("forward", "spray"): "It is of the old proxy: when all upstreams are down one of them is tried anyway.",
}
"""Options by directive and first word."""

ARGUMENTS: dict[str, str] = {
    "errors": "Old versions wrote to a file; errors go to standard output now. Delete the argument.",
}
"""Arguments of directives that were other ones once."""

DEFAULTS: tuple[tuple[str, str, str], ...] = (
    ("ready", " since 1.5.0", "without it nothing answers the readiness probe"),
    ("loop", " since 1.2.1", "without it queries that come back from an upstream go round until they time out"),
    ("reload", "", "without it an edited Corefile is taken over only by SIGUSR1 or a restart"),
)
"""Directives that the default Corefile of clusters has, since when, and what it means to lack them in a block with ``kubernetes``."""
