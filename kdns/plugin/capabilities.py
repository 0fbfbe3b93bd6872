"""
What a link may have besides answers, for the parts of the server that show it: bases to inherit from, found with ``isinstance``.

They stand here so that nothing imports a plugin that the Corefile does not name.
"""

from __future__ import annotations

from typing import Any


class ServesCluster:
    """A link that answers out of an index of a cluster."""

    cluster: Any
    """:class:`kdns.plugins.kubernetes.plugin.Cluster`"""

    config: Any
    """:class:`kdns.plugins.kubernetes.config.Config`"""


class AsksUpstreams:
    """A link that forwards."""

    forwarders: list[Any]
    """One for each ``forward`` of the block, in file order."""


class KeepsAnswers:
    """A link that keeps answers."""

    store: Any
    """:class:`kdns.plugins.cache.store.CacheStore`"""

    zones_text: str
    """Its zones, as metrics show them."""
