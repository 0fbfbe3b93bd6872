"""Failures that know what to tell the client."""

from __future__ import annotations

from kdns.wire.constants import REFUSED, SERVFAIL, rcode_text


class ResolutionFailed(Exception):
    """
    No answer came out; the server turns this into an empty reply with *rcode*, and ``errors`` logs the text.

    :ivar rcode: the response code for the client.
    :ivar text: what went wrong, for the operator.
    :ivar ede: Extended DNS Error for the client, as (info code, extra text), or None (RFC 8914).
    """

    def __init__(self, text: str, rcode: int = SERVFAIL, ede: tuple[int, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.rcode = rcode
        self.ede = ede

    def __str__(self) -> str:
        return f"{rcode_text(self.rcode)}: {self.text}"


class NoNextPlugin(ResolutionFailed):
    """The chain ended and nobody had answered; *plugin* was the last one asked."""

    def __init__(self, plugin: str) -> None:
        super().__init__(f"plugin/{plugin}: no next plugin found")
        self.plugin = plugin


class RcodeOnly(ResolutionFailed):
    """Nothing went wrong, there just is no answer but *rcode*; nothing for ``errors`` to log."""


class Refused(RcodeOnly):
    """The query is not served here."""

    def __init__(self, text: str = "no server block takes the query") -> None:
        super().__init__(text, REFUSED)
