# -*- test-case-name: tests.plugins.test_loop -*-
"""
``loop``: find upstreams that send queries back here.

Each upstream of the block is sent a probe: a query for a random name of its own. When that query arrives here, the upstream forwards to
kdns, and every query sent to it would go in circles. The name tells which upstream it is. That one is taken out of use, and the others
serve on. It is probed again each minute, and taken back into use when the probe does not come back.

With ``loop exit`` the process ends instead, as CoreDNS does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply
from kdns.core.degraded import Condition, Fault
from kdns.core.fast_path import Effect
from kdns.core.request import Request
from kdns.core.text import bracketed
from kdns.core.validity import NOTHING
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import quote
from kdns.plugin.seam import Block, BlockBuilder, Resource
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.plugin import Forward
from kdns.plugins.forward.upstream import Upstream
from kdns.wire.constants import HINFO, RD, REFUSED
from kdns.wire.names import from_text, is_subdomain, to_text

PATIENCE = 1.0
"""Seconds until a probe without a reply is sent again."""

TRIES = 30
"""Probes sent to an upstream that does not answer, until it is taken for good: one that starts together with kdns is up by then."""

PROBE_AGAIN = 60.0
"""Seconds between probes of an upstream that is out of use."""

_log = Logger(namespace="plugin/loop")


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """
    A ``loop`` directive.

    :ivar exit: end the process when a loop is found.
    """

    exit: bool = False


@dataclass(slots=True, eq=False)
class _Probe:
    """The probe of one upstream, and whether it came back."""

    upstream: Upstream
    name: bytes
    seen: bool = False


class LoopGuard(Resource):
    """
    Probes the upstreams of one block.

    :param builder: the block. Its forwarders are looked up at the start, when all its plugins are built.
    """

    def __init__(self, config: LoopConfig, builder: BlockBuilder) -> None:
        key = builder.block.keys[0]
        self._config = config
        self._builder = builder
        self._context = builder.context
        self._zone = key.zone
        self._zone_text = key.zone_text
        self._probes: dict[bytes, _Probe] = {}
        self._out: dict[Upstream, str] = {}
        self._degraded: dict[Upstream, Condition] = {}
        self._work: dict[Upstream, Deferred[None]] = {}
        self._forwarders: list[Forwarder] = []
        self._begin: Any = None
        self._detected = builder.context.registry.gauge(
            "kdns_loop_detected",
            "1 while an upstream is out of use because it sends queries back.",
            ("zone", "to"),
            greatest=True,
        )

    # Life

    def start(self) -> None:
        """Probe all upstreams in the next turn: the listeners may be there by then."""
        plugin = self._builder.find(Forward)
        if plugin is not None:
            self._forwarders = plugin.forwarders
        for forwarder in self._forwarders:
            forwarder.changed.append(self._probe_all_of)
        self._begin = self._context.reactor.callLater(0, self._probe_all)

    def stop(self) -> Deferred[None] | None:
        """Stop probing, and take upstreams back into use that only this guard has taken out."""
        if self._begin is not None and self._begin.active():
            self._begin.cancel()
        for forwarder in self._forwarders:
            if self._probe_all_of in forwarder.changed:
                forwarder.changed.remove(self._probe_all_of)
        for work in list(self._work.values()):
            work.cancel()
        self._probes.clear()
        for upstream, reason in self._out.items():
            self._condition(upstream).forget()
            self._detected.forget(self._zone_text, upstream.text)
            if upstream.reason == reason:  # a newer guard has a reason of its own
                upstream.restore()
        self._out.clear()
        return None

    def _probe_all(self) -> None:
        for forwarder in self._forwarders:
            self._probe_all_of(forwarder)

    def _probe_all_of(self, forwarder: Forwarder) -> None:
        base = self._base(forwarder)
        for upstream in forwarder.upstreams if base is not None else ():
            if upstream in self._work:
                self._work[upstream].cancel()
            work = Deferred.fromCoroutine(self._watch(upstream, base or b""))
            if not work.called:
                self._work[upstream] = work
                work.addBoth(self._ended, upstream, work)
        gone = {up for up in self._work if not any(up in one.upstreams for one in self._forwarders)}
        for upstream in gone:
            self._work[upstream].cancel()
            self._out.pop(upstream, None)
            self._condition(upstream).forget()
            del self._degraded[upstream]
            self._detected.forget(self._zone_text, upstream.text)

    def _base(self, forwarder: Forwarder) -> bytes | None:
        """The name below which the probes of a stanza are: in its zone and the block's; None when the two have no name in common."""
        origin = forwarder.stanza.origin
        if is_subdomain(origin, self._zone):
            return origin
        return self._zone if is_subdomain(self._zone, origin) else None

    def _ended(self, result: Any, upstream: Upstream, work: Deferred[None]) -> Any:
        if self._work.get(upstream) is work:
            del self._work[upstream]
        if hasattr(result, "check") and not result.check(CancelledError):
            _log.failure("probing {upstream} failed", result, upstream=upstream.text)

    def _condition(self, upstream: Upstream) -> Condition:
        if upstream not in self._degraded:
            states = self._context.degraded
            self._degraded[upstream] = states.condition(Fault.UPSTREAM_LOOP, f"upstream {upstream.text}")
        return self._degraded[upstream]

    # Probes

    async def _watch(self, upstream: Upstream, base: bytes) -> None:
        """Probe one upstream until it does not loop."""
        while not await self._probe(upstream, base):
            await deferLater(self._context.reactor, PROBE_AGAIN)

    async def _probe(self, upstream: Upstream, base: bytes) -> bool:
        """Whether an upstream does not loop; False as long as it is out of use."""
        chance = self._context.random
        label = f"{chance.getrandbits(62)}.{chance.getrandbits(62)}."
        probe = _Probe(upstream, from_text(label)[:-1] + base)
        self._probes[probe.name] = probe
        try:
            for _ in range(TRIES):
                if await self._send(probe) or probe.seen:
                    break
            else:
                return upstream not in self._out
        finally:
            self._probes.pop(probe.name, None)
        if probe.seen:
            return False
        if upstream in self._out:
            self._condition(upstream).end(self._context.wall(), _log)
            del self._out[upstream]
            self._detected.gauge(self._zone_text, upstream.text).set(0)
            upstream.restore()
        return True

    async def _send(self, probe: _Probe) -> bool:
        """Send a probe once; whether a reply came within a second. Without one, the whole second is waited."""
        reactor = self._context.reactor
        began = reactor.seconds()
        try:
            await probe.upstream.probe(probe.name, HINFO, RD, PATIENCE)
        except ExchangeFailed:
            left = PATIENCE - (reactor.seconds() - began)
            if left > 0 and not probe.seen:
                await deferLater(reactor, left)
            return False
        return True

    # What comes back

    def returned(self, request: Request) -> bool:
        """Whether *request* is a probe that came back; if so, its upstream is taken out of use."""
        probe = self._probes.get(request.qname) if request.qtype == HINFO else None
        if probe is None:
            return False
        if not probe.seen:
            probe.seen = True
            self._found(probe, request)
        return True

    def _found(self, probe: _Probe, request: Request) -> None:
        source = _endpoint(request.client, str(request.client_port))
        here = "" if request.local in ("::", "0.0.0.0") else request.local
        destination = _endpoint(here, request.server.label.rpartition(":")[2])
        text = (
            f"Loop ({source} -> {destination}) detected for zone {quote(self._zone_text)}, "
            f'see docs/plugins/loop.md. Query: "HINFO {to_text(probe.name)}"'
        )
        if self._config.exit:
            self._context.fatal(f"plugin/loop: {text}")
            return
        upstream = probe.upstream
        upstream.withdraw(text)
        self._condition(upstream).begin(text, self._context.wall())
        self._out[upstream] = text
        self._detected.gauge(self._zone_text, upstream.text).set(1)
        _log.error("{text}: upstream {upstream} is out of use", text=text, upstream=upstream.text)


