# -*- test-case-name: tests.plugins.kubernetes.test_config -*-
"""``kubernetes``: from its words in a Corefile to one frozen value, every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from kdns.cluster.selectors import SelectorError
from kdns.cluster.selectors import parse as parse_selector
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Zone, zones_of, zones_or_keys
from kdns.corefile.values import BadValue, parse_duration, parse_float, parse_int
from kdns.plugin.seam import Block
from kdns.wire.names import from_text, is_subdomain, longest_zone

log = Logger(namespace="plugin/kubernetes")

DEFAULT_TTL = 5
MAX_TTL = 3600
STARTUP_TIMEOUT = 5.0
"""Seconds that a start waits for the first sync."""

CLUSTER_LOCAL = from_text("cluster.local")
ARPA, IN_ADDR_ARPA, IP6_ARPA = from_text("arpa"), from_text("in-addr.arpa"), from_text("ip6.arpa")

PODS_DISABLED, PODS_INSECURE, PODS_VERIFIED = "disabled", "insecure", "verified"

OPTIONS = (
    "endpoint", "tls", "kubeconfig", "apiserver_qps", "apiserver_burst", "apiserver_max_inflight", "namespaces",
    "namespace_labels", "labels", "pods", "endpoint_pod_names", "ttl", "noendpoints", "fallthrough", "ignore",
    "multicluster", "zonal", "startup_timeout", "manifests", "snapshot",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """The source of the cluster data and its options; equal sources share one watch."""

    kubeconfig: str = ""
    context: str = ""
    endpoint: str = ""
    tls: tuple[str, str, str] | None = None
    """Client certificate, key and CA of *endpoint*."""

    manifests: tuple[str, ...] = ()
    snapshot: str = ""
    qps: float = 0.0
    """Requests a second to the API; 0 is the client's default."""

    burst: int = 0
    max_inflight: int = 0
    """Requests in flight at a time; 0 means no limit."""

    labels: str = ""
    namespace_labels: str = ""
    endpoints: bool = True
    pods: bool = False
    pod_labels: bool = False
    pod_names: bool = False
    zones: bool = False
    multicluster: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The options of a ``kubernetes`` directive."""

    zones: tuple[Zone, ...]
    source: Source = Source()
    namespaces: frozenset[bytes] | None = None
    pods: str = PODS_DISABLED
    ttl: int = DEFAULT_TTL
    fallthrough: frozenset[bytes] = frozenset()
    ignore_empty: bool = False
    multicluster: frozenset[bytes] = frozenset()
    startup_timeout: float = STARTUP_TIMEOUT

    @property
    def primary(self) -> bytes:
        """The zone that PTR records point into: the first that is not a reverse zone, else the usual cluster domain."""
        return next((zone.name for zone in self.zones if not is_reverse(zone.name)), CLUSTER_LOCAL)

    def falls_through(self, qname: bytes) -> bool:
        """Whether a missing name goes to the next plugin."""
        return longest_zone(qname, self.fallthrough) is not None


def is_reverse(zone: bytes) -> bool:
    """Whether a zone has names of addresses; ``in-addr.arpa`` and ``ip6.arpa`` themselves do."""
    return zone.endswith(ARPA) and (is_subdomain(zone, IN_ADDR_ARPA) or is_subdomain(zone, IP6_ARPA))


def parse(tokens: Dispenser, block: Block) -> Config:
    """
    ``kubernetes [ZONES...] { options }``, once in a server block.

    :raises kdns.corefile.errors.CorefileError: an option is not what is wanted.
    """
    config: Config | None = None
    for _ in tokens.invocations(once=True):
        try:
            zones = zones_or_keys(tokens.remaining_args(), block.keys)
        except BadValue as error:
            raise tokens.plain_error(str(error)) from error
        if all(is_reverse(zone.name) and zone.name not in (IN_ADDR_ARPA, IP6_ARPA) for zone in zones):
            raise tokens.plain_error("non-reverse zone name must be used")
        reader = _Reader(tokens, block, Config(zones))
        for option in tokens.block():
            reader.read(option)
        config = reader.finish()
    assert config is not None
    return config


_FLAGS: dict[str, dict[str, Any]] = {
    "endpoint_pod_names": {"pod_names": True},
    "noendpoints": {"endpoints": False},
    "zonal": {"zones": True},
}
_LIMITS = {"apiserver_qps": "qps", "apiserver_burst": "burst", "apiserver_max_inflight": "max_inflight"}
"""Options that set one field of the source."""


class _Reader:
    """Reads the lines of the option block into a config."""

    def __init__(self, tokens: Dispenser, block: Block, config: Config) -> None:
        self._tokens = tokens
        self._block = block
        self._config = config
        self._source = config.source
        self._exposed: set[bytes] = set()
        self._multicluster_text: dict[bytes, str] = {}

    def read(self, option: str) -> None:
        if option not in OPTIONS:
            raise self._tokens.unknown_property(*OPTIONS)
        if option in _FLAGS:
            self._tokens.args(0)
            self._source = replace(self._source, **_FLAGS[option])
        elif option in _LIMITS:
            value = (
                self._tokens.convert(parse_float, self._tokens.word())
                if option == "apiserver_qps"
                else self._tokens.integer()
            )
            # Not "value < 0", which NaN would pass.
            if not 0 <= value < inf:
                raise self._tokens.error(f"{option} must be >= 0")
            changes: dict[str, Any] = {_LIMITS[option]: value}
            self._source = replace(self._source, **changes)
        else:
            getattr(self, f"_{option}")()

    def finish(self) -> Config:
        """The config after all lines."""
        config, source, tokens = self._config, self._source, self._tokens
        if self._exposed and source.namespace_labels:
            raise tokens.error("namespaces and namespace_labels cannot both be set")
        if source.zones and not source.endpoints:
            raise tokens.error("zonal requires the endpoint cache; remove noendpoints")
        own = {zone.name: zone for zone in config.zones}
        for zone in sorted(config.multicluster):
            if zone not in own:
                listed = " ".join(text.text for text in config.zones)
                known = self._multicluster_text[zone]
                raise tokens.error(
                    f"is not authoritative for the multicluster zone {known} (authoritative zones: [{listed}])"
                )
        source = replace(
            source,
            pods=config.pods == PODS_VERIFIED,
            pod_labels=config.pods == PODS_VERIFIED and "metadata" in self._block.directives,
            multicluster=bool(config.multicluster),
        )
        namespaces = frozenset(self._exposed) if self._exposed else None
        return replace(config, source=source, namespaces=namespaces)

    def _endpoint(self) -> None:
        # Further addresses are accepted, as they always were, and not used.
        first, *others = self._tokens.args(1, None)
        if others:
            log.warn("endpoint: only the first address, {first}, is used", first=first)
        self._source = replace(self._source, endpoint=first)

    def _tls(self) -> None:
        certificate, key, ca = (self._path(word) for word in self._tokens.args(3))
        self._source = replace(self._source, tls=(certificate, key, ca))

    def _kubeconfig(self) -> None:
        words = self._tokens.args(1, 2)
        context = words[1] if len(words) > 1 else ""
        self._source = replace(self._source, kubeconfig=self._path(words[0]), context=context)

    def _namespaces(self) -> None:
        for word in self._tokens.args(1, None):
            self._exposed.add(word.lower().encode())

    def _namespace_labels(self) -> None:
        selector = self._selector("namespace_label")
        self._source = replace(self._source, namespace_labels=selector)

    def _labels(self) -> None:
        self._source = replace(self._source, labels=self._selector("label"))

    def _selector(self, what: str) -> str:
        text = " ".join(self._tokens.args(1, None))
        try:
            parse_selector(text)
        except SelectorError as error:
            raise self._tokens.plain_error(f"unable to parse {what} selector value: '{text}': {error}") from error
        return text

    def _pods(self) -> None:
        word = self._tokens.word()
        if word not in (PODS_DISABLED, PODS_INSECURE, PODS_VERIFIED):
            raise self._tokens.plain_error(
                f"wrong value for pods: {word},  must be one of: disabled, verified, insecure"
            )
        self._config = replace(self._config, pods=word)

    def _ttl(self) -> None:
        ttl = self._tokens.convert(parse_int, self._tokens.word())
        if not 0 <= ttl <= MAX_TTL:
            raise self._tokens.error(f"ttl must be in range [0, {MAX_TTL}]: {ttl}")
        self._config = replace(self._config, ttl=ttl)

    def _fallthrough(self) -> None:
        self._config = replace(self._config, fallthrough=self._zones(self._tokens.remaining_args() or ["."]))

    def _zones(self, words: list[str]) -> frozenset[bytes]:
        try:
            return frozenset(zone.name for word in words for zone in zones_of(word))
        except BadValue as error:
            raise self._tokens.plain_error(str(error)) from error

    def _ignore(self) -> None:
        words = self._tokens.args(0, 1)
        if words and words[0] != "empty_service":
            raise self._tokens.plain_error(f"unable to parse ignore value: '{words[0]}'")
        if words:
            self._config = replace(self._config, ignore_empty=True)

    def _multicluster(self) -> None:
        words = self._tokens.remaining_args()
        try:
            zones = (
                zones_or_keys(words, self._block.keys) if not words else tuple(z for w in words for z in zones_of(w))
            )
        except BadValue as error:
            raise self._tokens.plain_error(str(error)) from error
        self._multicluster_text = {zone.name: zone.text for zone in zones}
        self._config = replace(self._config, multicluster=frozenset(zone.name for zone in zones))

    def _startup_timeout(self) -> None:
        word = self._tokens.word()
        try:
            seconds = parse_duration(word)
        except ValueError as error:
            raise self._tokens.plain_error(f"failed to parse startup_timeout: {word}, {error}") from error
        self._config = replace(self._config, startup_timeout=seconds)

    def _manifests(self) -> None:
        paths = tuple(self._path(word) for word in self._tokens.args(1, None))
        self._source = replace(self._source, manifests=self._source.manifests + paths)

    def _snapshot(self) -> None:
        self._source = replace(self._source, snapshot=self._path(self._tokens.word()))

    def _path(self, word: str) -> str:
        return str(Path(self._block.root) / word) if self._block.root else word
