"""The share of the processor that the process took."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.server.saturation import Saturation, waited


class SaturationTests(SynchronousTestCase):
    """Looks at two clocks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.used = 100.0

    def saturation(self, cores: float = 8.0) -> Saturation:
        """A process that may use so many cores."""
        return Saturation(self.clock.seconds, lambda: self.used, cores)

    def work(self, saturation: Saturation, seconds: int, share: float) -> None:
        """Let time pass, of which the process takes a share."""
        for _ in range(seconds):
            saturation.sample()
            self.clock.advance(1.0)
            self.used += share

    def test_share(self) -> None:
        """Three tenths of a core are three tenths, however many cores there are."""
        saturation = self.saturation()
        self.work(saturation, 5, 0.3)
        self.assertAlmostEqual(saturation.share(), 0.3)

    def test_last_seconds(self) -> None:
        """Only the last ten seconds count."""
        saturation = self.saturation()
        self.work(saturation, 60, 1.0)
        self.assertAlmostEqual(saturation.share(), 1.0)
        self.work(saturation, 5, 0.0)
        self.assertAlmostEqual(saturation.share(), 6 / 11)
        self.work(saturation, 6, 0.0)
        self.assertAlmostEqual(saturation.share(), 0.0)

    def test_until_now(self) -> None:
        """What happened since the last sample counts."""
        saturation = self.saturation()
        saturation.sample()
        self.clock.advance(0.5)
        self.used += 0.25
        self.assertAlmostEqual(saturation.share(), 0.5)

    def test_limit(self) -> None:
        """Half a core taken is all there is where the control group allows half a core."""
        saturation = self.saturation(0.5)
        self.work(saturation, 5, 0.25)
        self.assertAlmostEqual(saturation.share(), 0.5)
        self.work(saturation, 20, 0.5)
        self.assertAlmostEqual(saturation.share(), 1.0)

    def test_never_above(self) -> None:
        """Other threads do not make it more than all."""
        saturation = self.saturation()
        self.work(saturation, 5, 1.7)
        self.assertEqual(saturation.share(), 1.0)

    def test_at_first(self) -> None:
        """Before any time has passed it is idle; samples too soon after each other are not kept."""
        saturation = self.saturation()
        self.assertEqual(saturation.share(), 0.0)
        for _ in range(100):
            saturation.sample()
        self.assertEqual(saturation.share(), 0.0)
        self.work(saturation, 3, 0.5)
        self.assertAlmostEqual(saturation.share(), 0.5)

    def test_waited(self) -> None:
        """How long it waited for a core is what the kernel says; where it says nothing, 0."""
        file = Path(self.mktemp())
        self.assertEqual(waited(file), 0.0)
        file.write_text("5000000000 1500000000 77\n")
        self.assertEqual(waited(file), 1.5)
        file.write_text("?")
        self.assertEqual(waited(file), 0.0)
