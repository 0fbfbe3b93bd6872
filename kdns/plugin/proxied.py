# -*- test-case-name: tests.plugins.proxyproto -*-
"""What a listener asks about clients behind a proxy; *proxyproto* answers."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Origin(NamedTuple):
    """Who asks, and whom, as far as the proxy told; addresses as text."""

    client: str
    port: int
    local: str = ""
    """Empty: the address that the socket tells."""


class StreamHeader(Protocol):
    """Takes the beginning of a connection."""

    def received(self, data: bytes) -> tuple[Origin | None, bytes] | None:
        """
        Take some bytes.

        :return: who asks, None for who is connected, with the bytes behind the header; None while more is needed.
        :raises ProxyRefused: the connection must be closed.
        """


class ProxyPolicy(Protocol):
    """What the clients of a listener may say about who they are."""

    def stream(self, client: str) -> StreamHeader | None:
        """What takes the beginning of a connection from an address; None: it has no header."""

    def datagram(self, data: bytes, client: str, port: int, now: float) -> tuple[Origin | None, bytes] | None:
        """The same for a datagram; None: it is dropped."""


class ProxyRefused(Exception):
    """A header that is broken, or not allowed; the text is for the operator."""
