# -*- test-case-name: tests.plugins.azure.test_azure,tests.plugins.clouddns.test_clouddns -*-
"""Bearer tokens of a provider (RFC 6750), kept while they hold, and the errors of those who give them (RFC 6749 section 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from kdns.plugins.stores.rest import Refusal, RestClient, StoreProblem, short

RENEW_BEFORE = 300.0
"""Seconds before its end at which another token is asked for."""

METADATA = "http://169.254.169.254"
"""The metadata service of a machine. Its name might be looked up through this very server."""

METADATA_PATIENCE = 2.0

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Token(NamedTuple):
    """A token, and the seconds for which it holds."""

    text: str
    seconds: float


class _Failed(msgspec.Struct):
    error: str = ""
    error_description: str = ""


class Tokens:
    """
    The token of one account; subclasses ask for it.

    :cvar vendor: as problems name it.
    """

    vendor = ""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._token = ""
        self._ends = 0.0

    async def current(self, client: RestClient) -> str:
        """
        A token that holds for some minutes at least.

        :raises StoreProblem: there is none.
        """
        if not self._token or self._wall() >= self._ends - RENEW_BEFORE:
            try:
                found = await self.ask(client)
                if not found.text.isascii() or not found.text.isprintable():
                    raise StoreProblem("it holds other characters than tokens do")
            except Refusal as refusal:
                raise StoreProblem(f"a token of {self.vendor}: {_why(refusal)}") from None
            except StoreProblem as problem:
                raise StoreProblem(f"a token of {self.vendor}: {problem}") from None
            self._token = found.text
            self._ends = self._wall() + found.seconds
        return self._token

    def refused(self) -> None:
        """The provider does not take it: ask for another."""
        self._token = ""

    async def ask(self, client: RestClient) -> Token:
        """
        Ask for a new one.

        :raises Refusal, StoreProblem: there is none.
        """
        raise NotImplementedError


def _why(refusal: Refusal) -> str:
    try:
        found = msgspec.json.decode(refusal.body, type=_Failed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(refusal)
    return short(found.error_description or found.error) or str(refusal)


__all__ = ["FORM", "METADATA", "METADATA_PATIENCE", "Token", "Tokens"]
