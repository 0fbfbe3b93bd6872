# -*- test-case-name: tests.plugin.test_seam -*-
"""
The seam between a plugin and the server: what a directive of the Corefile becomes, and what it may use.

A plugin is a :class:`Directive`: it parses its tokens into one frozen value (no sockets, no timers, nothing of the world), and later
builds itself from that value on a :class:`BlockBuilder`, the server block under construction. What it contributes there is a link of the
chain, an observer, something to start and stop (:class:`Resource`), a say in readiness, or metadata.

All directives of a Corefile are parsed before any is built, and all are built before anything starts. So a bad configuration changes
nothing, and :meth:`BlockBuilder.keep` can hand a new configuration the very watch or cache that the old one ran, when nothing about it
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import Random, SystemRandom
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kdns.core.chain import Link
from kdns.core.deferred_free import DeferredFree
from kdns.core.degraded import DegradedStates
from kdns.core.metrics import Counter, Registry
from kdns.core.observe import Observer
from kdns.core.request import Request
from kdns.core.tally import TallyBook
from kdns.core.validity import EVERY_QUERY, Varies
from kdns.plugin.proxied import ProxyPolicy
from kdns.plugin.turns import TurnQueue

if TYPE_CHECKING:
    from kdns.corefile.dispenser import Dispenser
    from kdns.corefile.errors import Place
    from kdns.corefile.keys import ServerKey


class Resource:
    """
    Background work of a plugin: a watch, a health check, an HTTP page. Override the methods it needs.

    A resource belongs to the service, not to the plugin: the service starts it once, and stops it when no configuration uses it any more.

    :cvar at_parent: with several worker processes, whether their parent runs it in their place: HTTP pages, watches, timers of reloads.
    """

    at_parent = False

    def start(self) -> Deferred[None] | None:
        """Start. DNS sockets are opened when the Deferreds of all resources have fired; a failure fails the configuration."""

    def set_checks(self, checks: Sequence[Any]) -> None:
        """Called before the start with the checks for readiness: objects with ``name``, ``ready``, ``why`` and ``zones``."""

    def serving(self) -> None:
        """Called once, when queries are answered with the first configuration that has the resource."""

    def leave(self) -> Deferred[None] | None:
        """The process will end and still answers; the Deferred delays the end (``lameduck``)."""

    def stop(self) -> Deferred[None] | None:
        """Stop; work in flight is cancelled, and nothing is left when the Deferred fires."""


class Unavailable(Exception):
    """
    The machine cannot provide what a configuration needs, mostly a port. The text is for the operator; a traceback would not help.
    """

    place: Place | None = None
    """Where the Corefile asks for it."""


def _machine_addresses() -> Sequence[str]:
    from kdns.plugin.interfaces import machine_addresses  # bind needs this module

    return machine_addresses()


Output = Callable[[str], None]
"""Takes one line for the operator, without its line end."""


def log_fatal(text: str) -> None:
    """The default ``ServerContext.fatal``: log it. An embedding program goes on."""
    Logger(namespace="kdns").critical("{text}", text=text)


@dataclass(slots=True)
class ServerContext:
    """Shared by all blocks and all configurations of one service."""

    reactor: Any
    """Twisted's reactor, or one of :mod:`kdns.testing`; its type depends on which interfaces a plugin needs."""

    clock: Callable[[], float] = monotonic
    """Seconds of a clock that never goes back: ages, deadlines."""

    wall: Callable[[], float] = time
    """Seconds since 1970: serials, dates."""

    random: Random = field(default_factory=SystemRandom)
    registry: Registry = field(default_factory=Registry)
    tallies: TallyBook = field(default_factory=TallyBook)
    degraded: DegradedStates = field(default_factory=DegradedStates)
    """Faults that persist: the code that notices one begins a state, and ends it when it works again."""

    deferred_free: DeferredFree = field(default_factory=DeferredFree)
    """Takes large tables that are not used any more; the service lets go of them."""

    output: Output = print
    """Where query log lines go; everything else is logged through :class:`twisted.logger.Logger`."""

    log_format: str = "text"
    """How the process prints lines: ``text`` or ``json``."""

    environ: Mapping[str, str] = field(default_factory=dict)
    own_addresses: Callable[[], Sequence[str]] = _machine_addresses
    """The machine's addresses without those of the loopback, asked for at the start of a configuration."""

    kernel_sockets: bool = True
    """Whether *reactor* watches this machine's descriptors; one whose network is in memory does not."""

    turns: TurnQueue = field(init=False)
    """What all connections of clients wait in: one deadline for a turn of the reactor, whatever they speak."""

    share_ports: bool = False
    """Whether ports may be shared with another process: this one takes over from it. See :mod:`kdns.plugin.listening`."""

    programs: bool = False
    """Whether a Corefile may have programs started (``on``)."""

    parent: Any = None
    """In a worker process: :class:`kdns.workers.worker.Worker`, which talks to the parent; None in every other process."""

    processes: int = 1
    """How many worker processes share the limits of this machine and the ports of the server."""

    combined: Callable[[bool], Deferred[Registry]] | None = None
    """In the parent of workers: what they and it counted, summed up or, when true, each with a label ``worker``; else None."""

    dns_port: int = 53
    fatal: Callable[[str], None] = log_fatal
    """Ends the process with status 1 after printing the text, which begins with ``plugin/NAME: ``, behind ``[FATAL] ``."""

    ask: Callable[[str, Mapping[str, Any]], Deferred[Any]] | None = None
    """
    Runs a command of the admin socket by name with its arguments; fires with the result, a dict for JSON. None where there are no commands.

    Only for pages that show something: nothing of the network may choose the command.
    """

    check_reload: Callable[[], None] = lambda: None
    """Looks whether the Corefile changed; the service sets it."""

    sample: Callable[[bytes, bytes, str, int], None] | None = None
    """
    Told of some finished replies: query bytes behind the identifier, reply bytes behind the identifier, the client's address, and how
    many queries it stands for.
    """

    refused: Callable[[str], None] = lambda client: None
    """Told of each query that was refused because its client has had its share."""

    def __post_init__(self) -> None:
        self.turns = TurnQueue(self.reactor, self.clock)


