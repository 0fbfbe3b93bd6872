# -*- test-case-name: tests.server.test_service -*-
"""
What a process does of a configuration: all of it, or the part of a worker or of the parent of workers (:mod:`kdns.workers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdns.plugin.seam import Resource

if TYPE_CHECKING:
    from kdns.server.assembly import Configuration, Endpoint


class Role:
    """The role of a process that is alone: it does everything. Others override what they do differently."""

    listens = True
    """Whether it opens the sockets of endpoints."""

    records = True
    """Whether it logs and counts its starts."""

    def runs(self, resource: Resource) -> bool:
        """Whether it starts a resource."""
        return True

    def port(self, endpoint: Endpoint) -> int:
        """The port to open for an endpoint."""
        return endpoint.port

    def checks(self, configuration: Configuration) -> Sequence[Any]:
        """What takes part in readiness."""
        return configuration.checks

    async def agreed(self, configuration: Configuration) -> None:
        """
        Wait until the other processes are prepared to serve *configuration*, whose resources and sockets are ready here.

        :raises Exception: one of them is not; then nothing changes.
        """

    async def leave(self) -> None:
        """Let the other processes end, after the delays that resources ask for."""
