# -*- test-case-name: tests.plugins.trace -*-
"""``trace [TYPE] [ENDPOINT] { options }``: send spans of sampled queries to a Zipkin or OpenTelemetry collector."""

from __future__ import annotations

from kdns.core.request import Request
from kdns.plugin import Block, BlockBuilder, Dispenser
from kdns.plugins.trace.config import TraceConfig, parse


class TraceDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "trace"

    def parse(self, tokens: Dispenser, block: Block) -> TraceConfig:
        """See :func:`kdns.plugins.trace.config.parse`."""
        return parse(tokens)

    def build(self, config: TraceConfig, builder: BlockBuilder) -> None:
        """Add link, observer and exporter; without sampled queries there are none, and nothing is paid."""
        if not config.every:
            return
        from kdns.plugins.trace.exporter import Exporter
        from kdns.plugins.trace.tracing import TraceLink, TraceObserver, Tracing

        context = builder.context
        address = (builder.binds[0], builder.block.keys[0].port) if builder.binds else None
        key = (config.export, address)
        exporter = builder.keep(("trace", key), key, lambda: Exporter(config.export, address, context))
        tracing = Tracing(config.every, exporter.put, context)
        builder.link(TraceLink(tracing))
        builder.observe(TraceObserver(tracing))
        # The label differs from query to query, so replies that it may be part of are not repeated.
        builder.metadata_from(_identified)


def _identified(request: Request) -> bool:
    return True


directive = TraceDirective()
