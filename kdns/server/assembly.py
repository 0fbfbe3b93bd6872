# -*- test-case-name: tests.server.test_assembly -*-
"""
From a Corefile to a configuration: blocks, chains, listeners, resources. Nothing is started here.

All directives of all blocks are parsed, in the fixed order of plugins, before any is built. So a fault is found before anything exists,
and building has no side effects. A caller that only checks a Corefile passes *forgive* and gets every fault; the first is the one that
would end a start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from msgspec.structs import replace as changed

from kdns.core.chain import chain
from kdns.core.request import Request
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError, Overlap, Place, SetupError
from kdns.corefile.fingerprint import fingerprint
from kdns.corefile.guesses import nearest_hint
from kdns.corefile.keys import Scheme, ServerKey, server_keys, syntax_warning
from kdns.corefile.loader import Corefile, load_file, load_text, without
from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER, NO_SAY
from kdns.corefile.overlap import Claim, check_overlaps
from kdns.corefile.parser import Forgive, Surroundings, forgive_none
from kdns.corefile.tree import ServerBlock
from kdns.plugin import registry
from kdns.plugin.seam import Block, BlockBuilder, Directive, Keeper, MetadataSource, Readiness, Resource, ServerContext
from kdns.server.addresses import server_label
from kdns.server.blocks import ServedBlock, Zones
from kdns.wire.names import longest_zone

QUIC = (Scheme.QUIC, Scheme.HTTPS3)
"""Schemes that do not exist without TLS, and need aioquic."""

ENCRYPTED = (Scheme.TLS, Scheme.HTTPS, Scheme.GRPC, *QUIC)
"""Schemes whose listeners show a certificate."""


class Endpoint(NamedTuple):
    """The address of a listener."""

    scheme: str
    address: str
    """An IP address; empty for all of them."""

    port: int

    @property
    def label(self) -> str:
        return server_label(self.scheme, self.address, self.port)


class Check(NamedTuple):
    """A check for readiness."""

    name: str
    ready: Readiness
    why: Any
    zones: str


@dataclass(slots=True)
class Configuration:
    corefile: Corefile
    builders: list[BlockBuilder] = field(default_factory=list)
    endpoints: dict[Endpoint, Zones] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    """In the order of plugins over all blocks, each once; they start in it."""

    kept: Keeper = field(default_factory=Keeper)
    places: dict[int, Place] = field(default_factory=dict)
    """Where the directive that first made a resource (by its ``id``) is."""

    claims: dict[Endpoint, Place] = field(default_factory=dict)
    """Where the first key for an endpoint is."""

    checks: list[Check] = field(default_factory=list)
    announcements: list[str] = field(default_factory=list)
    """A line for each zone and address, as they are shown at the start."""

    warnings: list[str] = field(default_factory=list)

    @property
    def debug(self) -> bool:
        """Whether a block wants debug lines (*debug*)."""
        return any(builder.debug for builder in self.builders)


Judge = Callable[[CorefileError, bool], bool]
"""
Told of a fault, and whether it came up while building, so that it depends on this machine and not on the text alone.

True goes on without what is at fault; what comes of that can be looked at, and must not be started.
"""


def no_mercy(error: CorefileError, of_machine: bool) -> bool:
    """Raise the first fault."""
    return False


def surroundings(
    environment: Mapping[str, str], forgive: Forgive = forgive_none, accept: Callable[[str], bool] = registry.accept
) -> Surroundings:
    """The context for reading a Corefile: kdns's directives and *environment*."""
    return Surroundings(DIRECTIVE_ORDER, environment, accept=accept, forgive=forgive, usable=registry.BUILT_IN)


def read(path: str | None, environment: Mapping[str, str], may_miss: Collection[str] = ()) -> Corefile:
    """
    Read a Corefile from a file.

    :param may_miss: directives that are left out where nobody has them.
    :raises CorefileError: it is none.
    """
    found = load_file(path, surroundings(environment, accept=_accepting(may_miss)))
    return without(found, [name for name in may_miss if registry.is_missing(name)])


def read_text(
    text: str,
    environment: Mapping[str, str],
    name: str = "Corefile",
    forgive: Forgive = forgive_none,
    may_miss: Collection[str] = (),
) -> Corefile:
    """
    Read a Corefile from a text.

    :param forgive: see :class:`~kdns.corefile.parser.Surroundings`.
    :param may_miss: see :func:`read`.
    :raises CorefileError: it is none.
    """
    found = load_text(text, surroundings(environment, forgive, _accepting(may_miss)), name)
    return without(found, [name for name in may_miss if registry.is_missing(name)])


def _accepting(names: Collection[str]) -> Callable[[str], bool]:
    return lambda name: name in names or registry.accept(name)


