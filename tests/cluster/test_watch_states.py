"""Tests of the table of moves of a watch."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import kdns
from kdns.cluster import watch_states
from kdns.cluster.watch_states import MOVES, Move, State


class MovesTests(SynchronousTestCase):
    """Each arrow of the picture, and arrows that do not exist."""

    ARROWS = """
        STOPPED        START       INITIAL_STREAM
        INITIAL_STREAM REFUSED     LISTING
        INITIAL_STREAM SYNCED      STREAMING
        INITIAL_STREAM EXPIRED     INITIAL_STREAM
        INITIAL_STREAM FAILED      BACKING_OFF
        LISTING        SYNCED      CONNECTING
        LISTING        EXPIRED     INITIAL_STREAM
        LISTING        FAILED      BACKING_OFF
        CONNECTING     OPENED      STREAMING
        CONNECTING     EXPIRED     INITIAL_STREAM
        CONNECTING     RESYNC      INITIAL_STREAM
        CONNECTING     FAILED      BACKING_OFF
        STREAMING      ENDED       CONNECTING
        STREAMING      SILENT      CONNECTING
        STREAMING      EXPIRED     INITIAL_STREAM
        STREAMING      RESYNC      INITIAL_STREAM
        STREAMING      FAILED      BACKING_OFF
        BACKING_OFF    RETRY_WATCH CONNECTING
        BACKING_OFF    RETRY_SYNC  INITIAL_STREAM
        STOPPED        STOP        STOPPED
        INITIAL_STREAM STOP        STOPPED
        LISTING        STOP        STOPPED
        CONNECTING     STOP        STOPPED
        STREAMING      STOP        STOPPED
        BACKING_OFF    STOP        STOPPED
    """

    def arrows(self) -> dict[tuple[State, Move], State]:
        """The table above as values."""
        rows = [line.split() for line in self.ARROWS.strip().splitlines()]
        return {(State[start], Move[move]): State[end] for start, move, end in rows}

    def test_each_arrow(self) -> None:
        """Each move leads where the table says."""
        for (start, move), end in self.arrows().items():
            self.assertIs(MOVES[start, move], end, (start, move))

    def test_no_others(self) -> None:
        """Every other pair of a state and a move is missing."""
        known = self.arrows()
        refused = 0
        for start in State:
            for move in Move:
                if (start, move) in known:
                    continue
                refused += 1
                self.assertNotIn((start, move), MOVES)
        self.assertEqual(refused, len(State) * len(Move) - len(known))

    def test_reachable(self) -> None:
        """Each state can be reached from STOPPED, and each can be left."""
        seen = {State.STOPPED}
        while more := {end for (start, _), end in MOVES.items() if start in seen} - seen:
            seen |= more
        self.assertEqual(seen, set(State))

    def test_each_has_a_line(self) -> None:
        """Each state and each move says what it means."""
        for member in [*State, *Move]:
            self.assertGreater(len(member.value.split()), 1, member)

    def test_picture(self) -> None:
        """The picture in the docs is that of the module, and each state and move stands in it."""
        picture = (watch_states.__doc__ or "").split("::\n\n")[1].split("\n\nA list")[0]
        lines = [line.rstrip() for line in picture.splitlines()]
        page = (Path(kdns.__file__).parents[1] / "docs" / "watch.md").read_text(encoding="utf-8")
        shown = [line.rstrip() for line in page.split("```")[1].splitlines() if line.strip()]
        self.assertEqual(shown, [line for line in lines if line.strip()])
        for member in [*State, *Move]:
            self.assertIn(member.name, picture)