class StreamTimeouts(NamedTuple):
    """Timeouts of a listener's connections in seconds, and limits on their queries (``timeouts``)."""

    read: float = 3.0
    """Until the first query has come whole."""

    write: float = 5.0
    """In which a client takes at least some of what was sent."""

    idle: float = 10.0
    """Between queries."""

    queries: int = 0
    """Queries of one connection, which is then closed; 0: no limit."""


class ConnectionLimits(NamedTuple):
    """What the clients of an encrypted listener may hold at a time (``https``, ``https3``, ``quic``, ``grpc_server``)."""

    connections: int = 200
    """Connections of the listener; 0: as many as the process may have."""

    streams: int = 256
    """Queries in flight on one connection; 0: the default."""

    workers: int = 1024
    """Queries in flight over all connections of the listener."""


@dataclass(frozen=True, slots=True)
class Block:
    """A server block, while a directive parses."""

    keys: tuple[ServerKey, ...]
    directives: frozenset[str]
    """Names of all directives in the block."""

    root: str = ""
    """Base of relative paths (``root``); empty means the working directory."""

    fingerprint: str = ""
    """Equal for blocks with the same keys and the same directives that affect answers; empty when unknown."""

    @property
    def zones(self) -> tuple[bytes, ...]:
        """The zones of all keys: the default zones of a plugin."""
        return tuple(dict.fromkeys(key.zone for key in self.keys))


class Filter(NamedTuple):
    passes: Callable[[Request], bool]
    varies: Varies


class Keeper:
    def __init__(self, running: Mapping[Hashable, tuple[Hashable, Resource]] | None = None) -> None:
        self._running = dict(running or {})
        self.taken: dict[Hashable, tuple[Hashable, Resource]] = {}

    def take(self, key: Hashable, config: Hashable, make: Callable[[], Resource]) -> Resource:
        for known in (self.taken, self._running):
            if key in known and known[key][0] == config:
                self.taken[key] = known[key]
                return known[key][1]
        resource = make()
        self.taken[key] = (config, resource)
        return resource


ResourceT = TypeVar("ResourceT", bound=Resource)
T = TypeVar("T")