def _endpoint(host: str, port: str) -> str:
    return f"{bracketed(host)}:{port}"


class Loop(Link):
    """The link: a probe that comes back is answered here, so that it does not go round again."""

    name = "loop"
    varies = NOTHING

    def __init__(self, guard: LoopGuard) -> None:
        self._guard = guard

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Probes are HINFO questions; all others are passed on."""
        return Effect(not_types=frozenset((HINFO,)))

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass the request on, unless it is a probe of this block."""
        if request.qtype == HINFO and self._guard.returned(request):
            return Answer(rcode=REFUSED, source="loop")
        return next(request)


class LoopDirective:
    """``loop [exit]``."""

    name = "loop"

    def parse(self, tokens: Dispenser, block: Block) -> LoopConfig:
        """
        Read it.

        :raises CorefileError: another word than ``exit``, or a second use.
        """
        config = LoopConfig()
        for _ in tokens.invocations(once=True):
            word = tokens.next_arg()
            if word not in (None, "exit") or tokens.next_arg() is not None:
                raise tokens.arg_error()
            config = LoopConfig(exit=word == "exit")
        return config

    def build(self, config: LoopConfig, builder: BlockBuilder) -> None:
        """Add the link and the guard."""
        builder.link(Loop(builder.run(LoopGuard(config, builder))))


directive = LoopDirective()
