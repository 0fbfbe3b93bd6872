# -*- test-case-name: tests.checking.test_syntax -*-
"""
The syntax and the defaults of every directive, for messages, and a Corefile written out with all of them.

A plugin decides what its directive takes; here it is written down for the operator. A test compares this with the plugins' pages, and has
the plugins read every default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Scheme
from kdns.corefile.lexer import Token
from kdns.corefile.printer import format_word
from kdns.corefile.tree import Directive
from kdns.plugin import registry
from kdns.plugin.seam import Block
from kdns.server.assembly import Configuration

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
    "geoip": Syntax("geoip DATABASE", (), _options("edns-subnet")),
    "cancel": Syntax("cancel [DURATION]", ("5.001s",)),
    "https": Syntax("https", (), _options(("max_connections N", "max_connections 200"))),
    "https3": Syntax(
        "https3", (), _options(("max_streams N", "max_streams 256"), ("max_connections N", "max_connections 200"))
    ),
    "quic": Syntax(
        "quic",
        (),
        _options(
            ("max_streams N", "max_streams 256"),
            ("worker_pool_size N", "worker_pool_size 1024"),
            ("max_connections N", "max_connections 200"),
        ),
    ),
    "grpc_server": Syntax(
        "grpc_server",
        (),
        _options(("max_streams N", "max_streams 256"), ("max_connections N", "max_connections 200")),
    ),
    "grpc": Syntax(
        "grpc FROM TO...",
        (),
        _options(
            "except NAMES...",
            "tls [CERT KEY] [CA]",
            "tls_servername NAME",
            ("policy random|round_robin|sequential", "policy random"),
            "fallthrough [ZONES...]",
        ),
    ),
    "tls": Syntax("tls CERTIFICATE KEY [AUTHORITY]", (), _options("client_auth MODE", "keylog FILE")),
    "timeouts": Syntax("timeouts", (), _options("read DURATION", "write DURATION", "idle DURATION", "maxtcpqueries N")),
    "multisocket": Syntax("multisocket [N]"),
    "nsid": Syntax("nsid [TEXT...]"),
    "bufsize": Syntax("bufsize [SIZE]", ("1232",)),
    "local": Syntax("local", (), _options(("localhost_prefix on|off", "localhost_prefix on"))),
    "any": Syntax("any"),
    "chaos": Syntax("chaos [VERSION] [AUTHORS...]"),
    "dnssec": Syntax(
        "dnssec [ZONES...]", (ZONES,), _options("key file BASE...", ("cache_capacity NUMBER", "cache_capacity 10000"))
    ),
    "tsig": Syntax(
        "tsig [ZONES...]",
        (ZONES,),
        _options("secret NAME SECRET", "secrets FILE", "require TYPE...|all|none", "require_opcode OPCODE...|all|none"),
    ),
    "header": Syntax("header", (), _options("query|response set|clear FLAG...")),
    "minimal": Syntax("minimal"),
    "erratic": Syntax("erratic", (), _options("drop [N]", "truncate [N]", "delay [N [DURATION]]", "large")),
    "reload": Syntax("reload [INTERVAL] [JITTER]", ("30s", "15s")),
    "bind": Syntax("bind ADDRESS|INTERFACE...", (), _options("except ADDRESS|INTERFACE...")),
    "debug": Syntax("debug"),
    "trace": Syntax(
        "trace [TYPE] [ENDPOINT]",
        (),
        _options(
            ("every N", "every 1"),
            ("service NAME", "service coredns"),
            "client_server [BOOL]",
            "datadog_analytics_rate RATE",
            ("zipkin_max_backlog_size SPANS", "zipkin_max_backlog_size 1000"),
            ("zipkin_max_batch_size SPANS", "zipkin_max_batch_size 100"),
            ("zipkin_max_batch_interval DURATION", "zipkin_max_batch_interval 1s"),
        ),
    ),
    "ready": Syntax(
        "ready [ADDRESS]", (":8181",), _options(("monitor until-ready|continuously", "monitor until-ready"))
    ),
    "health": Syntax("health [ADDRESS]", (":8080",), _options(("lameduck DURATION", "lameduck 0s"))),
    "shed": Syntax("shed"),
    "proxyproto": Syntax(
        "proxyproto",
        (),
        _options("allow NETWORKS...", "default use|ignore|reject|skip", "udp_session_tracking DURATION [SESSIONS]"),
    ),
    "family": Syntax("family ipv4|ipv6"),
    "lastgood": Syntax("lastgood ZONES..."),
    "leakguard": Syntax("leakguard [ZONES...]", (), _options("allow ZONES...")),
    "web": Syntax("web [ADDRESS]", ("localhost:9154",)),
    "pprof": Syntax("pprof [ADDRESS]", ("localhost:6053",), _options("block [RATE]")),
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
    "dnstap": Syntax(
        "dnstap [listen] ENDPOINT [full] [WRITEBUF] [QUEUE]",
        (),
        _options(
            "identity IDENTITY", "version VERSION", "extra FORMAT", "tls CERTIFICATE KEY [AUTHORITY]", "skipverify"
        ),
    ),
    "dns64": Syntax("dns64 [PREFIX]", ("64:ff9b::/96",), _options("prefix PREFIX", "translate_all", "allow_ipv4")),
    "loadbalance": Syntax(
        "loadbalance [round_robin | weighted FILE]", ("round_robin",), _options("reload DURATION", "prefer CIDR...")
    ),
    "rewrite": Syntax("rewrite [continue|stop] FIELD ARGUMENTS..."),
    "autopath": Syntax("autopath [ZONES...] FILE|@PLUGIN"),
    "acl": Syntax("acl [ZONES...]", (ZONES,), _options("ACTION [type TYPES...] [net NETWORKS...]")),
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
    "template": Syntax(
        "template CLASS TYPE [ZONES...]",
        (),
        _options(
            "match RE...",
            "answer TEXT...",
            "additional TEXT...",
            "authority TEXT...",
            ("rcode CODE", "rcode NOERROR"),
            "ederror NUMBER [TEXT]",
            "var NAME EXPRESSION",
            "expr EXPRESSION",
            "fallthrough [ZONES...]",
            "upstream",
        ),
    ),
    "transfer": Syntax("transfer [ZONES...]", (ZONES,), _options("to ADDRESS|* [ADDRESS...]", "source ADDRESS")),
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
    "k8s_external": Syntax(
        "k8s_external [ZONES...]",
        (ZONES,),
        _options(("apex LABEL", "apex dns"), ("ttl SECONDS", "ttl 5"), "headless", "fallthrough [ZONES...]"),
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
    "route53": Syntax(
        "route53 ZONE:HOSTED_ZONE_ID...",
        (),
        _options(
            "aws_access_key ID SECRET",
            "aws_endpoint URL",
            "credentials PROFILE [FILE]",
            ("refresh DURATION", "refresh 1m"),
            "fallthrough [ZONES...]",
            "upstream",
        ),
    ),
    "azure": Syntax(
        "azure GROUP:ZONE...",
        (),
        _options(
            "tenant ID",
            "client ID",
            "secret SECRET",
            "subscription ID",
            ("environment NAME", "environment AZUREPUBLICCLOUD"),
            ("access public|private", "access public"),
            "fallthrough [ZONES...]",
        ),
    ),
    "clouddns": Syntax(
        "clouddns ZONE:PROJECT:MANAGED_ZONE...",
        (),
        _options("credentials FILE", "fallthrough [ZONES...]", "upstream"),
    ),
    "file": Syntax(
        "file DBFILE [ZONES...]",
        (),
        _options(("reload DURATION", "reload 1m"), "reload_by_mtime", "fallthrough [ZONES...]"),
    ),
    "auto": Syntax(
        "auto [ZONES...]",
        (ZONES,),
        _options("directory DIR [REGEXP ORIGIN_TEMPLATE]", ("reload DURATION", "reload 60s")),
    ),
    "secondary": Syntax(
        "secondary [ZONES...]",
        (ZONES,),
        _options("transfer from ADDRESS [ADDRESS...]", "catalog [ZONES...]", "fallthrough [ZONES...]"),
    ),
    "etcd": Syntax(
        "etcd [ZONES...]",
        (ZONES,),
        _options(
            ("path PATH", "path /skydns"),
            ("endpoint URL...", "endpoint http://localhost:2379"),
            "credentials USER PASSWORD",
            "tls [CERT KEY] [CA]",
            ("min-lease-ttl DURATION", "min-lease-ttl 30s"),
            ("max-lease-ttl DURATION", "max-lease-ttl 24h"),
            "fallthrough [ZONES...]",
            "stubzones",
            "debug",
            "upstream",
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
    "on": Syntax("on EVENT COMMAND..."),
    "sign": Syntax(
        "sign DBFILE [ZONES...]",
        (ZONES,),
        _options("key file BASE...", ("directory DIRECTORY", "directory /var/lib/coredns")),
    ),
    "nomad": Syntax(
        "nomad [ZONE]",
        ("service.nomad",),
        _options("address URL...", "token TOKEN", "filter EXPRESSION", ("ttl SECONDS", "ttl 30")),
    ),
    "view": Syntax("view NAME", (), _options("expr EXPRESSION")),
}
"""By directive."""


# A Corefile with everything written out

INDENT = "    "
DEFAULT = "# default"

REPEATED = frozenset(
    ("azure", "bind", "clouddns", "errors", "file", "hosts", "log", "route53", "secondary", "sign", "transfer")
)
"""Directives that add up, or whose options are lines of data: nothing is written into them but what stands there."""


def effective(configuration: Configuration) -> str:
    """
    The Corefile that a configuration amounts to: imports and environment resolved, plugins in the order of the chain, and every default
    written out with a comment that says so. It means the same; a test has the plugins read both.
    """
    blocks = []
    for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True):
        keys = ", ".join(_key(key.scheme, key.zone_text, key.port) for key in builder.block.keys)
        uses = sorted(
            tree.directives.values(), key=lambda use: registry.order_of(use.name, registry.find(use.name, use.place))
        )
        lines = [f"# {tree.place}", f"{keys} {{"]
        for use in uses:
            lines += [INDENT + line for line in _directive(use, builder.block)]
        blocks.append("\n".join([*lines, "}"]) + "\n")
    return "\n".join(blocks)


def _key(scheme: Scheme, zone: str, port: int) -> str:
    prefix = "" if scheme is Scheme.DNS else f"{scheme.value}://"
    return format_word(f"{prefix}{zone}:{port}")


def _directive(use: Directive, block: Block) -> Iterator[str]:
    """The lines of all uses of a directive in a block."""
    uses = _uses(use.tokens)
    syntax = SYNTAX.get(use.name)
    for head, options in uses:
        added: list[str] = []
        words = [format_word(token.text) for token in head]
        comment = ""
        if syntax is not None:
            if len(head) == 1 and syntax.default:
                words += _zones(syntax.default, block)
                comment = f"  {DEFAULT}"
            if use.name == "forward" or (use.name not in REPEATED and len(uses) == 1):
                added = list(_added(use, {line[0].text for line in options}, syntax.options, block))
        lines = [" ".join(format_word(token.text) for token in line) for line in options]
        lines += [f"{line}  {DEFAULT}" for line in added]
        if lines:
            yield f"{' '.join(words)} {{{comment}"
            yield from (INDENT + line for line in lines)
            yield "}"
        else:
            yield " ".join(words) + comment


def _zones(default: tuple[str, ...], block: Block) -> Iterator[str]:
    for word in default:
        if word == ZONES:
            yield from (format_word(key.zone_text) for key in block.keys)
        else:
            yield format_word(word)


def _uses(tokens: tuple[Token, ...]) -> list[tuple[list[Token], list[list[Token]]]]:
    """Each use of a directive: the words of its first line, and its option lines."""
    found: list[tuple[list[Token], list[list[Token]]]] = []
    inside = False
    for token in tokens:
        if inside:
            if token.text == "}":
                inside = False
            elif token.starts_line or not found[-1][1]:
                found[-1][1].append([token])
            else:
                found[-1][1][-1].append(token)
        elif token.text == "{" and found and not token.starts_line:
            inside = True
        elif token.starts_line or not found:
            found.append(([token], []))
        else:
            found[-1][0].append(token)
    return found


def _added(use: Directive, written: set[str], options: Mapping[str, Option], block: Block) -> Iterator[str]:
    """Lines that say what options mean that are not written."""
    if use.name == "cache":
        config = registry.find(use.name, use.place).parse(Dispenser(use), block)
        for kind, limits in (("success", config.success), ("denial", config.denial)):
            if kind not in written:
                yield f"{kind} {limits.entries} {limits.most_ttl} {limits.least_ttl}"
    for name, option in options.items():
        if option.default and name not in written:
            yield option.default
