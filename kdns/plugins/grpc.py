# -*- test-case-name: tests.plugins.test_grpc -*-
"""
``grpc``: forwards queries over gRPC, to another CoreDNS or kdns.

Upstreams, their health, and queries in flight are those of :mod:`kdns.plugins.forward`; this module has the directive, what falls through,
and the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from msgspec.structs import replace as changed
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.chain import Next, Reply
from kdns.core.failure import ResolutionFailed
from kdns.core.metrics import TIME_BUCKETS, Registry
from kdns.core.request import Request
from kdns.core.text import reason_of
from kdns.core.validity import NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.corefile.keys import zones_or_keys
from kdns.corefile.values import BadValue
from kdns.plugin.seam import Block, BlockBuilder
from kdns.plugins.forward.config import OPTIONS, Stanza, parse_stanza
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.metrics import ForwardMetrics, UpstreamMetrics
from kdns.plugins.forward.plugin import Forward, kept_forwarder
from kdns.plugins.forward.sources import Sources
from kdns.plugins.forward.targets import Carrier, NamedTarget, To, parse_to
from kdns.wire.constants import NXDOMAIN, rcode_text
from kdns.wire.names import ROOT, longest_zone

PORT = 53
"""Where an address without a port is asked: CoreDNS's choice."""

SCHEME = "grpc://"
"""May stand in front of an address, whose port is 443 then."""


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    stanza: Stanza
    fallthrough: tuple[bytes, ...] = ()
    """Zones whose names the next plugin is asked for when there is no such name or no reply."""


class Grpc(Forward):
    """The link: one stanza, whose upstreams are asked over gRPC."""

    name = "grpc"
    varies = NOTHING

    def __init__(self, forwarder: Forwarder, fallthrough: tuple[bytes, ...]) -> None:
        super().__init__([forwarder])
        self._forwarder = forwarder
        self._fallthrough = frozenset(fallthrough)

    def answer(self, request: Request, next: Next) -> Reply:
        if not self._forwarder.stanza.takes(request.qname):
            return next(request)
        waiting: Deferred[Any] = self._forwarder.ask(request)
        if longest_zone(request.qname, self._fallthrough) is None:
            return waiting.addCallback(_own)
        return waiting.addCallbacks(
            partial(self._perhaps_next, request, next), self._next_on_failure, errbackArgs=(request, next)
        )

    def _perhaps_next(self, request: Request, next: Next, answer: Answer) -> Reply:
        return next(request) if answer.rcode == NXDOMAIN else _own(answer)

    def _next_on_failure(self, failure: Failure, request: Request, next: Next) -> Reply | Failure:
        return next(request) if failure.check(ResolutionFailed) else failure

    def fast_upstreams(self) -> None:
        """Every query goes the general way."""


def _own(answer: Answer) -> Answer:
    return changed(answer, source="grpc")


class GrpcMetrics(ForwardMetrics):
    """What CoreDNS's *grpc* counts, and for connections and checks what *forward* counts."""

    proxy = "grpc"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.requests = registry.counter("coredns_grpc_requests_total", "Queries that an upstream replied to.", ("to",))
        self.responses = registry.counter(
            "coredns_grpc_responses_total", "Replies of an upstream by response code.", ("to", "rcode")
        )
        self.seconds = registry.histogram(
            "coredns_grpc_request_duration_seconds", "Time that an upstream took to reply.", TIME_BUCKETS, ("to",)
        )

    def of(self, upstream: str) -> UpstreamMetrics:
        """The cells of one upstream, by its address."""
        return _Upstream(self, upstream)


class _Upstream(UpstreamMetrics):
    _families: GrpcMetrics

    def replied(self, rcode: int, seconds: float) -> None:
        """The upstream replied with *rcode* after *seconds*."""
        families, upstream = self._families, self._upstream
        families.requests.counter(upstream).inc()
        families.responses.counter(upstream, rcode_text(rcode).removeprefix("RCODE")).inc()
        families.seconds.histogram(upstream).observe(seconds)


class GrpcDirective:
    """``grpc FROM TO...``, once in a block."""

    name = "grpc"

    def parse(self, tokens: Dispenser, block: Block) -> GrpcConfig:
        """See :class:`kdns.plugin.Directive`."""
        config: GrpcConfig | None = None
        for _ in tokens.invocations(once=True):
            config = self._config(tokens, block.root)
        assert config is not None, "a directive is used at least once"
        return config

    def _config(self, tokens: Dispenser, root: str) -> GrpcConfig:
        fallthrough: list[bytes] = []
        secure: list[str] = []

        def falls(tokens: Dispenser, stanza: Stanza) -> dict[str, Any]:
            words = tokens.remaining_args()
            found = [zone.name for zone in tokens.convert(lambda _: zones_or_keys(words, ()), "")] if words else [ROOT]
            fallthrough.extend(found)
            return {}

        def securing(option: str, tokens: Dispenser, stanza: Stanza) -> dict[str, Any]:
            secure.append(option)
            return OPTIONS[option](tokens, stanza)

        options = {name: OPTIONS[name] for name in ("except", "policy")}
        options |= {name: partial(securing, name) for name in ("tls", "tls_servername")}
        options["fallthrough"] = falls
        stanza = parse_stanza(tokens, root, options, _parse_to)
        if secure:
            stanza = replace(stanza, to=tuple(replace(to, carrier=Carrier.GRPCS) for to in stanza.to))
        return GrpcConfig(stanza, tuple(dict.fromkeys(fallthrough)))

    def build(self, config: GrpcConfig, builder: BlockBuilder) -> None:
        """Add the link; a forwarder whose stanza did not change is carried over."""
        stanza = config.stanza
        try:
            hosts = Sources(stanza.to, stanza.root).hosts
            if hosts:
                name = next(iter(hosts)).name
                reason = f'failed to open file "{name}": "open {name}: no such file or directory"'
                raise BadValue(f'not an IP address or file "{name}": {reason}')
            metrics = GrpcMetrics(builder.context.registry)
            builder.link(Grpc(kept_forwarder("grpc", stanza, builder, metrics=metrics), config.fallthrough))
        except OSError as error:
            text = f"could not load TLS cert: open {error.filename}: {reason_of(error)}"
            raise SetupError(text, plugin="grpc", located=False) from error
        except ValueError as error:
            raise SetupError(str(error), plugin="grpc", located=False) from error


def _parse_to(text: str) -> To:
    """
    Read one TO: ``[grpc://]IP[:PORT]`` or the path of a resolv.conf.

    :raises BadValue: another scheme, or a bad port.
    """
    bare = text.removeprefix(SCHEME)
    if "://" in bare:
        raise BadValue(f"grpc asks over gRPC alone, found: {text}")
    target = parse_to(bare)
    port = Carrier.GRPC.port if bare != text and target.port == PORT and not bare.endswith(f":{PORT}") else target.port
    if isinstance(target, NamedTarget):
        return NamedTarget(target.name, port, Carrier.GRPC)
    return replace(target, port=port, carrier=Carrier.GRPC)


directive = GrpcDirective()