def assemble(
    corefile: Corefile, context: ServerContext, running: Keeper | None = None, forgive: Judge = no_mercy
) -> Configuration:
    """
    Build all blocks of a Corefile.

    :param running: the resources of the configuration that runs now; those that did not change are taken over.
    :param forgive: asked about each fault; the default forgives none.
    :raises CorefileError: something in it cannot be, and is not forgiven.
    """
    return _Assembly(corefile, context, Keeper(running.taken if running is not None else None), forgive).whole()


class _Assembly:
    """One Corefile while its configuration is made."""

    def __init__(self, corefile: Corefile, context: ServerContext, kept: Keeper, forgive: Judge) -> None:
        self._corefile = corefile
        self._context = context
        self._kept = kept
        self._forgive = forgive
        warnings = [f"[WARNING] {text}" for text in corefile.warnings]
        self._configuration = Configuration(corefile, kept=kept, warnings=warnings)
        self._parsed: dict[tuple[int, str], tuple[Directive, Any]] = {}
        self._shared: dict[tuple[Endpoint, str], Any] = {}
        """What server blocks set for the connections of a listener, by plugin."""

        self._secured: set[Endpoint] = set()
        """Endpoints with tls in one of their blocks, even if something about it was forgiven."""

        self._unsure: set[int] = set()
        """Numbers of blocks whose keys or addresses are not known, because something about them was forgiven."""

    def whole(self) -> Configuration:
        configuration = self._configuration
        blocks = self._parse(self._blocks())
        configuration.builders = [
            BlockBuilder(self._context, block, number, kept=self._kept) for number, block in enumerate(blocks)
        ]
        self._build()
        self._check_claims()
        self._serve()
        return configuration

    def _complain(self, error: CorefileError, place: Place | None = None, *, of_machine: bool = False) -> None:
        """
        End with *error*, unless it is forgiven.

        :param place: where it comes from, when it does not know that itself.
        """
        if error.place is None:
            error.place = place
        if not self._forgive(error, of_machine):
            raise error

    def _blocks(self) -> list[Block]:
        blocks: list[Block] = []
        for number, tree in enumerate(self._corefile.blocks):
            try:
                keys = server_keys(tree, self._context.dns_port)
            except CorefileError as error:
                self._complain(error)
                self._unsure.add(number)
                keys = server_keys(replace(tree, keys=(replace(tree.keys[0], text="."),)), self._context.dns_port)
            for key in keys:
                warning = syntax_warning(key.zone_text)
                if warning is not None:
                    self._configuration.warnings.append(warning)
            telling = {name: directive for name, directive in tree.directives.items() if name not in NO_SAY}
            same = fingerprint((replace(tree, directives=telling),))
            blocks.append(Block(keys, frozenset(tree.directives), fingerprint=same))
        return blocks

    def _parse(self, blocks: list[Block]) -> list[Block]:
        for name, directive in self._directives():
            for number, tree in enumerate(self._corefile.blocks):
                if name in tree.directives:
                    try:
                        config = directive.parse(Dispenser(tree.directives[name]), blocks[number])
                    except CorefileError as error:
                        self._complain(error, tree.directives[name].place)
                        self._leave_out(number, name)
                        continue
                    if name == "root":
                        blocks[number] = replace(blocks[number], root=str(config))
                    self._parsed[number, name] = (directive, config)
        return blocks

    def _leave_out(self, number: int, name: str) -> None:
        """Go on without a directive of a block."""
        if name in ("bind", "view"):
            self._unsure.add(number)

    def _build(self) -> None:
        configuration = self._configuration
        resources: dict[int, Resource] = {}
        for name in dict.fromkeys(name for _, name in self._parsed):
            for builder, tree in zip(configuration.builders, self._corefile.blocks, strict=True):
                if (builder.number, name) in self._parsed:
                    directive, config = self._parsed[builder.number, name]
                    place = tree.directives[name].place
                    try:
                        directive.build(config, builder)
                    except CorefileError as error:
                        self._complain(error, place, of_machine=True)
                        self._leave_out(builder.number, name)
                    for resource in builder.resources:
                        resources[id(resource)] = resource
                        configuration.places.setdefault(id(resource), place)
        configuration.resources = list(resources.values())

    def _directives(self) -> list[tuple[str, Directive]]:
        """All directives that the Corefile uses, in the order of plugins."""
        found: dict[str, Directive] = {}
        refused: set[str] = set()
        for number, tree in enumerate(self._corefile.blocks):
            for name, use in tree.directives.items():
                if name not in found and name not in refused:
                    try:
                        found[name] = registry.find(name, use.place)
                    except CorefileError as error:
                        self._complain(error)
                        refused.add(name)
                if name in refused and nearest_hint(name, ("bind", "view")):
                    self._unsure.add(number)
        return sorted(found.items(), key=lambda item: registry.order_of(*item))

    def _check_claims(self) -> None:
        configuration = self._configuration
        sure = [builder for builder in configuration.builders if builder.number not in self._unsure]
        claims = [Claim(builder.block.keys, builder.binds, bool(builder.view)) for builder in sure]
        while claims:
            try:
                check_overlaps(claims)
                break
            except Overlap as error:
                self._complain(error)
                # Looked at again without the block that came too late; another may do so, too.
                claims = [claim for claim in claims if all(key.place != error.place for key in claim.keys)]
        for builder in configuration.builders:
            if "tls" in self._corefile.blocks[builder.number].directives:
                self._secured.update(_endpoints(builder))
        for builder in sure:
            self._check_shared(builder)
            for key in builder.block.keys:
                if key.scheme in QUIC and find_spec("aioquic") is None:
                    text = f"{key.scheme.value}:// needs aioquic, which is not installed"
                    hint = "pip install 'kdns[quic]'"
                    self._complain(SetupError(text, plugin="server", place=key.place, hint=hint))

    def _check_shared(self, builder: BlockBuilder) -> None:
        """Blocks that share a listener must not set it up in two ways."""
        for endpoint, place in _endpoints(builder).items():
            scheme = Scheme(endpoint.scheme)
            wanted = {"tls": builder.tls if scheme in ENCRYPTED else None}
            wanted[_limiting(scheme)] = builder.limits.get(endpoint.scheme)
            for plugin, value in wanted.items():
                if value is not None and self._shared.setdefault((endpoint, plugin), value) != value:
                    text = f"another server block on {endpoint.label} has other settings for the same connections"
                    self._complain(SetupError(text, plugin=plugin, place=place))

    def _serve(self) -> None:
        configuration = self._configuration
        for builder, tree in zip(configuration.builders, self._corefile.blocks, strict=True):
            _serve(configuration, builder, tree)
        for endpoint, zones in configuration.endpoints.items():
            if Scheme(endpoint.scheme) not in ENCRYPTED or zones.tls is not None or endpoint in self._secured:
                continue
            if Scheme(endpoint.scheme) in QUIC:
                text = f"{endpoint.label} needs a certificate: no server block of it has tls"
                hint = "add tls CERTIFICATE KEY"
                self._complain(SetupError(text, plugin="server", place=configuration.claims[endpoint], hint=hint))
                continue
            text = f"[WARNING] {endpoint.label} is not encrypted: no server block of it has tls"
            configuration.warnings.append(text)


