# -*- test-case-name: tests.cli.test_node_cache -*-
"""
``kdns node-cache``: the cache of one node, with the flags of NodeLocal DNSCache's ``node-cache``.

Decides what a command line says, and puts the node's resource beside the daemon's server. What that does is
:mod:`kdns.node_cache.service`'s business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from kdns.cli.flags import BadFlags, Flags, parse_flags, switch
from kdns.core.text import printable
from kdns.corefile.values import BadValue, parse_duration, split_host_port
from kdns.node_cache.config import Address, NodeCacheConfig

HELP = """\
Usage of kdns node-cache:
  -localip ADDRESSES
    \twhat pods ask, with commas in between; needed
  -conf FILE
    \twhere the Corefile is written (default: that of -corefile)
  -basecorefile FILE
    \tits template (default "/etc/coredns/Corefile.base")
  -corefile FILE
    \twhere it is written without -conf (default "/etc/Corefile")
  -kubednscm FOLDER
    \twhere the ConfigMap kube-dns is mounted (default "/etc/kube-dns", if it is there)
  -upstreamsvc NAME
    \tthe Service that is asked for names of the cluster (default "kube-dns")
  -interfacename NAME
    \tthe interface that gets the addresses (default "nodelocaldns")
  -setupinterface=false
    \tleave the interface to others
  -setupiptables=false
    \tleave the packet rules to others
  -skipteardown
    \tleave interface and packet rules at the end, for a successor
  -syncinterval SECONDS
    \tbetween two checks of the packet rules, as 60 or 1m30s (default "60")
  -metrics-listen-address ADDRESS
    \ta page with all metrics (default "0.0.0.0:9353")
  -health-port PORT
    \tof liveness probes, which are not tracked (default "8080")
  -reloadwithsignal
    \thas no effect: a Corefile that changed is always used at once
