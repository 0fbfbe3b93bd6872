"""``kdns status``: looks at a server, and what becomes of them."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.main import COMMANDS
from kdns.cli.screen import Order, painted
from kdns.cli.status import APART, History, Screen, actions, as_json, as_text, frame, main, twice
from tests.cli.test_screen import a_look


class HistoryTests(SynchronousTestCase):
    """The looks of the last minute."""

    def after(self, *seconds: float) -> History:
        """A history of looks at these ages of the server."""
        history = History()
        for second in seconds:
            history.add(a_look(second))
        return history

    def ages(self, history: History) -> tuple[object, ...]:
        """The ages of the looks of the view."""
        view = history.view()
        return tuple(None if look is None else look["seconds"] for look in (view.now, view.before, view.earlier))

    def test_first(self) -> None:
        """The first look stands alone."""
        self.assertEqual(self.ages(self.after(10)), (10, None, None))

    def test_minute(self) -> None:
        """The earlier look is the first one, then one that is a minute old, or what is nearest above."""
        self.assertEqual(self.ages(self.after(10, 12)), (12, 10, 10))
        self.assertEqual(self.ages(self.after(*range(10, 66, 5))), (65, 60, 10))
        self.assertEqual(self.ages(self.after(*range(10, 201, 5))), (200, 195, 140))
        self.assertEqual(self.ages(self.after(10, 200)), (200, 10, 10))

    def test_restart(self) -> None:
        """What another process told before is of no use."""
        history = self.after(100, 102)
        history.add(a_look(103) | {"pid": 78})
        self.assertEqual(self.ages(history), (103, None, None))
        history.add(a_look(1) | {"pid": 78})
        self.assertEqual(self.ages(history), (1, None, None))

    def test_trouble(self) -> None:
        """What prevents a look is shown until the next one succeeds."""
        history = self.after(1)
        history.failed("gone")
        self.assertEqual(history.view().trouble, "gone")
        history.add(a_look(2))
        self.assertEqual(history.view().trouble, "")

    def test_points(self) -> None:
        """The history has a figure for each look after the first, and a gap for one that failed and for another process."""
        history = self.after(10, 11, 12)
        history.failed("gone")
        history.add(a_look(13) | {"pid": 78})
        history.add(a_look(15) | {"pid": 78})
        points = history.view().points
        self.assertEqual([None if point is None else point.queries for point in points], [100, 100, None, None, 100])


class KeyTests(SynchronousTestCase):
    """What keys do."""

    def screen(self, *pressed: str, height: int = 20) -> tuple[Screen, list[str]]:
        """The screen after keys, and its lines."""
        history = History()
        for second in (10, 11):
            history.add(a_look(second))
        screen, lines = Screen().shown(history.view(), 80, height, 10)
        for action in pressed:
            screen, lines = screen.after(action, height - 2).shown(history.view(), 80, height, 10)
        self.assertEqual(len(lines), height)
        return screen, painted(lines, 80, colour=False)

    def test_read(self) -> None:
        """Keys and the sequences that terminals send for them, several at a time; others mean nothing, and the end of input ends."""
        self.assertEqual(actions("\x1b[A\x1b[Bx\x1b[6~ "), ["up", "down", "page down", "pause"])
        self.assertEqual((actions(""), actions("\x1b[1;5C"), actions("\x03")), (["quit"], [], ["quit"]))

    def test_scroll(self) -> None:
        """Scrolled, everything there is can be reached, and no further; back at the top it is cut to fit again."""
        _, top = self.screen()
        screen, lines = self.screen("page down")
        self.assertEqual(screen.offset, 18)
        self.assertRegex(lines[-1], r"lines 19 to \d+ of \d+$")
        end, last = self.screen("end")
        place = last[-1].rpartition("lines ")[2].split()
        self.assertEqual(place[2], place[4])
        self.assertEqual(end.offset + 19, int(place[4]))
        self.assertEqual(self.screen("end", "down")[0], end)
        self.assertEqual(self.screen("end", "up")[0].offset, end.offset - 1)
        self.assertEqual(self.screen("end", "top")[1], top)

    def test_sort_and_pause(self) -> None:
        """Each press takes the next order, and around; pause is on and off."""
        orders = [self.screen(*["sort"] * times)[0].order for times in range(4)]
        self.assertEqual(orders, [Order.AMOUNT, Order.LATENCY, Order.NAME, Order.AMOUNT])
        self.assertTrue(self.screen("pause")[1][-1].startswith("PAUSED"))
        self.assertFalse(self.screen("pause", "pause")[0].paused)


class OnceTests(SynchronousTestCase):
    """A view that ends."""

    def twice(self) -> History:
        """Two looks, a second apart."""
        slept: list[float] = []
        looks = iter((a_look(10), a_look(11)))
        history = twice(lambda: next(looks), slept.append)
        self.assertEqual(slept, [APART])
        return history

    def test_text(self) -> None:
        """Into a file there are no colours."""
        text = as_text(self.twice().view(), io.StringIO())
        self.assertNotIn("\x1b", text)
        self.assertIn("QUERIES/s", text)

    def test_json(self) -> None:
        """The figures of the server with rates beside them."""
        found: dict[str, Any] = json.loads(as_json(self.twice().view()))
        self.assertEqual(found["version"], "1.2.3")
        rates = found["rates"]
        self.assertEqual((rates["seconds"], rates["queries"]), (1.0, {"udp": 90.0, "tcp": 10.0}))
        self.assertEqual(rates["table"], {"given": 80.0, "made": 10.0, "asked": 10.0, "evicted": 0.0, "outdated": 10.0})
        self.assertEqual(rates["cache"]["misses"], 10.0)

    def test_frame(self) -> None:
        """A frame writes each line over the one before it, and clears what is below."""
        self.assertEqual(frame(["a", "b"]), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J")


class CommandTests(SynchronousTestCase):
    """The command."""

    def run_it(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(words)
        return status, out.getvalue(), err.getvalue()

    def test_known(self) -> None:
        """``kdns status`` leads here."""
        self.assertEqual(COMMANDS["status"], "kdns.cli.status")

    def test_nobody(self) -> None:
        """Where no kdns can be asked that is said, and the exit status tells."""
        status, out, err = self.run_it("--once", "--socket", str(self.mktemp()))
        self.assertEqual((status, out), (3, ""))
        self.assertTrue(err.startswith("kdns status: no kdns answers at "), err)

    def test_usage(self) -> None:
        """A flag that there is not is wrong usage; help is none."""
        self.assertEqual(self.run_it("--wrong")[0], 2)
        status, out, _ = self.run_it("--help")
        self.assertEqual(status, 0)
        self.assertIn("kdns status --once", out)

    def test_light(self) -> None:
        """Nothing of Twisted is imported for it."""
        import subprocess

        program = "import sys, kdns.cli.status; sys.exit('twisted' in sys.modules or 'msgspec' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode, 0)
