# -*- test-case-name: tests.server.test_fairness -*-
"""
Shares of clients in what is scarce: places in the queue for upstreams, processor time under load, and connections.

What the answer table answers is so cheap that nobody is counted for it. All others are counted by client, in a small fixed number of
buckets: a client is an IPv4 address, or the /64 of an IPv6 address, which one host may have to itself. Clients that meet in a bucket by
chance share it. Which do is drawn at each start, so nobody can choose whom to meet.
"""

from __future__ import annotations

from collections.abc import Hashable
from socket import AF_INET6, inet_pton

BUCKETS = 256
"""A flood spoils the share of one polite client in 256."""

GUARANTEED = 16
"""In-flight queries that a bucket may have however many others there are; a stub resolver has two."""

FACTOR = 4
"""One client alone may take FACTOR / (FACTOR + 1) of what is there; what is left keeps the door open for others."""

WINDOW = 1.0
"""Seconds after which counts of misses are halved."""

OTHERS = 16
"""Misses of all other buckets in a window below which they tell nothing. A bucket may have as many, whatever others have."""

TIMES = 4
"""How much more than the average of others a client may ask; three clients that meet in a bucket by chance are not refused."""


def bucket_of(client: str) -> int:
    """The bucket of an address."""
    if ":" in client:
        try:
            return hash(inet_pton(AF_INET6, client)[:8]) % BUCKETS
        except OSError:
            pass
    return hash(client) % BUCKETS


class MissShares:
    """
    Who causes the misses of a socket that has more datagrams waiting than are read at a time.

    A bucket is over its share when it has more than four times as many misses as the others have on average. When others are hardly
    there, they may be waiting outside: then it is over its share if the kernel drops datagrams.
    """

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._total = 0
        self._active = 0
        self._ends = 0.0

    def over(self, client: Hashable, now: float, dropping: bool = False) -> bool:
        """
        Count a miss.

        :param client: the client's address in any form, always the same.
        :param dropping: whether the kernel drops what comes now.
        :return: whether the client has had its share.
        """
        if now >= self._ends:
            self._age(now)
        bucket = hash(client) % BUCKETS
        count = self._counts[bucket]
        if not count:
            self._active += 1
        count += 1
        self._counts[bucket] = count
        self._total += 1
        others = self._total - count
        if count <= OTHERS:
            return False
        return dropping if others < OTHERS else count * (self._active - 1) > TIMES * others

    def _age(self, now: float) -> None:
        """Halve all counts for each window that has passed."""
        halvings = min(32, int((now - self._ends) / WINDOW) + 1)
        self._ends = now + WINDOW
        self._counts = [count >> halvings for count in self._counts]
        self._total = sum(self._counts)
        self._active = BUCKETS - self._counts.count(0)
