"""Ten thousand damaged packets to a live server: it goes on answering, says nothing of tracebacks, and does not grow."""

from __future__ import annotations

import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import TARGETS, fuzz, mutated
from tests.integration.fuzzing import LiveServer

PACKETS = 10_000
ROUND = 500
WARM_UP = 3_000
"""Packets after which buffers, caches and code that is imported late have their size."""

GROWTH = 8 * 1024**2
"""
Octets that the process may grow after that. It was 1 MiB for 7,000 packets and 4 MiB for 27,000: damaged names are new names, and finished
replies to them are kept for a while.
"""


class FuzzedPacketsTests(SynchronousTestCase):
    """Over loopback, to a process of its own."""

    if not Path("/proc/self/status").exists():
        skip = "the size of a process is read from /proc"

    def test_packets(self) -> None:
        """Valid queries with some octets changed, cut, doubled or spliced, and pure noise, over UDP and TCP."""
        chance = random.Random(20_000)
        seeds = TARGETS[0].seeds[:2]
        with LiveServer() as server:
            warm = sent = 0
            while sent < PACKETS and not server.complaints:
                sent += server.throw(mutated(chance.choice(seeds), chance) for _ in range(ROUND))
                server.check_alive()
                if sent == WARM_UP:
                    warm = server.resident
            grown = server.resident - warm
        self.assertEqual(server.complaints, [])
        self.assertLess(grown, GROWTH)


class FuzzTargetsTests(SynchronousTestCase):
    """The targets of ``python -m tests.fuzz``, for a moment each, always with the same inputs first."""

    def test_targets(self) -> None:
        """Nothing breaks."""
        for target in TARGETS:
            said: list[str] = []
            self.assertEqual(fuzz(target, 0.5, 1, said.append), 0, said)

    def test_seeds_are_valid(self) -> None:
        """What inputs are made from is itself taken without complaint, and damage is damage."""
        chance = random.Random(1)
        for target in TARGETS:
            for seed in target.seeds:
                target.run(seed)
                self.assertTrue(any(mutated(seed, chance) != seed for _ in range(5)))
