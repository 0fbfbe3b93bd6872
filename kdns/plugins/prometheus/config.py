# -*- test-case-name: tests.plugins.prometheus.test_config -*-
"""The directive of the Corefile, and what a server block gets from it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kdns.core.metrics import Family
from kdns.core.text import bracketed
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.corefile.order import CONFIGURATION_ONLY, rank
from kdns.corefile.values import ListenAddress, parse_listen_address
from kdns.plugin.http import listener_for
from kdns.plugin.seam import Block, BlockBuilder, Resource
from kdns.plugins.prometheus.observer import DnsMetrics, enabled_plugins
from kdns.plugins.prometheus.page import MetricsEndpoint, MetricsPage
from kdns.plugins.prometheus.process import ProcessMetrics, ReactorLag
from kdns.plugins.prometheus.webconfig import BadWebConfig, WebTls

DEFAULT_ADDRESS = ListenAddress("localhost", 9153)


@dataclass(frozen=True, slots=True)
class Config:
    """``prometheus [ADDRESS] { runtime_metrics; tls FILE }``."""

    address: ListenAddress = DEFAULT_ADDRESS
    runtime_metrics: bool = False
    tls: str = ""
    """File with the TLS settings; empty for plain HTTP."""


class PrometheusDirective:
    """The directive of the Corefile."""

    name = "prometheus"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        """Read the directive; once per server block."""
        address, runtime_metrics, tls = DEFAULT_ADDRESS, False, ""
        for _ in tokens.invocations(once=True):
            for text in tokens.args(0, 1):
                address = tokens.convert(parse_listen_address, text)
            for option in tokens.block():
                match option:
                    case "runtime_metrics":
                        runtime_metrics = not tokens.args(0)
                    case "tls":
                        if tls:
                            raise tokens.error("tls block already specified")
                        tls = os.path.join(block.root, tokens.word())
                    case _:
                        raise tokens.unknown_property("runtime_metrics", "tls")
        return Config(address, runtime_metrics, tls)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """Count the block's replies and serve the page; blocks with the same address share it."""
        context = builder.context
        tls = None
        if config.tls:
            try:
                tls = WebTls(config.tls)
            except BadWebConfig as error:
                raise SetupError(str(error), plugin=self.name, located=False) from error
        builder.observe(builder.keep(("prometheus", "dns"), (), lambda: DnsMetrics(context.registry)))
        page = builder.keep(("prometheus", "page"), (), lambda: MetricsPage(context, ProcessMetrics()))
        by_worker = None
        if context.combined is not None:
            by_worker = builder.keep(
                ("prometheus", "workers"), (), lambda: MetricsPage(context, ProcessMetrics(), True)
            )
        builder.keep(("prometheus", "lag"), (), lambda: ReactorLag(context.reactor, context.clock, context.registry))
        listener = listener_for(builder, self.name, config.address, tls)
        builder.keep(
            ("prometheus", config.address),
            config,
            lambda: MetricsEndpoint(listener, page, by_worker, config.runtime_metrics),
        )
        builder.run(EnabledPlugins(enabled_plugins(context.registry), labels_of(builder)))


def labels_of(builder: BlockBuilder) -> list[tuple[str, str, str, str]]:
    """Server, zone, view and name of every plugin in a block's chain, once for each address that the block listens on."""
    key = builder.block.keys[0]
    names = sorted(builder.block.directives - CONFIGURATION_ONLY, key=lambda name: (rank(name), name))
    hosts = [bracketed(host) for host in builder.binds or ("",)]
    return [
        (f"{key.scheme.value}://{host}:{key.port}", key.zone_text, builder.view, name)
        for host in hosts
        for name in names
    ]


class EnabledPlugins(Resource):
    def __init__(self, family: Family, labels: list[tuple[str, str, str, str]]) -> None:
        self._family = family
        self._labels = labels

    def start(self) -> None:
        """Show them. During a reload two configurations show the same plugin, so the value counts them."""
        for values in self._labels:
            self._family.gauge(*values, read=lambda: 1.0).value += 1

    def stop(self) -> None:
        """Remove those that no other configuration shows."""
        for values in self._labels:
            cell = self._family.gauge(*values)
            cell.value -= 1
            if cell.value <= 0:
                self._family.forget(*values)