def _endpoints(builder: BlockBuilder) -> dict[Endpoint, Place]:
    """The endpoints of a block, each with the place of its key."""
    return {
        Endpoint(key.scheme.value, address, key.port): key.place
        for key in builder.block.keys
        for address in builder.binds or ("",)
    }


def _limiting(scheme: Scheme) -> str:
    """The plugin that sets the limits of a scheme's listeners."""
    return "grpc_server" if scheme is Scheme.GRPC else scheme.value


def _serve(configuration: Configuration, builder: BlockBuilder, tree: ServerBlock) -> None:
    block = _served(builder, list(tree.directives))
    for key in builder.block.keys:
        for address in builder.binds or ("",):
            endpoint = Endpoint(key.scheme.value, address, key.port)
            configuration.claims.setdefault(endpoint, key.place)
            zones = configuration.endpoints.setdefault(endpoint, Zones())
            zones.add(key.zone, block)
            zones.timeouts = zones.timeouts._replace(**builder.timeouts)
            zones.proxy = builder.proxy or zones.proxy
            if key.scheme in ENCRYPTED:
                zones.tls = builder.tls or zones.tls
            zones.limits = builder.limits.get(key.scheme.value, zones.limits)
            line = _announcement(key, address)
            if line not in configuration.announcements:  # blocks with views share it
                configuration.announcements.append(line)
    texts = ", ".join(key.zone_text for key in builder.block.keys)
    configuration.checks += [Check(name, ready, why, texts) for name, ready, why in builder.readiness]


def _served(builder: BlockBuilder, names: list[str]) -> ServedBlock:
    links = [name for name in names if name not in CONFIGURATION_ONLY]
    for place, link in enumerate(builder.links):
        link.placed(builder.links[place + 1 :])
    last = max(links, key=lambda name: registry.order_of(name, None), default="")
    return ServedBlock(
        chain(builder.links, last),
        empty=not links,
        observers=tuple(builder.observers),
        filters=tuple(builder.filters),
        view=builder.view,
        any_class=builder.any_class,
        shed=builder.shed,
        most_udp_size=builder.most_udp_size,
        collect=_collector(builder.collect_metadata, tuple(builder.metadata_sources)),
        links=tuple(builder.links),
        last=last,
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
