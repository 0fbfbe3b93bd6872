# -*- test-case-name: tests.cli.checking.test_syntax -*-
"""
The syntax of every directive that kdns has, line by line, and what is meant where a line is left out.

What a directive takes is decided by its plugin; here it is written down for who is to be told. A test compares it with the plugins' pages,
and has the plugins read every default that stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ZONES = "ZONES"
"""A default: the zones of the server block."""


@dataclass(frozen=True, slots=True)
class Option:
    """
    A line of an option block.

    :ivar usage: its forms.
    :ivar default: what it says where it is left out; empty when there is no line that says it.
    """

    usage: tuple[str, ...]
    default: str = ""


@dataclass(frozen=True, slots=True)
class Syntax:
    """
    A directive.

    :ivar usage: its first line, without the brace.
    :ivar default: its arguments where it has none; :data:`ZONES` stands for those of the server block.
    :ivar options: by first word, in the order of the page.
    """

    usage: str
    default: tuple[str, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)


def _options(*lines: str | tuple[str, str]) -> dict[str, Option]:
    """Options by their first word; a pair is a usage and the default line."""
    found: dict[str, Option] = {}
    for line in lines:
        usage, default = (line, "") if isinstance(line, str) else line
        word = usage.split()[0]
        words = word.split("|") if word.islower() else [word]
        for one in words:
            before = found.get(one, Option(()))
            found[one] = Option((*before.usage, usage), before.default or default)
    return found


SYNTAX: dict[str, Syntax] = {
    "root": Syntax("root PATH"),
    "metadata": Syntax("metadata [ZONES...]", (ZONES,)),
    "reload": Syntax("reload [INTERVAL] [JITTER]", ("30s", "15s")),
    "bind": Syntax("bind ADDRESS|INTERFACE...", (), _options("except ADDRESS|INTERFACE...")),
    "debug": Syntax("debug"),
    "ready": Syntax(
        "ready [ADDRESS]", (":8181",), _options(("monitor until-ready|continuously", "monitor until-ready"))
    ),
    "health": Syntax("health [ADDRESS]", (":8080",), _options(("lameduck DURATION", "lameduck 0s"))),
    "prometheus": Syntax("prometheus [ADDRESS]", ("localhost:9153",), _options("runtime_metrics", "tls FILE")),
    "errors": Syntax(
        "errors [stdout]",
        ("stdout",),
        _options("stacktrace", "consolidate DURATION REGEXP [LEVEL] [show_first]", "budget LINES"),
    ),
    "log": Syntax(
        "log [NAMES...] [FORMAT]",
        (".",),
        _options(
            ("class CLASSES...", "class all"),
            "format text|json",
            "only|except name NAMES...",
            "only|except client NETWORKS...",
            "only|except rcode RCODES...",
            "slower DURATION",
            "sample N [DURATION]",
            "budget LINES",
        ),
    ),
    "loadbalance": Syntax(
        "loadbalance [round_robin | weighted FILE]", ("round_robin",), _options("reload DURATION", "prefer CIDR...")
    ),
    "cache": Syntax(
        "cache [TTL] [ZONES...]",
        (),
        _options(
            "success CAPACITY [TTL] [MINTTL]",
            "denial CAPACITY [TTL] [MINTTL]",
            "prefetch AMOUNT [DURATION] [PERCENTAGE%]",
            "serve_stale [DURATION] [immediate [RESPONSE_TTL [RECHECK]]]",
            "serve_stale DURATION verify [TIMEOUT [RESPONSE_TTL [RECHECK]]]",
            "serve_stale_policy prefer_positive",
            ("servfail DURATION", "servfail 5s"),
            "disable success|denial [ZONES...]",
            "keepttl",
            "size SIZE",
        ),
    ),
    "hosts": Syntax(
        "hosts [FILE [ZONES...]]",
        ("/etc/hosts", ZONES),
        _options(
            "ADDRESS NAMES...",
            ("ttl SECONDS", "ttl 3600"),
            "no_reverse",
            ("reload DURATION", "reload 5s"),
            "fallthrough [ZONES...]",
            "fallthrough_unsupported",
        ),
    ),
    "kubernetes": Syntax(
        "kubernetes [ZONES...]",
        (ZONES,),
        _options(
            "endpoint URL",
            "tls CERT KEY CACERT",
            "kubeconfig FILE [CONTEXT]",
            "apiserver_qps N",
            "apiserver_burst N",
            ("apiserver_max_inflight N", "apiserver_max_inflight 0"),
            "namespaces NAMESPACE...",
            "namespace_labels SELECTOR",
            "labels SELECTOR",
            ("pods disabled|insecure|verified", "pods disabled"),
            "endpoint_pod_names",
            ("ttl SECONDS", "ttl 5"),
            "noendpoints",
            "fallthrough [ZONES...]",
            "ignore empty_service",
            "multicluster [ZONES...]",
            "zonal",
            ("startup_timeout DURATION", "startup_timeout 5s"),
            "manifests PATH...",
            "snapshot FILE",
        ),
    ),
    "loop": Syntax("loop [exit]"),
    "forward": Syntax(
        "forward FROM TO...",
        (),
        _options(
            "except NAMES...",
            "force_tcp",
            "prefer_udp",
            ("expire DURATION", "expire 10s"),
            ("max_age DURATION", "max_age 0"),
            ("max_idle_conns N", "max_idle_conns 0"),
            ("read_timeout DURATION", "read_timeout 2s"),
            ("max_fails N", "max_fails 2"),
            "max_connect_attempts N",
            ("health_check DURATION [no_rec] [domain NAME]", "health_check 500ms domain ."),
            ("policy random|round_robin|sequential", "policy random"),
            ("max_concurrent N", "max_concurrent 0"),
            "next RCODE...",
            "next_on_nodata",
            "failover RCODE...",
            "failfast_all_unhealthy_upstreams",
            "tls [CERT KEY] [CA]",
            "tls_servername NAME",
            ("doh_method GET|POST", "doh_method POST"),
            "source_address IP",
            "resolver IP[:PORT]...",
        ),
    ),
    "whoami": Syntax("whoami"),
}
"""By directive."""
