"""``kubernetes``: names of Services and Pods out of a live picture of the cluster."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from kdns.cluster.credentials import CredentialsError
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.plugin.capabilities import GivesSearchPaths
from kdns.plugin.seam import Block, BlockBuilder, ServerContext
from kdns.plugins.kubernetes.cluster import LiveCluster
from kdns.plugins.kubernetes.config import Config, Source, parse
from kdns.plugins.kubernetes.metadata import KubernetesMetadata
from kdns.plugins.kubernetes.plugin import ClusterZone

if TYPE_CHECKING:
    from kdns.plugins.kubernetes.followed import FollowedCluster


class KubernetesDirective(GivesSearchPaths):
    """``kubernetes [ZONES...] { options }``."""

    name = "kubernetes"

    def parse(self, tokens: Dispenser, block: Block) -> Config:
        return parse(tokens, block)

    def build(self, config: Config, builder: BlockBuilder) -> None:
        """A link, and the cluster behind it: blocks that read the same cluster in the same way share one."""
        source = config.source
        timeout = config.startup_timeout
        try:
            cluster = builder.keep(("kubernetes", source), source, lambda: _cluster(builder.context, source, timeout))
        except CredentialsError as error:
            raise SetupError(str(error), plugin=self.name, located=False) from error
        zone = ClusterZone(config, cluster, builder.context.clock, cache(builder.own_addresses), builder.context.random)
        builder.link(zone)
        builder.ready_when(self.name, lambda: cluster.synced, cluster.why_not_ready)
        builder.metadata_from(KubernetesMetadata(config, cluster.index).collect)


def _cluster(context: ServerContext, source: Source, timeout: float) -> LiveCluster | FollowedCluster:
    if context.parent is None:
        return LiveCluster(context, source, timeout)
    from kdns.plugins.kubernetes.followed import FollowedCluster  # only worker processes need it

    return FollowedCluster(context, source)


directive = KubernetesDirective()

__all__ = ["ClusterZone", "Config", "LiveCluster", "directive"]