and -admin.socket, -allow-missing, -dns.port, -p, -log.format, -pidfile, -quiet, -workers as for kdns (kdns -h).
"""

KUBE_DNS = "/etc/kube-dns"
"""Where the ConfigMap is looked for when nothing was said."""

TEXTS = (
    *("localip", "basecorefile", "corefile", "kubednscm", "upstreamsvc", "interfacename"),
    *("syncinterval", "metrics-listen-address", "health-port"),
)
"""Flags with a value that only node-cache has."""

SWITCHES = ("setupinterface", "setupiptables", "skipteardown", "reloadwithsignal")


def main(arguments: Sequence[str]) -> int:
    """
    Run the command.

    :return: the exit status.
    """
    try:
        flags, config = parse(arguments)
    except BadFlags as error:
        if error.usage:
            print(f"{printable(str(error))}\n{HELP}", file=sys.stderr, end="")
            return 2
        print(f"[FATAL] Error parsing flags - {printable(str(error))}, Exiting", file=sys.stderr)
        return 1
    if config is None:
        sys.stderr.write(HELP)
        return 0
    return serve(flags, config, os.environ)


def parse(arguments: Sequence[str], folder_exists: bool | None = None) -> tuple[Flags, NodeCacheConfig | None]:
    """
    Read a command line.

    :param folder_exists: whether the default folder of the ConfigMap is there; None to look.
    :return: the flags of every server, and those of node-cache; None in their place for a call for help.
    :raises BadFlags: it cannot be understood.
    """
    own: dict[str, str] = {}
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if word.startswith("-") and name in TEXTS:
            if not equals:
                if not words:
                    raise BadFlags(f"flag needs an argument: -{name}")
                value = words.pop(0)
            own[name] = value
        elif word.startswith("-") and name in SWITCHES:
            own[name] = value if equals else "true"
        else:
            rest.append(word)
    flags = parse_flags(rest)
    if flags.help:
        return flags, None
    switches = {name: switch(name, own[name]) for name in SWITCHES if name in own}
    if folder_exists is None:
        folder_exists = os.path.isdir(KUBE_DNS)
    host, port = _host_and_port(own.get("metrics-listen-address", "0.0.0.0:9353"))
    default = NodeCacheConfig(())
    return flags, NodeCacheConfig(
        _addresses(own.get("localip", "")),
        corefile=flags.conf or own.get("corefile", default.corefile),
        template=own.get("basecorefile", default.template),
        kube_dns=own.get("kubednscm") or (KUBE_DNS if folder_exists else ""),
        upstream_service=own.get("upstreamsvc", default.upstream_service),
        interface=own.get("interfacename", default.interface),
        setup_interface=switches.get("setupinterface", True),
        setup_rules=switches.get("setupiptables", True),
        skip_teardown=switches.get("skipteardown", False),
        interval=_seconds(own.get("syncinterval", "60")),
        metrics_host=host,
        metrics_port=port,
        port=flags.port,
        health_port=_port(own.get("health-port", "8080"), "healthcheck port"),
    )


def _addresses(text: str) -> tuple[Address, ...]:
    found = []
    for word in text.split(","):
        try:
            found.append(ip_address(word))
        except ValueError:
            raise BadFlags(f'invalid localip specified - "{word}"', usage=False) from None
    return tuple(dict.fromkeys(found))


def _port(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not 0 < int(text) < 65536:
        raise BadFlags(f'invalid {what} specified - "{text}"', usage=False)
    return int(text)


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        host, port = split_host_port(text)
    except BadValue as error:
        raise BadFlags(f"invalid metrics listen address - {error}", usage=False) from None
    return host, _port(port, "metrics port")


def _seconds(text: str) -> float:
    """A number without a unit is seconds; node-cache multiplies what it reads by a second, so that only ``60ns`` means 60 seconds there."""
    try:
        seconds = parse_duration(f"{text}s" if text.isascii() and text.isdigit() else text)
    except BadValue as error:
        raise BadFlags(f'invalid value "{text}" for flag -syncinterval: {error}') from None
    if seconds < 1:
        raise BadFlags(f'invalid value "{text}" for flag -syncinterval: wanted at least 1 second')
    return seconds


def serve(flags: Flags, config: NodeCacheConfig, environment: Mapping[str, str]) -> int:
    """Serve until a signal ends it."""
    from kdns.cli.main import prepare, run_daemon

    prepare()
    from kdns.checking.faults import why_no_start
    from kdns.corefile.errors import CorefileError
    from kdns.corefile.loader import Corefile
    from kdns.node_cache.corefile import NodeCorefile
    from kdns.node_cache.device import Device
    from kdns.node_cache.netlink import NetlinkProcess
    from kdns.node_cache.programs import run
    from kdns.node_cache.service import NodeCache
    from kdns.server.assembly import read_text
    from kdns.tap.daemon import Daemon

    def parse_corefile(text: str, name: str) -> Corefile:
        return read_text(text, environment, name, may_miss=flags.may_miss)

    def explain(error: CorefileError) -> str:
        if not corefile.text:
            return error.advice()
        lines = why_no_start(
            error, config.corefile, environment, dns_port=config.port, text=corefile.text, may_miss=flags.may_miss
        )
        return "\n".join(lines)

    def leave(status: int) -> None:
        for node in nodes:
            node.remove_all()
        os._exit(status)

    def attach(daemon: Daemon) -> None:
        device = Device(config.interface, config.addresses, NetlinkProcess(run)) if config.setup_interface else None
        nodes.append(NodeCache(daemon.context, config, corefile, device, run if config.setup_rules else None))
        daemon.server.permanent += nodes

    nodes: list[NodeCache] = []
    corefile = NodeCorefile(config, environment, parse_corefile)
    # Two of them share the ports during an update, as two of node-cache do.
    return run_daemon(flags, corefile.load, explain, take_over=True, leave=leave, attach=attach)
