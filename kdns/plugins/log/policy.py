# -*- test-case-name: tests.plugins.log.test_observer -*-
"""
Which replies are logged: a core module of *log*.

Conditions on name and response code (:meth:`Choice.fits`) are decided once for a reply and all its repetitions from the answer table.
Client, duration, sampling and budget differ from one repetition to the next; a :data:`Judge` decides them in well under a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from math import inf, log
from random import Random

from kdns.core.metrics import Counter
from kdns.core.observe import Exchange
from kdns.wire.constants import NXDOMAIN
from kdns.wire.names import is_subdomain

Network = IPv4Network | IPv6Network

MOST_KNOWN = 10_000
"""Clients whose result is remembered; past that all are forgotten."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``only`` and ``except`` of a directive; an empty ``only`` asks for nothing."""

    only_names: tuple[bytes, ...] = ()
    except_names: tuple[bytes, ...] = ()
    only_clients: tuple[Network, ...] = ()
    except_clients: tuple[Network, ...] = ()
    only_rcodes: frozenset[int] = frozenset()
    except_rcodes: frozenset[int] = frozenset()

    def fits(self, exchange: Exchange) -> bool:
        """Whether name and response code are wanted; a query that got no reply has no response code."""
        if self.only_rcodes or self.except_rcodes:
            rcode = -1 if exchange.reply is None else exchange.answer.rcode
            if rcode in self.except_rcodes or (self.only_rcodes and rcode not in self.only_rcodes):
                return False
        if self.only_names or self.except_names:
            qname = exchange.request.qname
            if any(is_subdomain(qname, name) for name in self.except_names):
                return False
            return not self.only_names or any(is_subdomain(qname, name) for name in self.only_names)
        return True

    def denials_below(self, zone: bytes) -> bool | None:
        """Whether names below *zone* that do not exist are wanted; None when that differs from name to name."""
        if NXDOMAIN in self.except_rcodes or (self.only_rcodes and NXDOMAIN not in self.only_rcodes):
            return False
        if any(is_subdomain(zone, name) for name in self.except_names):
            return False
        if any(is_subdomain(name, zone) for name in (*self.only_names, *self.except_names)):
            return None
        return not self.only_names or any(is_subdomain(zone, name) for name in self.only_names)

    @property
    def clients(self) -> Clients | None:
        """The conditions on clients; None without any."""
        if not self.only_clients and not self.except_clients:
            return None
        return Clients(self.only_clients, self.except_clients)


class Clients:
    """Clients by network; results are remembered."""

    def __init__(self, only: tuple[Network, ...], others: tuple[Network, ...]) -> None:
        self._only = only
        self._except = others
        self._known: dict[str, bool] = {}

    def wanted(self, client: str) -> bool:
        """Whether replies to a client, an address as text, are wanted."""
        known = self._known.get(client)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[client] = self._decide(client)
        return known

    def _decide(self, client: str) -> bool:
        address = ip_address(client)
        if any(address in network for network in self._except):
            return False
        return not self._only or any(address in network for network in self._only)


class Lot:
    """
    A random sample of one in *n*.

    It is not every n-th: A and AAAA of a name come in pairs, and with an even *n* only one of the two would ever be seen. The gap to the
    next sample is drawn at each sample, which has the same distribution as a draw for each reply and costs less.
    """

    def __init__(self, n: int, random: Random, held: Counter) -> None:
        self._scale = 1 / log(1 - 1 / n) if n > 1 else 0.0
        self._random = random
        self._held = held
        self._left = self._gap()

    def draw(self) -> bool:
        """Whether this reply is in the sample; one that is not is counted."""
        left = self._left - 1
        if left:
            self._left = left
            self._held.value += 1
            return False
        self._left = self._gap()
        return True

    def _gap(self) -> int:
        return 1 + int(log(1.0 - self._random.random()) * self._scale)


Judge = Callable[[str, float], bool]
"""Whether a reply to a client (address as text) that took so many seconds is logged."""


def judge(
    error: bool,
    *,
    slower: float = 0.0,
    clients: Clients | None = None,
    lot: Lot | None = None,
    slow: float = inf,
    admit: Callable[[bool], bool] | None = None,
) -> Judge | None:
    """
    The decision for a reply and its repetitions; None when all of them are logged.

    :param error: whether it is an error; errors are not sampled.
    :param slower: log only replies that took at least so many seconds.
    :param lot: samples the replies that took less than *slow* seconds.
    :param admit: a budget, asked last.
    """
    draw = None if lot is None or error else lot.draw
    if not slower and clients is None and draw is None and admit is None:
        return None
    wanted = None if clients is None else clients.wanted

    def has_line(client: str, seconds: float) -> bool:
        if seconds < slower or (wanted is not None and not wanted(client)):
            return False
        if draw is not None and seconds < slow and not draw():
            return False
        return admit is None or admit(error)

    return has_line
