"""Failures, each with the response code for the client."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar

from kdns.wire.constants import REFUSED, SERVFAIL, rcode_text

if TYPE_CHECKING:
    from kdns.core.answer import Seal

FailureT = TypeVar("FailureT", bound="ResolutionFailed")


class ResolutionFailed(Exception):
    """
    There is no answer. The server sends an empty reply with *rcode*, and ``errors`` logs the text.

    :ivar rcode: the response code for the client.
    :ivar text: what went wrong, for the operator.
    :ivar ede: Extended DNS Error for the client, as (info code, extra text), or None (RFC 8914).
    :ivar options: EDNS options of the reply as (code, data), or None for those that are echoed.
    :ivar seal: signs the reply; see :attr:`kdns.core.answer.Answer.seal`.
    """

    def __init__(self, text: str, rcode: int = SERVFAIL, ede: tuple[int, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.rcode = rcode
        self.ede = ede
        self.options: tuple[tuple[int, bytes], ...] | None = None
        self.seal: Seal | None = None

    def sealed(self: FailureT, seal: Seal) -> FailureT:
        """A copy for one client: several may wait for what has failed."""
        made = copy(self)
        made.seal = seal
        return made

    def __str__(self) -> str:
        return f"{rcode_text(self.rcode)}: {self.text}"


class NoNextPlugin(ResolutionFailed):
    """No plugin of the chain answered; *plugin* is the last one."""

    def __init__(self, plugin: str) -> None:
        super().__init__(f"plugin/{plugin}: no next plugin found")
        self.plugin = plugin


class RcodeOnly(ResolutionFailed):
    """An empty reply with *rcode* is the answer; ``errors`` does not log it."""


class Refused(RcodeOnly):
    """The query is not served here."""

    def __init__(self, text: str = "no server block takes the query") -> None:
        super().__init__(text, REFUSED)
