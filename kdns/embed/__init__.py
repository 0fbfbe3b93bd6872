"""
kdns inside other Twisted programs: cluster zone, forwarder and cache as ``IResolver``, and as the reactor's name resolver.

``docs/embedding.md`` shows each with a program.
"""

from kdns.embed.adapter import KdnsResolver, ResolverLink
from kdns.embed.hostnames import HostnameResolver, install
from kdns.embed.resolvers import caching_resolver, cluster_resolver, corefile_resolver, forwarding_resolver

__all__ = [
    "HostnameResolver",
    "KdnsResolver",
    "ResolverLink",
    "caching_resolver",
    "cluster_resolver",
    "corefile_resolver",
    "forwarding_resolver",
    "install",
]
