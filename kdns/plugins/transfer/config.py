# -*- test-case-name: tests.plugins.transfer.test_config -*-
"""``transfer`` in a Corefile: which clients may have which zones, and who is told of changes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from kdns.core.text import bracketed
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import BadValue, parse_int, quote, split_host_port
from kdns.plugin.seam import Block
from kdns.plugins.file.config import origins


@dataclass(frozen=True, slots=True)
class Peer:
    """Another name server."""

    host: str
    """An IP address in its shortest form."""

    port: int = 53

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Stanza:
    """One ``transfer``."""

    zones: tuple[bytes, ...]
    to: tuple[Peer, ...]
    """Who may transfer, whatever port it asks from, and who is told of changes."""

    anyone: bool
    """Whether everybody may transfer (``*``)."""

    source: str = ""
    """The address that NOTIFY messages are sent from; empty lets the system choose."""

    def allows(self, client: str) -> bool:
        """Whether the client may have the zones."""
        return self.anyone or any(peer.host == client for peer in self.to)


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """All ``transfer`` of a block."""

    stanzas: tuple[Stanza, ...]


def parse(tokens: Dispenser, block: Block) -> TransferConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    stanzas = []
    for _ in tokens.invocations():
        zones = origins(tokens.remaining_args(), block)
        to: list[Peer] = []
        anyone, source = False, ""
        for option in tokens.block():
            match option:
                case "to":
                    words = tokens.args(1, None)
                    anyone = anyone or "*" in words
                    to += [tokens.convert(parse_peer, word) for word in words if word != "*"]
                case "source":
                    word = tokens.word()
                    if source:
                        raise tokens.error("source already specified")
                    address = _address(word)
                    if address is None:
                        raise tokens.error(f"invalid source address {quote(word)}")
                    source = str(address)
                case _:
                    raise tokens.error(f"unknown property {quote(option)}")
        if not to and not anyone:
            raise tokens.error("'to' is required")
        stanzas.append(Stanza(zones, tuple(to), anyone, source))
    return TransferConfig(tuple(stanzas))


def parse_peer(text: str) -> Peer:
    """
    ``IP`` or ``IP:PORT``.

    :raises BadValue: something else.
    """
    address = _address(text)
    if address is not None:
        return Peer(str(address))
    try:
        host, port = split_host_port(text)
    except BadValue:
        raise BadValue(f"must specify an IP address: `{text.partition(':')[0] if '://' in text else text}'") from None
    address = _address(host)
    if address is None:
        raise BadValue(f"must specify an IP address: `{host}'")
    return Peer(str(address), parse_int(port))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
