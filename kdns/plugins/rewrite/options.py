# -*- test-case-name: tests.plugins.rewrite.test_options -*-
"""EDNS options that rules add to a query, change or remove, and how the reply gets the client's own back (RFC 6891 section 6.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from kdns.core.request import Request

Option = tuple[int, bytes]
"""Code and data."""


class Action(Enum):
    """What a rule does with an option."""

    SET = "set"
    """Replace the first one of the code, or add it."""

    APPEND = "append"
    """Add it unless there is one of the code."""

    REPLACE = "replace"
    """Replace the first one of the code, if there is one."""

    UNSET = "unset"
    """Remove all of the code."""


@dataclass(frozen=True, slots=True)
class Undo:
    """
    How to take a change back.

    :ivar old: data of the option that was replaced; None when the option was added.
    """

    code: int
    new: bytes
    old: bytes | None

    def applied(self, options: tuple[Option, ...]) -> tuple[Option, ...]:
        """The options without the change."""
        index = next((index for index, (code, _) in enumerate(options) if code == self.code), None)
        if index is None:
            return options
        kept = () if self.old is None else ((self.code, self.old),)
        return options[:index] + kept + options[index + 1 :]


def changed(
    options: tuple[Option, ...], action: Action, code: int, data: bytes
) -> tuple[tuple[Option, ...], Undo | None] | None:
    """
    The options after an action, and how to take it back; None when the action does not apply.

    The second is None when nothing was changed.
    """
    index = next((index for index, (known, _) in enumerate(options) if known == code), None)
    match action:
        case Action.UNSET:
            return tuple(option for option in options if option[0] != code), None
        case Action.REPLACE if index is None:
            return None
        case Action.APPEND if index is not None:
            return options, None
    if index is None:
        return (*options, (code, data)), Undo(code, data, None)
    return (*options[:index], (code, data), *options[index + 1 :]), Undo(code, data, options[index][1])


@dataclass(frozen=True, slots=True)
class SubnetPrefix:
    """How much of a client's address an upstream is told (RFC 7871)."""

    ipv4: int
    """Bits, 0 to 32."""

    ipv6: int
    """Bits, 0 to 128."""

    def option(self, client: str) -> bytes:
        """The data of the option for a client's address: family, source prefix, scope, address."""
        address = ip_address(client)
        bits = self.ipv4 if address.version == 4 else self.ipv6
        shown = (bits + 7) // 8
        packed = bytearray(address.packed[:shown])
        if bits % 8:
            packed[-1] &= 0xFF << (8 - bits % 8) & 0xFF
        return bytes((0, 1 if address.version == 4 else 2, bits, 0)) + bytes(packed)


OptionData = Callable[[Request, str, int], bytes | None]
"""What an option holds for a query, from the request, its name and its type as rules left them; None without a value."""

VARIABLES: dict[str, OptionData] = {
    "{qname}": lambda request, name, qtype: name.encode(),
    "{qtype}": lambda request, name, qtype: qtype.to_bytes(2, "big"),
    "{client_ip}": lambda request, name, qtype: ip_address(request.client).packed,
    "{client_port}": lambda request, name, qtype: request.client_port.to_bytes(2, "big"),
    "{protocol}": lambda request, name, qtype: request.transport.protocol.encode(),
    "{server_ip}": lambda request, name, qtype: ip_address(request.local).packed,
    "{server_port}": lambda request, name, qtype: _port(request.server.label).to_bytes(2, "big"),
}
"""Variables of ``edns0 local``; those with a slash are labels of metadata."""


def metadata_value(label: str) -> OptionData:
    """The variable that is a label of metadata."""

    def read(request: Request, name: str, qtype: int) -> bytes | None:
        value = (request.metadata or {}).get(label, "")
        return (value() if callable(value) else value).encode() or None

    return read


def _port(label: str) -> int:
    digits = label.rpartition(":")[2]
    return int(digits) if digits.isdigit() else 0
