# -*- test-case-name: tests.plugins.forward.test_plugin -*-
"""
The addresses that the TOs of a stanza stand for now: files are read again when they change, host names are looked up once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IResolutionReceiver
from twisted.logger import Logger
from zope.interface import implementer

from kdns.core.config_files import config_file_status, read_config_file
from kdns.core.degraded import Condition, DegradedStates, Fault
from kdns.core.text import reason_of
from kdns.corefile.values import BadValue, quote
from kdns.plugins.forward.failures import ExchangeFailed
from kdns.plugins.forward.sockets import ask_once
from kdns.plugins.forward.targets import NamedTarget, Target, To, each_once, nameservers, with_carrier
from kdns.wire.constants import AAAA, IN, RD, A
from kdns.wire.message import ANSWER, MalformedMessage, scan
from kdns.wire.names import BadName, from_text
from kdns.wire.query import HEADER

RESOLVER_PATIENCE = 2.0
"""Seconds that a resolver has for the address of a host."""

_log = Logger(namespace="plugin/forward")


class _NoServers(Exception):
    """A file that named servers names none now."""


class _File:
    """A resolv.conf and the servers it named last."""

    def __init__(self, path: str, source: NamedTarget, degraded: Condition, wall: Callable[[], float]) -> None:
        self.path = path
        self.degraded = degraded
        self._wall = wall
        self.source = source
        self.targets: list[Target] = []
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> bool:
        """
        Read it if it changed.

        :return: whether it names other servers than before.
        :raises OSError: it cannot be read.
        :raises _NoServers: it named servers before, and names none now.
        """
        status = config_file_status(self.path)
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return False
        text = read_config_file(self.path).decode("utf-8", errors="replace")
        found = [with_carrier(target, self.source) for target in nameservers(text)]
        self._seen = seen
        if found == self.targets:
            return False
        if not found and self.targets:
            self._seen = None
            raise _NoServers("names no server any more; the servers it named before stay in use")
        self.targets = found
        return True

    def read_again(self) -> bool:
        """Like :meth:`read`; a file that cannot be used changes nothing, and is logged once."""
        try:
            changed = self.read()
        except OSError as error:
            self.degraded.begin(f"cannot be read: {reason_of(error)}", self._wall(), _log)
            return False
        except _NoServers as error:
            self.degraded.begin(str(error), self._wall(), _log)
            return False
        self.degraded.end(self._wall(), _log)
        return changed


class Sources:
    """
    The TOs of one stanza.

    :param root: the folder that relative paths start at; empty is the working directory.
    :param degraded: where files that cannot be used are listed.
    :param wall: seconds since 1970.
    :raises BadValue: a TO is neither address, file nor host name; or there are neither addresses nor host names.
    :ivar hosts: the host names, with the addresses found for each.
    """

    def __init__(
        self,
        to: Sequence[To],
        root: str = "",
        degraded: DegradedStates | None = None,
        wall: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._to = to
        self._degraded = DegradedStates() if degraded is None else degraded
        self._wall = wall
        self._files: dict[NamedTarget, _File] = {}
        self.hosts: dict[NamedTarget, list[Target]] = {}
        for source in to:
            if isinstance(source, NamedTarget):
                self._look_at(source, os.path.join(root, source.name))
        if not self.hosts:
            self.targets()

    def _look_at(self, source: NamedTarget, path: str) -> None:
        file = _File(path, source, self._degraded.condition(Fault.RESOLV_CONF, path), self._wall)
        try:
            file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if "/" in source.name:
                reason = reason_of(error)
                raise BadValue(f"failed to resolve {quote(source.name)}: {reason}") from None
            try:
                from_text(source.name)
            except BadName:
                raise BadValue(f"not an IP address or file: {quote(source.name)}") from None
            self.hosts[source] = []
        except OSError as error:
            raise BadValue(f"cannot read {quote(source.name)}: {reason_of(error)}") from None
        else:
            self._files[source] = file

    @property
    def has_files(self) -> bool:
        """Whether there are files to read again."""
        return bool(self._files)

    def targets(self) -> tuple[Target, ...]:
        """
        The addresses that the TOs stand for now, in their order, each once.

        :raises BadValue: none, or too many.
        """
        found: list[Target] = []
        for source in self._to:
            if isinstance(source, Target):
                found.append(source)
            elif source in self._files:
                found += self._files[source].targets
            else:
                found += self.hosts[source]
        return each_once(found)

    def stop(self) -> None:
        """The files are not read again."""
        for file in self._files.values():
            file.degraded.forget()

    def read_again(self) -> bool:
        """Read the files that changed; whether the addresses changed."""
        changes = [file.read_again() for file in self._files.values()]  # each of them, whatever the first says
        return any(changes)

    async def look_up(self, reactor: Any, resolvers: Sequence[Target], chance: Random) -> None:
        """
        Look the host names up at *resolvers*, or with the system's resolver when there are none.

        :raises BadValue: one has no address, or no resolver knows it.
        """
        for source, found in self.hosts.items():
            if resolvers:
                addresses = await _ask_resolvers(reactor, source.name, resolvers, chance)
            else:
                addresses = await _ask_system(reactor, source.name)
            if not addresses:
                raise BadValue(f"failed to resolve {quote(source.name)}: no such host")
            found[:] = [source.at(address) for address in addresses]


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects the addresses that the reactor's resolver finds."""

    def __init__(self, done: Deferred[list[str]]) -> None:
        self._done = done
        self._found: list[str] = []

    def resolutionBegan(self, resolution: object) -> None:
        """It has begun."""
        self.resolution: Any = resolution

    def addressResolved(self, address: object) -> None:
        """One address was found."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """These are all."""
        if not self._done.called:
            self._done.callback(list(dict.fromkeys(self._found)))


async def _ask_system(reactor: Any, name: str) -> list[str]:
    done: Deferred[list[str]] = Deferred(lambda _: receiver.resolution.cancel())
    receiver = _Addresses(done)
    reactor.nameResolver.resolveHostName(receiver, name, 0)
    return await done


async def _ask_resolvers(reactor: Any, name: str, resolvers: Sequence[Target], chance: Random) -> list[str]:
    trouble = "no such host"
    for resolver in resolvers:
        try:
            return [
                *await _addresses(reactor, name, A, resolver, chance),
                *await _addresses(reactor, name, AAAA, resolver, chance),
            ]
        except ExchangeFailed as failure:
            trouble = failure.text
    raise BadValue(f"failed to resolve {quote(name)}: {trouble}")


async def _addresses(reactor: Any, name: str, qtype: int, resolver: Target, chance: Random) -> list[str]:
    question = from_text(name) + qtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
    message = HEADER.pack(0, RD, 1, 0, 0, 0)[2:] + question
    try:
        reply = scan(await ask_once(reactor, resolver, chance, message, question, RESOLVER_PATIENCE))
    except MalformedMessage:
        raise ExchangeFailed(f"unreadable reply from {resolver.text}") from None
    packed = [
        reply.message[slot.rdata : slot.end] for slot in reply.slots if (slot.section, slot.rtype) == (ANSWER, qtype)
    ]
    return [str(ip_address(address)) for address in packed if len(address) in (4, 16)]
