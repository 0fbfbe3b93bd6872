# -*- test-case-name: tests.plugins.proxyproto.test_policy -*-
"""
Whose headers count: a core module of *proxyproto*.

A header decides which client a query is taken to be from, so it counts only from senders that are allowed to say so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from kdns.core.networks import Network, NetworkSet
from kdns.plugin.proxied import Origin, ProxyRefused
from kdns.plugins.proxyproto.header import DGRAM, SIGNATURE, BadHeader, Header, could_begin, read_header

MOST_SESSIONS = 10_240


class Rule(Enum):
    """What becomes of a header."""

    USE = "use"
    """Its addresses count; there need be none."""

    IGNORE = "ignore"
    """It is taken off, and the sender's own address counts."""

    REJECT = "reject"
    """The connection is closed, the datagram dropped."""

    SKIP = "skip"
    """Nobody looks for one."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """What a ``proxyproto`` says."""

    allow: tuple[Network, ...] = ()
    """Senders whose headers count; none at all: everybody, as *otherwise* says."""

    otherwise: Rule | None = None
    """For those who are not allowed; by default ``use`` without an allow list, ``ignore`` with one."""

    session_seconds: float = 0.0
    """How long a sender's header holds for its further datagrams; 0: for one alone."""

    most_sessions: int = MOST_SESSIONS


class Senders:
    """The policy of one configuration; see :class:`kdns.plugin.proxied.ProxyPolicy`."""

    def __init__(self, config: ProxyConfig, dropped: Callable[[str, str], None]) -> None:
        """
        :param dropped: told of a sender whose header is no good, and why.
        """
        self._config = config
        self._allow = NetworkSet(config.allow)
        default = Rule.IGNORE if config.allow else Rule.USE
        self._otherwise = default if config.otherwise is None else config.otherwise
        self._dropped = dropped
        self._sessions: OrderedDict[tuple[str, int], tuple[float, Origin]] = OrderedDict()

    def rule(self, client: str) -> Rule:
        """What becomes of the headers of a sender."""
        return Rule.USE if self._config.allow and client in self._allow else self._otherwise

    def stream(self, client: str) -> StreamStart | None:
        """See :class:`kdns.plugin.proxied.ProxyPolicy`."""
        rule = self.rule(client)
        return None if rule is Rule.SKIP else StreamStart(rule)

    def datagram(self, data: bytes, client: str, port: int, now: float) -> tuple[Origin | None, bytes] | None:
        """
        See :class:`kdns.plugin.proxied.ProxyPolicy`.

        Only version 2 has datagrams. A header alone, without a query, begins a session.
        """
        rule = self.rule(client)
        if rule is Rule.SKIP:
            return None, data
        if not data.startswith(SIGNATURE):
            return (self._session(client, port, now) if rule is Rule.USE else None), data
        if rule is Rule.REJECT:
            return None
        try:
            header = read_header(data)
        except BadHeader as error:
            self._dropped(client, str(error))
            return None
        if header is None or header.transport not in (DGRAM, 0):
            self._dropped(client, "the header is cut short" if header is None else "the header is one of a stream")
            return None
        rest = data[header.size :]
        origin = _origin(header) if rule is Rule.USE else None
        if origin is not None and self._config.session_seconds > 0:
            self._remember((client, port), origin, now)
        return (origin, rest) if rest else None

    def _session(self, client: str, port: int, now: float) -> Origin | None:
        """Who asks by a header that came before."""
        found = self._sessions.get((client, port))
        if found is None:
            return None
        until, origin = found
        if until <= now:
            del self._sessions[client, port]
            return None
        self._remember((client, port), origin, now)
        return origin

    def _remember(self, sender: tuple[str, int], origin: Origin, now: float) -> None:
        self._sessions[sender] = (now + self._config.session_seconds, origin)
        self._sessions.move_to_end(sender)
        if len(self._sessions) > self._config.most_sessions:
            self._sessions.popitem(last=False)


class StreamStart:
    """The beginning of one connection; see :class:`kdns.plugin.proxied.StreamHeader`."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._data = b""

    def received(self, data: bytes) -> tuple[Origin | None, bytes] | None:
        """See :class:`kdns.plugin.proxied.StreamHeader`."""
        self._data += data
        if not could_begin(self._data[: len(SIGNATURE)]):
            return None, self._data
        try:
            header = read_header(self._data)
        except BadHeader as error:
            raise ProxyRefused(str(error)) from None
        if header is None:
            return None
        if self._rule is Rule.REJECT:
            raise ProxyRefused("a header is not allowed")
        return (_origin(header) if self._rule is Rule.USE else None), self._data[header.size :]


def _origin(header: Header) -> Origin | None:
    if header.source is None:
        return None
    local = header.target[0] if header.target is not None else ""
    return Origin(*header.source, local)
