"""The share of the processor that the process took."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.saturation import Vitals, waited


class VitalsTests(SynchronousTestCase):
    """Looks at two clocks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = 100.0

    def vitals(self, cores: float = 8.0) -> Vitals:
        """With so many cores to be had."""
        return Vitals(self.clock.seconds, lambda: self.used, cores)

    def work(self, vitals: Vitals, seconds: int, share: float) -> None:
        """Let time pass, of which the process takes a share."""
        for _ in range(seconds):
            vitals.look()
            self.clock.advance(1.0)
            self.used += share

    def test_share(self) -> None:
        """Three tenths of a core are three tenths, however many cores there are."""
        vitals = self.vitals()
        self.work(vitals, 5, 0.3)
        self.assertAlmostEqual(vitals.saturation(), 0.3)

    def test_last_seconds(self) -> None:
        """Only the last ten seconds count."""
        vitals = self.vitals()
        self.work(vitals, 60, 1.0)
        self.assertAlmostEqual(vitals.saturation(), 1.0)
        self.work(vitals, 5, 0.0)
        self.assertAlmostEqual(vitals.saturation(), 6 / 11)
        self.work(vitals, 6, 0.0)
        self.assertAlmostEqual(vitals.saturation(), 0.0)

    def test_until_now(self) -> None:
        """What happened since the last look counts."""
        vitals = self.vitals()
        vitals.look()
        self.clock.advance(0.5)
        self.used += 0.25
        self.assertAlmostEqual(vitals.saturation(), 0.5)

    def test_limit(self) -> None:
        """Half a core taken is all there is where the control group allows half a core."""
        vitals = self.vitals(0.5)
        self.work(vitals, 5, 0.25)
        self.assertAlmostEqual(vitals.saturation(), 0.5)
        self.work(vitals, 20, 0.5)
        self.assertAlmostEqual(vitals.saturation(), 1.0)

    def test_never_above(self) -> None:
        """Threads beside the one that answers do not make it more than all."""
        vitals = self.vitals()
        self.work(vitals, 5, 1.7)
        self.assertEqual(vitals.saturation(), 1.0)

    def test_at_first(self) -> None:
        """Before any time has passed nothing can be said, which is idle; looks too soon after each other are not remembered."""
        vitals = self.vitals()
        self.assertEqual(vitals.saturation(), 0.0)
        for _ in range(100):
            vitals.look()
        self.assertEqual(vitals.saturation(), 0.0)
        self.work(vitals, 3, 0.5)
        self.assertAlmostEqual(vitals.saturation(), 0.5)

    def test_waited(self) -> None:
        """How long it waited for a core is what the kernel says; where it says nothing, 0."""
        file = Path(self.mktemp())
        self.assertEqual(waited(file), 0.0)
        file.write_text("5000000000 1500000000 77\n")
        self.assertEqual(waited(file), 1.5)
        file.write_text("?")
        self.assertEqual(waited(file), 0.0)
