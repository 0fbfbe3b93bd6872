# -*- test-case-name: tests.server.test_doq, tests.plugins.forward.test_quic -*-
"""What listeners and upstreams over QUIC share in their use of aioquic: it logs nothing, and what it held is freed."""

from __future__ import annotations

import logging
from typing import Any

logging.getLogger("quic").setLevel(logging.CRITICAL + 1)  # it would print whatever the other end gets wrong

SOONEST = 0.001
"""Seconds to the next look at a connection at least: a time that has passed would keep the reactor busy."""


def free(connection: Any) -> None:
    """
    Drop everything that an ended connection of aioquic's holds.

    It refers to itself in many places, and so do packets that were never acknowledged; all of it would stay until the next collection of
    garbage. The attributes are aioquic's own; tests look for what is left.
    """
    for space in connection._spaces.values():
        space.sent_packets.clear()
    connection.__dict__.clear()
