# -*- test-case-name: tests.plugins.test_bind -*-
"""``bind``: listen on some addresses, given as they are or by their interface, instead of on all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import SetupError
from kdns.corefile.values import quote
from kdns.plugin.interfaces import Interfaces, Lookup, interfaces
from kdns.plugin.seam import Block, BlockBuilder


@dataclass(frozen=True, slots=True)
class BindLine:
    """One ``bind``."""

    names: tuple[str, ...]
    """Addresses and interfaces."""

    excepted: tuple[str, ...] = ()
    """Addresses and interfaces to leave out."""


@dataclass(frozen=True, slots=True)
class BindConfig:
    """All ``bind`` directives of a block."""

    wanted: tuple[BindLine, ...]


class BindDirective:
    """
    See :class:`kdns.plugin.seam.Directive`.

    :param lookup: gives the addresses of this machine.
    """

    name = "bind"

    def __init__(self, lookup: Lookup = interfaces) -> None:
        self._lookup = lookup

    def parse(self, tokens: Dispenser, block: Block) -> BindConfig:
        """``bind ADDRESS|INTERFACE... { except ADDRESS|INTERFACE... }``, repeatable."""
        wanted = []
        for _ in tokens.invocations():
            names = tokens.remaining_args()
            if not names:
                raise tokens.plain_error("at least one address or interface name is expected")
            excepted: list[str] = []
            for option in tokens.block():
                if option != "except":
                    raise tokens.plain_error(f"invalid option {quote(option)}")
                words = tokens.remaining_args()
                if not words:
                    raise tokens.plain_error("at least one address or interface must be given to except subdirective")
                excepted += words
            wanted.append(BindLine(tuple(names), tuple(excepted)))
        return BindConfig(tuple(wanted))

    def build(self, config: BindConfig, builder: BlockBuilder) -> None:
        """
        Find the current addresses of the names.

        :raises SetupError: a name is neither an address nor an interface, or nothing is left to listen on.
        """
        known = self._lookup()
        addresses: dict[str, None] = {}
        for wanted in config.wanted:
            excepted = set(_addresses(wanted.excepted, known))
            addresses.update(dict.fromkeys(text for text in _addresses(wanted.names, known) if text not in excepted))
        if not addresses:
            # An empty list would mean all addresses.
            raise SetupError("no address is left to listen on", plugin=self.name, located=False)
        builder.binds = (*builder.binds, *addresses)


def _addresses(names: Iterable[str], known: Interfaces) -> list[str]:
    found: list[str] = []
    for name in names:
        if name in known:
            found += known[name]
            continue
        try:
            ip_address(name)
        except ValueError:
            text = f"not a valid IP address or interface name: {quote(name)}"
            raise SetupError(text, plugin="bind", located=False) from None
        found.append(name)
    return found


directive = BindDirective()