MetadataSource = Callable[[Request], bool | None]
"""Puts its values into ``request.metadata`` before the chain is asked; true when they tell things of this very client."""

Readiness = Callable[[], bool]


@dataclass(slots=True)
class BlockBuilder:
    """A server block under construction."""

    context: ServerContext
    block: Block
    number: int
    """The block's place in the Corefile, from 0."""

    links: list[Link] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    metadata_sources: list[MetadataSource] = field(default_factory=list)
    readiness: list[tuple[str, Readiness, Callable[[], str]]] = field(default_factory=list)
    binds: tuple[str, ...] = ()
    """Addresses to listen on; empty means all (``bind``)."""

    collect_metadata: tuple[bytes, ...] | None = None
    """Zones for which metadata is collected; None means none (``metadata``)."""

    any_class: bool = False
    """Whether the block's listener takes classes other than IN."""

    timeouts: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`StreamTimeouts` that the block sets for its listeners."""

    shed: Callable[[str], Counter] | None = None
    """The counter of queries that are dropped, by listener, where they are dropped and not refused under overload (``shed``)."""

    proxy: ProxyPolicy | None = None
    """What clients may say about who they are, on all listeners of the block (``proxyproto``)."""

    tls: Any = None
    """What makes connections to the block's encrypted listeners secure, an IOpenSSLServerConnectionCreator (``tls``)."""

    limits: dict[str, ConnectionLimits] = field(default_factory=dict)
    """Limits of the block's encrypted listeners, by the scheme of their server keys."""

    most_udp_size: int = 0
    """UDP payload size that clients are lowered to, in bytes; 0: no limit (``bufsize``)."""

    view: str = ""
    filters: list[Filter] = field(default_factory=list)

    debug: bool = False
    kept: Keeper = field(default_factory=Keeper)

    def link(self, link: Link) -> None:
        """Add a link behind the present ones."""
        self.links.append(link)

    def observe(self, observer: Observer) -> None:
        """Call *observer* for every finished reply of this block."""
        self.observers.append(observer)

    def filter(self, passes: Callable[[Request], bool], varies: Varies = EVERY_QUERY) -> None:
        """
        Take only requests that *passes* says yes to; the others go to the next block of the zone (``view``).

        :param varies: what, besides the question, *passes* depends on.
        """
        self.filters.append(Filter(passes, varies))

    def run(self, resource: ResourceT) -> ResourceT:
        """Start *resource* with this configuration and stop it with it."""
        self.resources.append(resource)
        return resource

    def keep(self, key: Hashable, config: Hashable, make: Callable[[], ResourceT]) -> ResourceT:
        """
        Run the resource of *key*: the one that runs already when it was made from an equal *config*, else a new one.

        Blocks that ask for the same key and config share one.
        """
        resource = cast("ResourceT", self.kept.take(key, config, make))
        if resource not in self.resources:
            self.resources.append(resource)
        return resource

    def ready_when(self, name: str, check: Readiness, why: Callable[[], str] = lambda: "") -> None:
        """Take part in ``/ready``: *check* tells whether the plugin is ready, and *why* what it waits for."""
        self.readiness.append((name, check, why))

    def metadata_from(self, source: MetadataSource) -> None:
        """Take metadata from *source* when the block collects metadata."""
        self.metadata_sources.append(source)

    def own_addresses(self) -> tuple[bytes, ...]:
        """The packed addresses at which clients reach this block: those it is bound to, else all of the machine."""
        return tuple(ip_address(text).packed for text in self.binds or self.context.own_addresses())

    def find(self, kind: type[T]) -> T | None:
        """The first link of a kind, or with a capability (:mod:`kdns.plugin.capabilities`), among those built so far."""
        return next((link for link in self.links if isinstance(link, kind)), None)


class Directive(Protocol):
    name: str

    def parse(self, tokens: Dispenser, block: Block) -> Any:
        """
        Turn all uses of the directive in one block into one frozen, hashable value with every default filled in.

        :raises kdns.corefile.errors.CorefileError: the tokens are not what is wanted; made by the dispenser's methods.
        """

    def build(self, config: Any, builder: BlockBuilder) -> None:
        """Contribute to the block. It must not start anything; :meth:`Resource.start` does."""
