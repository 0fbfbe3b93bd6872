# -*- test-case-name: tests.plugin.test_registry -*-
"""
Which directives there are, where they are implemented, and in which order they stand.

A plugin's module is imported when a Corefile first uses it, so a small configuration stays a small process. A directive that is not
kdns's own is looked for among the entry points of installed packages (group ``kdns.plugins``), and then as a dotted name.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from kdns.corefile.errors import Place, SetupError
from kdns.corefile.order import DIRECTIVE_ORDER, rank
from kdns.plugin.seam import Directive

ENTRY_POINTS = "kdns.plugins"
"""The group of entry points that makes a plugin known by a short name."""

BUILT_IN = {
    "root": "kdns.plugins.root",
    "metadata": "kdns.plugins.metadata",
    "geoip": "kdns.plugins.geoip",
    "cancel": "kdns.plugins.cancel",
    "quic": "kdns.plugins.quic",
    "grpc_server": "kdns.plugins.grpc_server",
    "https": "kdns.plugins.https",
    "https3": "kdns.plugins.https3",
    "timeouts": "kdns.plugins.timeouts",
    "multisocket": "kdns.plugins.multisocket",
    "reload": "kdns.plugins.reload",
    "nsid": "kdns.plugins.nsid",
    "bufsize": "kdns.plugins.bufsize",
    "bind": "kdns.plugins.bind",
    "debug": "kdns.plugins.debug",
    "trace": "kdns.plugins.trace",
    "ready": "kdns.plugins.ready",
    "shed": "kdns.plugins.shed",
    "proxyproto": "kdns.plugins.proxyproto",
    "health": "kdns.plugins.health",
    "pprof": "kdns.plugins.pprof",
    "prometheus": "kdns.plugins.prometheus",
    "web": "kdns.plugins.web",
    "errors": "kdns.plugins.errors",
    "log": "kdns.plugins.log",
    "dnstap": "kdns.plugins.dnstap",
    "local": "kdns.plugins.local",
    "dns64": "kdns.plugins.dns64",
    "any": "kdns.plugins.any",
    "chaos": "kdns.plugins.chaos",
    "loadbalance": "kdns.plugins.loadbalance",
    "tsig": "kdns.plugins.tsig",
    "rewrite": "kdns.plugins.rewrite",
    "autopath": "kdns.plugins.autopath",
    "acl": "kdns.plugins.acl",
    "family": "kdns.plugins.family",
    "cache": "kdns.plugins.cache",
    "header": "kdns.plugins.header",
    "dnssec": "kdns.plugins.dnssec.config",
    "tls": "kdns.plugins.tls",
    "minimal": "kdns.plugins.minimal",
    "template": "kdns.plugins.template",
    "transfer": "kdns.plugins.transfer",
    "hosts": "kdns.plugins.hosts",
    "route53": "kdns.plugins.route53",
    "azure": "kdns.plugins.azure",
    "clouddns": "kdns.plugins.clouddns",
    "k8s_external": "kdns.plugins.k8s_external",
    "kubernetes": "kdns.plugins.kubernetes",
    "file": "kdns.plugins.file",
    "auto": "kdns.plugins.auto",
    "secondary": "kdns.plugins.secondary",
    "etcd": "kdns.plugins.etcd",
    "lastgood": "kdns.plugins.lastgood",
    "leakguard": "kdns.plugins.leakguard",
    "loop": "kdns.plugins.loop",
    "forward": "kdns.plugins.forward",
    "grpc": "kdns.plugins.grpc",
    "erratic": "kdns.plugins.erratic",
    "whoami": "kdns.plugins.whoami",
    "on": "kdns.plugins.on",
    "sign": "kdns.plugins.sign.config",
    "view": "kdns.plugins.view",
    "nomad": "kdns.plugins.nomad",
}
"""Module of each directive that kdns has; it holds the :class:`~kdns.plugin.seam.Directive` as ``directive``."""

DEFAULT_PLACE = "loop"
"""A foreign plugin without a place goes in front of this one: behind cache and cluster, before the upstreams."""


class MissingPlugin(SetupError):
    """kdns does not have the plugin."""


def accept(name: str) -> bool:
    """Whether *name*, which is not a directive of CoreDNS, is a plugin; :func:`find` raises if it cannot be used."""
    try:
        return name in BUILT_IN or _foreign(name) is not None
    except Exception:
        return True


def is_missing(name: str) -> bool:
    """Whether neither kdns nor an installed package has the directive."""
    return name not in BUILT_IN and (name in DIRECTIVE_ORDER or not accept(name))


def foreign_names() -> list[str]:
    """Names of plugins in installed packages."""
    return [point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in BUILT_IN]


def find(name: str, place: Place) -> Directive:
    """
    The directive of that name.

    :param place: where it is used, for the error.
    :raises SetupError: CoreDNS has it and kdns does not, or it cannot be imported.
    """
    module = BUILT_IN.get(name)
    if module is not None:
        directive: Directive = import_module(module).directive
        return directive
    if name in DIRECTIVE_ORDER:
        text = f"kdns does not have this plugin of CoreDNS yet; those it has: {', '.join(BUILT_IN)}"
        raise MissingPlugin(text, plugin=name, place=place)
    try:
        foreign = _foreign(name)
    except Exception as error:
        text = f"the plugin cannot be imported: {type(error).__name__}: {error}"
        raise SetupError(text, plugin=name, place=place) from error
    if foreign is None:
        raise MissingPlugin("no such plugin can be imported", plugin=name, place=place)
    if isinstance(foreign, type):
        foreign = foreign()
    missing = [method for method in ("parse", "build") if not callable(getattr(foreign, method, None))]
    if missing:
        raise SetupError(f"{foreign!r} is no plugin: it has no {' and no '.join(missing)}", plugin=name, place=place)
    found: Directive = foreign
    return found


def order_of(name: str, directive: Any) -> tuple[int, int, str]:
    """
    A key that sorts directives into their order; lower is further out.

    A foreign plugin names its place with an attribute ``before`` or ``after`` that holds the name of a directive.
    """
    if name in DIRECTIVE_ORDER:
        return (rank(name), 0, name)
    before, after = getattr(directive, "before", None), getattr(directive, "after", None)
    if after is not None:
        return (rank(after), 1, name)
    return (rank(before or DEFAULT_PLACE), -1, name)


def _foreign(name: str) -> Any:
    """
    The object that a name outside kdns stands for; None when there is none.

    Whatever the import raises goes through, unless it is that there is no such module.
    """
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.load()
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    module = _module(name)
    if module is not None:
        return getattr(module, "directive", None)
    return getattr(_module(".".join(parts[:-1])), parts[-1], None)


def _module(name: str) -> Any:
    """The module of that name; None when there is none."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # A module that exists but misses another one is a broken plugin, not an unknown name.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise
