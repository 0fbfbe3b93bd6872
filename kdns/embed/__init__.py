"""
kdns inside other Twisted programs: cluster zone, forwarder and cache as ``IResolver``, as the reactor's name resolver, and whole servers.

``docs/embedding.md`` shows each with a program.
"""

from kdns.embed.adapter import KdnsResolver
from kdns.embed.hostnames import HostnameResolver, install
from kdns.embed.resolvers import (
    caching_resolver,
    cluster_resolver,
    corefile_resolver,
    forwarding_resolver,
    from_corefile,
)

__all__ = [
    "HostnameResolver",
    "KdnsResolver",
    "caching_resolver",
    "cluster_resolver",
    "corefile_resolver",
    "forwarding_resolver",
    "from_corefile",
    "install",
]
