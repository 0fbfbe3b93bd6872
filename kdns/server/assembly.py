# -*- test-case-name: tests.server.test_assembly -*-
"""
From a Corefile to a configuration that could be served: blocks, chains, listeners, resources. Nothing is started here.

All directives of all blocks are parsed, in the fixed order of plugins, before any is built. So the first thing that is wrong is found
before anything exists, and building has no effect but in the values returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from msgspec.structs import replace as changed

from kdns.core.chain import chain
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import Place, SetupError
from kdns.corefile.fingerprint import fingerprint
from kdns.corefile.keys import Scheme, ServerKey, server_keys, syntax_warning
from kdns.corefile.loader import Corefile, load_file, load_text
from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER, NO_SAY
from kdns.corefile.overlap import Claim, check_overlaps
from kdns.corefile.parser import Surroundings
from kdns.plugins import registry
from kdns.plugins.seam import Block, Directive, House, Keeper, MetadataSource, Readiness, Resource, Site
from kdns.server.addresses import server_label
from kdns.server.blocks import ServedBlock, Zones
from kdns.wire.names import longest_zone


class Endpoint(NamedTuple):
    """What a listener is bound to."""

    scheme: str
    address: str
    """An IP address; empty for all of them."""

    port: int

    @property
    def label(self) -> str:
        """As metrics name it."""
        return server_label(self.scheme, self.address, self.port)


class Check(NamedTuple):
    """A plugin's say in readiness."""

    name: str
    ready: Readiness
    why: Any
    zones: str


@dataclass(slots=True)
class Configuration:
    """A whole Corefile, ready to be started."""

    corefile: Corefile
    sites: list[Site] = field(default_factory=list)
    endpoints: dict[Endpoint, Zones] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    """In the order of plugins over all blocks, each once; they start in it."""

    kept: Keeper = field(default_factory=Keeper)
    places: dict[int, Place] = field(default_factory=dict)
    """Where the directive stands that a resource (by its ``id``) came from first."""

    claims: dict[Endpoint, Place] = field(default_factory=dict)
    """Where the first key stands that wants an endpoint."""

    checks: list[Check] = field(default_factory=list)
    announcements: list[str] = field(default_factory=list)
    """A line for each zone and address, as they are shown at the start."""

    warnings: list[str] = field(default_factory=list)


def surroundings(environment: Mapping[str, str]) -> Surroundings:
    """What a Corefile is read against: kdns's directives and *environment*."""
    return Surroundings(known=DIRECTIVE_ORDER, environment=environment, accept=registry.accept)


def read(path: str | None, environment: Mapping[str, str]) -> Corefile:
    """
    Read a Corefile from a file.

    :raises CorefileError: it is none.
    """
    return load_file(path, surroundings(environment))


def read_text(text: str, environment: Mapping[str, str], name: str = "Corefile") -> Corefile:
    """
    Read a Corefile from a text.

    :raises CorefileError: it is none.
    """
    return load_text(text, surroundings(environment), name)


def assemble(corefile: Corefile, house: House, running: Keeper | None = None) -> Configuration:
    """
    Build all blocks of a Corefile.

    :param running: the resources of the configuration that runs now; those that did not change are taken over.
    :raises CorefileError: something in it cannot be.
    """
    kept = Keeper(running.taken if running is not None else None)
    warnings = [f"[WARNING] {text}" for text in corefile.warnings]
    configuration = Configuration(corefile, kept=kept, warnings=warnings)
    parsed: dict[tuple[int, str], tuple[Directive, Any]] = {}
    blocks: list[Block] = []
    for tree in corefile.blocks:
        keys = server_keys(tree, house.dns_port)
        for key in keys:
            warning = syntax_warning(key.zone_text)
            if warning is not None:
                configuration.warnings.append(warning)
        telling = {name: directive for name, directive in tree.directives.items() if name not in NO_SAY}
        same = fingerprint((replace(tree, directives=telling),))
        blocks.append(Block(keys, frozenset(tree.directives), fingerprint=same))
    for name, directive in _directives(corefile):
        for number, tree in enumerate(corefile.blocks):
            if name in tree.directives:
                config = directive.parse(Dispenser(tree.directives[name]), blocks[number])
                if name == "root":
                    blocks[number] = replace(blocks[number], root=str(config))
                parsed[number, name] = (directive, config)
    configuration.sites = [Site(house, block, number, kept=kept) for number, block in enumerate(blocks)]
    resources: dict[int, Resource] = {}
    for name in dict.fromkeys(name for _, name in parsed):
        for site in configuration.sites:
            if (site.number, name) in parsed:
                directive, config = parsed[site.number, name]
                place = corefile.blocks[site.number].directives[name].place
                try:
                    directive.build(config, site)
                except SetupError as error:
                    error.place = error.place or place
                    raise
                for resource in site.resources:
                    resources[id(resource)] = resource
                    configuration.places.setdefault(id(resource), place)
    configuration.resources = list(resources.values())
    _check_claims(configuration)
    _serve(configuration)
    return configuration


def _directives(corefile: Corefile) -> list[tuple[str, Directive]]:
    """All directives that the Corefile uses, in the order of plugins."""
    found: dict[str, Directive] = {}
    for tree in corefile.blocks:
        for name, use in tree.directives.items():
            if name not in found:
                found[name] = registry.find(name, use.place)
    return sorted(found.items(), key=lambda item: registry.order_of(*item))


def _check_claims(configuration: Configuration) -> None:
    check_overlaps(Claim(site.block.keys, site.binds, bool(site.view)) for site in configuration.sites)
    for site in configuration.sites:
        for key in site.block.keys:
            if key.scheme is not Scheme.DNS:
                text = f"kdns does not serve {key.scheme.value}:// yet"
                raise SetupError(text, plugin="server", place=key.place)


def _serve(configuration: Configuration) -> None:
    for site, tree in zip(configuration.sites, configuration.corefile.blocks, strict=True):
        block = _served(site, list(tree.directives))
        for key in site.block.keys:
            for address in site.binds or ("",):
                endpoint = Endpoint(key.scheme.value, address, key.port)
                configuration.claims.setdefault(endpoint, key.place)
                configuration.endpoints.setdefault(endpoint, Zones()).add(key.zone, block)
                configuration.announcements.append(_announcement(key, address))
        zones = ", ".join(key.zone_text for key in site.block.keys)
        configuration.checks += [Check(name, ready, why, zones) for name, ready, why in site.readiness]


def _served(site: Site, names: list[str]) -> ServedBlock:
    links = [name for name in names if name not in CONFIGURATION_ONLY]
    last = max(links, key=lambda name: registry.order_of(name, None), default="")
    return ServedBlock(
        chain(site.links, last),
        empty=not links,
        observers=tuple(site.observers),
        filters=tuple(site.filters),
        view=site.view,
        any_class=site.any_class,
        collect=_collector(site.collect_metadata, tuple(site.metadata_sources)),
        links=tuple(site.links),
    )


def _collector(zones: tuple[bytes, ...] | None, sources: tuple[MetadataSource, ...]) -> Any:
    """A function that adds metadata to requests in *zones*; None when the block collects none."""
    if zones is None:
        return None
    inside = frozenset(zones)

    def collect(request: Request) -> Request:
        if longest_zone(request.qname, inside) is None:
            return request
        asked = changed(request, metadata={})
        told = [source(asked) for source in sources]
        return changed(asked, for_client=True) if any(told) else asked

    return collect


def _announcement(key: ServerKey, address: str) -> str:
    return f"{key} on {address}" if address else str(key)
