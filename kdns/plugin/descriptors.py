# -*- test-case-name: tests.plugin.test_descriptors -*-
"""
How many file descriptors the process may open, and how many of them the connections of clients may take.

Without descriptors kdns cannot ask an upstream, answer a probe or read a file, so what strangers can open is bounded well below the limit.
"""

from __future__ import annotations

import resource

CLIENT_SHARE = 0.5
"""
Share of the file descriptors for connections of DNS clients. The rest is for upstreams, the Kubernetes API, HTTP pages, the admin socket
and files: clients that take all they can must not turn answers into SERVFAIL or probes into resets.
"""

CLIENTS_MOST = 2000
"""Connections of DNS clients at a time, whatever the descriptors allow; each whose client reads holds some 20 KiB at most."""

PAGE_SHARE = 0.05
"""Share of the file descriptors for the connections of each HTTP listener."""

PAGES_MOST = 100
"""Connections of an HTTP listener at a time. Probes and scrapers need a handful."""


def raise_descriptor_limit() -> None:
    """
    Raise the soft limit of file descriptors to the hard one, as Go programs do at their start.

    The soft limit is 1024 by default only for programs that call select(2), which kdns does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # the system allows less than it says; the bounds below follow what it has


def descriptor_limit() -> int:
    """The limit on open file descriptors of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def client_connections(descriptors: int | None = None) -> int:
    """Connections of DNS clients over all listeners together."""
    return max(1, min(CLIENTS_MOST, int((descriptors or descriptor_limit()) * CLIENT_SHARE)))


def page_connections(descriptors: int | None = None) -> int:
    """Connections that one HTTP listener may have at a time."""
    return max(4, min(PAGES_MOST, int((descriptors or descriptor_limit()) * PAGE_SHARE)))
