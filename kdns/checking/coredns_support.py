# -*- test-case-name: tests.checking.test_coredns_support -*-
"""
How each directive of CoreDNS stands in kdns: the one place from which notes, advice and ``docs/compatibility.md`` are made.

A test compares it with the registry of plugins and with the page. The plugins' pages and ``standards.md`` say exactly what differs; here it
is one sentence each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kdns.corefile.guesses import EXTERNAL, OBSOLETE, OBSOLETE_OPTIONS
from kdns.corefile.order import DIRECTIVE_ORDER

PAGE = "docs/compatibility.md"
"""Where an operator reads more."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    A directive; kdns has all of them.

    :ivar differences: a sentence each; of the directive as a whole, whatever its options.
    :ivar options: sentences about options that differ, or that kdns alone has, by the words that their lines begin with.
    """

    differences: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def standing(self) -> str:
        """The word in the table."""
        return "differs" if self.differences or self.options else "same"


def _same() -> Row:
    return Row()


def _differs(*differences: str, options: Mapping[str, str] | None = None) -> Row:
    return Row(differences, options or {})


_OWN = "It is kdns's own, CoreDNS refuses it"
KEEP = "Keep CoreDNS for the zones that need it, and forward them to it."

ROWS: dict[str, Row] = {
    "root": _same(),
    "metadata": _same(),
    "geoip": _differs(
        "It needs `pip install 'kdns[geoip]'`.",
        "The database is read again when its file changes.",
        "A client subnet option with the prefix 0 says nothing of the client; one whose labels were read comes back with its scope.",
    ),
    "cancel": _differs("Every query has 4.8 seconds in kdns, so that only a shorter time has an effect."),
    "proxyproto": _differs(
        "The policy holds for all keys of the server block, not the first alone.",
        "A client over IPv4 is one over IPv4, also behind a proxy over UDP.",
        "Broken headers over UDP are counted, and logged once for ten times as many.",
    ),
    "quic": _differs(
        "It needs `pip install 'kdns[quic]'`.",
        "Replies are not cut to the client's UDP size, and early data is refused.",
        "With too many connections the one that asked least lately is closed; CoreDNS closes new ones.",
        "A query without a reply has its stream reset; CoreDNS leaves it open.",
        options={"max_connections": "The number of connections, 200 by default; CoreDNS has no option for it."},
    ),
    "grpc_server": _differs(
        "With too many connections the one that asked least lately is closed; CoreDNS lets new ones wait.",
        "A query without a reply has the status UNAVAILABLE; CoreDNS returns the query.",
        "Zones are not transferred over gRPC.",
    ),
    "https": _differs(
        "With too many connections the one that asked least lately is closed; CoreDNS lets new ones wait.",
        "Zones are not transferred over HTTPS.",
    ),
    "https3": _differs(
        "It needs `pip install 'kdns[quic]'`.",
        "Replies are not cut to the client's UDP size, and early data is refused.",
        "With too many connections the one that asked least lately is closed; CoreDNS closes new ones.",
    ),
    "timeouts": _same(),
    "multisocket": _differs("It starts worker processes, at most one a core; a reload does not change their number."),
    "reload": _differs(
        "A reload keeps the watch of the cluster, upstreams with their health and an unchanged cache; CoreDNS starts all of them again.",
        "A Corefile that does not parse counts in coredns_reload_failed_total, too.",
        "With different times in several blocks each of them checks; CoreDNS takes the last.",
    ),
    "nsid": _differs("Replies to queries that failed have the identifier, too."),
    "bufsize": _same(),
    "bind": _differs("Names that stand for no address are an error; CoreDNS then listens on all addresses."),
    "debug": _differs("An exception is always answered with SERVFAIL and logged; it never ends the process."),
    "trace": _differs(
        "The type otlp sends spans to OpenTelemetry collectors; datadog is refused, since its agent takes OpenTelemetry.",
        "Spans show how long a query waited for a server block, and replies that were repeated have a span table.",
        "Identifiers of traces that clients send are not taken over.",
        options={
            "datadog_analytics_rate": "It has no effect, as in CoreDNS where the type is zipkin.",
            "client_server": "It has no effect, since no client's span is known.",
        },
    ),
    "ready": _differs(
        "Every plugin of every block is waited for; in CoreDNS a plugin in a later block hides the same one in an earlier block.",
        "It says no during lameduck, after a failed reload as well; /ready/why says what is waited for.",
    ),
    "health": _differs("The page stays open through reloads, and takes 100 connections at a time."),
    "pprof": _differs(
        "The profiles are of Python functions and objects; there are pages for profile, heap, allocs, goroutine and cmdline.",
        options={"block": "It has no effect: Python knows nothing of the kind."},
    ),
    "shed": _differs(
        "Replies never wait in kdns: what is dropped are queries over UDP that would have to wait where too many wait already.",
        "coredns_shed_dropped_total has the reason query alone; kdns_udp_send_errors_total counts replies that the kernel does not take.",
    ),
    "prometheus": _differs(
        "The label plugin of coredns_dns_responses_total names the plugin that answered; CoreDNS names the one behind prometheus.",
        "Metrics of the runtime are python_* in place of go_*, and goversion holds the version of Python.",
        options={"runtime_metrics": "Adds metrics of Python, not of Go."},
    ),
    "errors": _differs(
        "Expressions see the first 4096 characters of a text; pending sums are printed at the end.",
        "It prints 100 lines a second at most, and says how many failures it did not show.",
        options={
            "stacktrace": "It has no effect: an exception is always logged with where it happened.",
            "budget": f"{_OWN}: how many lines a second are printed.",
        },
    ),
    "log": _differs(
        "{size} is the length of the query as it was received.",
        "Lines that the output does not take in time are dropped and counted; DNS never waits for the log.",
        options={
            "format": f"{_OWN}: how lines look.",
            "only": f"{_OWN}: which replies have a line.",
            "except": f"{_OWN}: which replies have none.",
            "slower": f"{_OWN}: only what took long has a line.",
            "sample": f"{_OWN}: one of so many replies has a line.",
            "budget": f"{_OWN}: how many lines a second are printed.",
        },
    ),
    "dnstap": _differs(
        "Replies that no plugin made are told, too, and each attempt of forward with its own time, identifier and address.",
        "Messages never hold up a query: they wait in a queue, or are dropped and counted.",
        options={"tls": "A tls:// listener without it is an error."},
    ),
    "local": _differs("Names between a reverse zone and its PTR record exist, as RFC 8020 says."),
    "dns64": _differs(
        "A name without IPv4 addresses keeps its own reply to AAAA, response code and all; CoreDNS says NOERROR.",
        "Queries with DO and CD are left alone.",
        options={"translate_all": "A name that has IPv6 addresses alone keeps them; in CoreDNS it loses them."},
    ),
    "any": _same(),
    "chaos": _differs("Without words it names kdns."),
    "loadbalance": _differs(
        "A shuffled order is turned round, so that each address comes first equally often.",
        "In replies of upstreams only addresses of one name and type change places.",
    ),
    "tsig": _differs(
        "Key names are compared without letter case, and replies over all transports are signed.",
        "A reply over UDP that does not fit with its signature is truncated; CoreDNS sends it whole.",
        "Keys are those of the same server block; in CoreDNS all server blocks of a listener share them.",
        "Errors at the start give their reason, and a secret that is not base64 is one.",
    ),
    "rewrite": _differs(
        "The question of a reply is always the client's own; behind continue rules CoreDNS shows the rewritten one.",
        "A client without an OPT gets none for the sake of an option; options and payload size are the client's own.",
        "ttl leaves the OPT record alone; each rcode rule is tried once; answer auto and cname compare without letter case.",
        "append adds no second option of a code; after revert the client's own option is there again.",
    ),
    "autopath": _differs(
        "A pod's path is walked only while the watch of pods works, and not where pods of several namespaces share the address.",
        "The question of a reply is spelled as the client spelled it, and an alias that is there already is not made twice.",
        "A folder in place of FILE is an error.",
    ),
    "acl": _differs("The Extended DNS Error of a refusal goes only to clients that sent an OPT."),
    "cache": _differs(
        "An answer made from the cluster or a hosts file leaves the cache with the change of what it was made from, whatever its TTL.",
        "Entries that were used lately are kept, where CoreDNS evicts at random; bytes are bounded as well as entries.",
        "A name of the cluster that does not exist comes into the cache when it is asked for the second time.",
        options={
            "serve_stale": "Stale replies carry an Extended DNS Error, for clients that sent an OPT.",
            "size": f"{_OWN}: the memory of the cache.",
        },
    ),
    "header": _differs("Replies to queries that failed keep the client's RD."),
    "dnssec": _differs(
        "An NSEC record lists every type that a name might have; one that denies DS has NS only at a delegation.",
        "Referrals, and aliases to names without records, have a proof that validates.",
        "A set of records is signed once, whatever its order, its TTL and the letter case of its name.",
        "Without a key nothing is changed. A key must belong to its private key; keys are not read from AWS.",
    ),
    "tls": _differs(
        "Renewed files are read without a reload; what cannot be used changes nothing.",
        "The server blocks of one listener must have the same tls, or none; in CoreDNS it is chance which one counts.",
        "The form with acme is refused: kdns does not get certificates itself.",
    ),
    "minimal": _differs("EDNS options of the reply, such as an Extended DNS Error, are kept."),
    "template": _differs(
        "A text without a record adds none; CoreDNS says SERVFAIL or nothing.",
        "There is one reply for each query, with every rcode, and an OPT only for clients that sent one.",
        "A CNAME that leads back to itself ends; CoreDNS follows it until the process dies.",
        "The templates of a reply may take 2,000 steps, a record has at most 4,096 bytes of text; $INCLUDE and $GENERATE are refused.",
    ),
    "transfer": _differs(
        "An IXFR is answered with what changed, where kdns has seen the changes.",
        "A reverse zone of kubernetes is sent with its PTR records, and a name below a zone is REFUSED.",
    ),
    "hosts": _differs("What was learnt from the file leaves every cache with the file's next change."),
    "route53": _differs(
        "An API that is away neither delays a start for long nor fails it.",
        "A zone needs no final dot, and escapes in names and texts are decoded.",
        "Profiles with roles, single sign-on or programs are not followed.",
    ),
    "azure": _differs(
        "A zone that cannot be read keeps its last version, and an API that is away neither delays a start for long nor fails it.",
        "CAA records are served.",
    ),
    "clouddns": _differs(
        "A record set that cannot be read is left out alone, and an API that is away neither delays a start for long nor fails it.",
        options={"credentials": "Files of the types external_account and impersonated_service_account are refused."},
    ),
    "k8s_external": _differs(
        "Until the cluster is known, names that are not known are SERVFAIL, not NXDOMAIN.",
        "A host name of a load balancer is one CNAME, however many ports and names there are; a service with addresses has none.",
        "PTR targets are in the first zone that is no reverse zone, and only services of exposed namespaces have them.",
    ),
    "kubernetes": _differs(
        "A name that exists without records of its own (svc, a namespace, the apex) is NODATA for TXT, not NXDOMAIN.",
        "in-addr.arpa and ip6.arpa are reverse zones: PTR targets never end in them, but in cluster.local where no other zone is named.",
        "EndpointSlices of type FQDN, or without the label that names their service, are ignored.",
        "The last slice of a service that still exists is dropped half a second after its deletion.",
        options={
            "pods verified": "All addresses of a pod count, not the first alone.",
            "apiserver_qps": "It has an effect; in CoreDNS 1.14 it has none.",
            "apiserver_burst": "It has an effect; in CoreDNS 1.14 it has none.",
            "apiserver_max_inflight": "It has an effect; in CoreDNS 1.14 it has none.",
            "manifests": f"{_OWN}: the cluster is read from files.",
            "snapshot": f"{_OWN}: the cluster is kept on disk.",
        },
    ),
    "file": _differs(
        "The SOA of a negative answer has the lower of its TTL and its last number.",
        "Zones with NSEC3 and zones with serial 0 are served.",
        "Records outside the zone are left out, and equal ones are there once.",
        options={"reload_by_mtime": "The file is read when it changed; CoreDNS reads it each time."},
    ),
    "auto": _differs(
        "Zones are in lower case, and names that begin with .. are left out, so that the files of a ConfigMap are found once.",
        "NOTIFY is sent for zones that changed, not for all after each look.",
    ),
    "secondary": _differs(
        "What changed is asked for first (IXFR).",
        "An error from a primary is a failure, and an expired zone is served again when a primary confirms its serial.",
    ),
    "etcd": _differs(
        "Keys are read once and watched: a change is visible at the next query, and names are answered while etcd is away.",
        "A value that cannot be read takes no other name along.",
        "A name that exists is NODATA for CNAME, PTR, NS and SOA, not NXDOMAIN or the SOA of the zone.",
        "Transfers are refused, and so is a second etcd in a server block.",
        "etcd may be away at the start.",
        options={"stubzones": "It has no effect, in CoreDNS neither: write a server block with forward for each."},
    ),
    "loop": _differs(
        "It takes the one upstream that loops out of use and goes on; CoreDNS ends the process, and so does `loop exit` here.",
    ),
    "forward": _differs(
        "Queries over UDP are spread at random over sockets that are replaced all the time, and identical ones in flight are asked once.",
        "The OPT that goes upstream is kdns's own, with the client's subnet; other options are not passed on.",
        "A resolv.conf is read again when it changes.",
        "Upstreams are asked over QUIC, too (quic://).",
        options={"next": "Without a later forward that fits, the reply stands."},
    ),
    "grpc": _differs(
        "An upstream that fails is checked, and not asked until it answers; identical queries in flight are asked once.",
        "The OPT that goes upstream is kdns's own, with the client's subnet; other options are not passed on.",
        "A scheme other than grpc:// is an error.",
    ),
    "erratic": _same(),
    "whoami": _same(),
    "on": _differs(
        "Programs are started only if the command line says -allow-programs; a Corefile with it is refused otherwise.",
        "A reload starts those of startup again only if they changed. certrenew never happens.",
    ),
    "sign": _differs(
        "A change of the zone file is signed within a minute, and another key at the reload.",
        "Files of more than 100 records are signed when it is time to; CoreDNS signs them every five hours.",
        "A key must be given. Several zones in one line have keys of their own names.",
    ),
    "view": _differs(
        "server_ip() is the address that the query was sent to, also where kdns listens on all addresses.",
        "metadata() sees the labels of its own server block alone.",
        "An expression that takes too much work is not true.",
    ),
    "nomad": _differs(
        "Nomad is asked once for each service and change, not for each query.",
        "Negative answers have the SOA of the zone, a name that exists is NODATA, and an error of Nomad is one SERVFAIL.",
        "While Nomad is away, its last answers are given.",
    ),
}
"""By directive; every one of :data:`~kdns.corefile.order.DIRECTIVE_ORDER`, in its order."""


def table() -> str:
    """The table of the page."""
    lines = ["| Directive | In kdns | What is different |", "|---|---|---|"]
    lines += [
        f"| [`{name}`](plugins/{name}.md) | {ROWS[name].standing} | {' '.join(_sentences(ROWS[name]))} |"
        for name in DIRECTIVE_ORDER
    ]
    return "\n".join(lines) + "\n"


def old_words() -> str:
    """The table of the page with words of old Corefiles."""
    words = {f"`{name}`": text for name, text in OBSOLETE.items()}
    words |= {f"`{name}` `{option}`": text for (name, option), text in OBSOLETE_OPTIONS.items()}
    return _two_columns("Directive or option", "What became of it", words)


def external() -> str:
    """The table of the page with plugins of other builds of CoreDNS."""
    return _two_columns("Plugin", "Without it", {f"`{name}`": text for name, text in EXTERNAL.items()})


def _two_columns(left: str, right: str, rows: Mapping[str, str]) -> str:
    lines = (f"| {name} | {text[0].upper()}{text[1:]}. |" for name, text in rows.items())
    return "\n".join((f"| {left} | {right} |", "|---|---|", *lines)) + "\n"


def _sentences(row: Row) -> Iterator[str]:
    yield from (text.replace("|", r"\|") for text in row.differences)
    yield from (f"`{option}`: {text}" for option, text in row.options.items())
