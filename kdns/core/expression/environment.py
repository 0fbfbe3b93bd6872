# -*- test-case-name: tests.core.expression.test_environment -*-
"""
The functions that expressions have about a query, as CoreDNS names them.

An expression that looks at something which does not stand in the question makes its outcome good for fewer queries. So each function says
how far what it returns is :class:`Seen`, and the subject of an evaluation remembers the furthest.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from ipaddress import ip_address, ip_network

from kdns.core.expression.values import EnvironmentFunction, Value
from kdns.core.request import Request
from kdns.wire.constants import class_text, type_text
from kdns.wire.names import to_text


class Seen(IntEnum):
    """What an evaluation has looked at, the least first."""

    QUESTION = 0
    """Name, type, class and DO: what a cache keeps answers under."""

    MESSAGE = 1
    """Other parts of the query: the same bytes give the same outcome."""

    ELSE = 2
    """The client, its connection, metadata: the next query may have another outcome."""


class QuerySubject:
    """
    A query that expressions are evaluated about.

    :param declared: how labels of metadata begin whose plugins declare what these depend on: the answer table knows, and a cache does not.
    :ivar seen: what they have looked at.
    """

    __slots__ = ("_declared", "request", "seen")

    def __init__(self, request: Request, declared: tuple[str, ...] = ()) -> None:
        self.request = request
        self.seen = Seen.QUESTION
        self._declared = declared

    def look(self, at: Seen) -> None:
        """Remember that something was looked at."""
        if at > self.seen:
            self.seen = at

    def metadata(self, label: str) -> str:
        """The value of a label of metadata; empty without one."""
        self.look(Seen.MESSAGE if label.startswith(self._declared) else Seen.ELSE)
        value = (self.request.metadata or {}).get(label, "")
        return value() if callable(value) else value


def _function(
    result: str, at: Seen, read: Callable[..., Value], parameters: tuple[str, ...] = ()
) -> EnvironmentFunction:
    def call(subject: QuerySubject, *args: Value) -> Value:
        subject.look(at)
        return read(subject.request, *args)

    return EnvironmentFunction(parameters, result, call)


def _in_network(request: Request, address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        pass
    try:
        ip_network(network, strict=False)
    except ValueError:
        raise ValueError(f"invalid CIDR address: {network}") from None
    raise ValueError(f"invalid IP address: {address}")


QUERY_FUNCTIONS: dict[str, EnvironmentFunction] = {
    "type": _function("string", Seen.QUESTION, lambda request: type_text(request.qtype)),
    "name": _function("string", Seen.QUESTION, lambda request: to_text(request.qname)),
    "class": _function("string", Seen.QUESTION, lambda request: class_text(request.qclass)),
    "do": _function("bool", Seen.QUESTION, lambda request: request.do),
    "size": _function("int", Seen.MESSAGE, lambda request: request.size),
    "opcode": _function("int", Seen.MESSAGE, lambda request: request.flags >> 11 & 15),
    "proto": _function("string", Seen.ELSE, lambda request: request.transport.protocol),
    "bufsize": _function("int", Seen.ELSE, lambda request: request.limit),
    "client_ip": _function("string", Seen.ELSE, lambda request: request.client),
    "port": _function("string", Seen.ELSE, lambda request: str(request.client_port)),
    "id": _function("int", Seen.ELSE, lambda request: request.ident),
    "server_ip": _function("string", Seen.ELSE, lambda request: request.local),
    "server_port": _function("string", Seen.ELSE, lambda request: request.server.label.rpartition(":")[2]),
    "incidr": _function("bool", Seen.QUESTION, _in_network, ("string", "string")),
    "metadata": EnvironmentFunction(("string",), "string", lambda subject, label: subject.metadata(label)),
}
"""Every function by name."""
