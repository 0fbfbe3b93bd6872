# -*- test-case-name: tests.cli.test_status -*-
"""
``kdns status``: a live view of a running server in the terminal, or one look at it, or its figures as JSON.

It asks over the admin socket, and asks again after a while: what a server tells are numbers since its start, and rates are what they grew
by. What the lines look like is screen.py's business.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TextIO

from kdns.admin.client import AdminError, Session
from kdns.cli.figures import Look, passed, rate
from kdns.cli.query_client import NO_SERVER, Asked, Parser, parse, say
from kdns.cli.screen import MOST_ROWS, Line, Order, Point, View, footer, lines_of, painted, point_of

DESCRIPTION = """\
Show what a running kdns does: queries and replies, how long they take, what answers them, the most frequent clients and names,
upstreams, the cluster, memory, processor. Rates are those of the last look and of the last minute.

Keys: p pauses, s sorts in another way (by amount, by latency, by name), arrows and Page Up and Down scroll through everything,
q or Ctrl-C ends.
"""

EPILOG = """\
examples:
  kdns status
  kdns status --once
  kdns status --json | jq .rates
  kubectl -n kube-system exec -it deploy/coredns -- kdns status

exit status:
  0  shown    2  wrong usage    3  no kdns could be asked
"""

SHOWN = 0

INTERVAL = 2.0
"""Seconds between two looks."""

APART = 1.0
"""Seconds between the two looks that one view needs."""

MINUTE = 60.0

MOST_TOP = 100
"""Clients and names that a server tells of at most."""

MOST_POINTS = 300
"""Looks of which the history is kept: a column each, on the widest of screens."""

KEYS = {
    "\x1b[A": "up", "k": "up", "\x1b[B": "down", "j": "down", "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "top",
    "\x1b[F": "end", "g": "top", "G": "end", "p": "pause", " ": "pause", "s": "sort", "q": "quit", "Q": "quit", "\x03": "quit",
    "": "quit",
}  # fmt: skip
"""What a terminal sends for a key, and what the key does; an empty text is the end of standard input."""

FAR = 1 << 20
"""More lines than there ever are."""

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To a screen of its own without a cursor, and back."""

_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Ask = Callable[[], Look]


class History:
    """The looks of the last minute, and a few figures of those before."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()
        self._points: deque[Point | None] = deque(maxlen=MOST_POINTS)
        self.trouble = ""

    def add(self, look: Look) -> None:
        """Add one; the looks at another process are dropped."""
        self.trouble = ""
        if self._looks and (look.get("pid") != self._looks[-1].get("pid") or passed(look, self._looks[-1]) <= 0):
            self._looks.clear()
            self._points.append(None)
        elif self._looks:
            self._points.append(point_of(look, self._looks[-1]))
        self._looks.append(look)
        while len(self._looks) > 2 and passed(look, self._looks[1]) >= MINUTE:
            self._looks.popleft()

    def failed(self, trouble: str) -> None:
        """A look failed: its figures are missing."""
        self.trouble = trouble
        self._points.append(None)

    def view(self) -> View:
        """The looks that a screen is made from."""
        looks = self._looks
        now = looks[-1]
        before = looks[-2] if len(looks) > 1 else None
        return View(now, before, looks[0] if len(looks) > 1 else None, self.trouble, tuple(self._points))


@dataclass(frozen=True, slots=True)
class Screen:
    """What the keys changed about the view."""

    offset: int = 0
    """Lines that are scrolled away above."""

    order: Order = Order.AMOUNT
    paused: bool = False

    def after(self, action: str, page: int) -> Screen:
        """The screen after a key; *page* is how many lines Page Down moves."""
        if action == "pause":
            return replace(self, paused=not self.paused)
        if action == "sort":
            orders = list(Order)
            return replace(self, order=orders[(orders.index(self.order) + 1) % len(orders)])
        moves = {"up": -1, "down": 1, "page up": -page, "page down": page, "top": -self.offset, "end": FAR}
        return replace(self, offset=max(0, self.offset + moves.get(action, 0)))

    def shown(self, view: View, width: int, height: int, rows: int) -> tuple[Screen, list[Line]]:
        """
        As many lines as the terminal has, with the keys in the last one, and the screen with the offset that there is.

        Unscrolled, everything is cut to fit. Scrolled, it is a part of everything that there is to tell.
        """
        room = max(1, height - 1)
        if not self.offset:
            lines = lines_of(view, width, room, rows, self.order)[:room]
            return self, [*lines, *[()] * (room - len(lines)), footer(self.order, self.paused, "")]
        lines = lines_of(view, width, None, MOST_TOP, self.order)
        offset = min(self.offset, max(0, len(lines) - room))
        part = lines[offset : offset + room]
        place = f"lines {offset + 1} to {offset + len(part)} of {len(lines)}"
        lines = [*part, *[()] * (room - len(part)), footer(self.order, self.paused, place)]
        return replace(self, offset=offset), lines


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser("kdns status", DESCRIPTION, EPILOG)
    parser.add_argument("--once", action="store_true", help="show it once and end")
    parser.add_argument(
        "--top", type=int, metavar="N", help=f"how many clients and names (default {MOST_ROWS}; live, as many as fit)"
    )
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, metavar="SECONDS", help=f"between two looks (default {INTERVAL:g})"
    )
    try:
        parsed = parse(parser, arguments)
    except Asked as end:
        return end.status

    live_view = not (parsed.json or parsed.once) and sys.stdin.isatty() and sys.stdout.isatty()
    wanted = (MOST_TOP if live_view else MOST_ROWS) if parsed.top is None else parsed.top
    top = max(0, min(MOST_TOP, wanted))

    try:
        with closing(Session(parsed.socket)) as session:
            if live_view:
                live(session, max(0.2, parsed.interval), top)
            else:
                history = twice(lambda: session.ask("status", {"top": top}), time.sleep)
                say([as_json(history.view()) if parsed.json else as_text(history.view(), sys.stdout, top)])
    except AdminError as error:
        print(f"kdns status: {error}", file=sys.stderr)
        return NO_SERVER
    except KeyboardInterrupt:
        pass
    return SHOWN


def twice(look: Ask, sleep: Callable[[float], None]) -> History:
    """Two looks, a second apart."""
    history = History()
    history.add(look())
    sleep(APART)
    history.add(look())
    return history


def as_text(view: View, out: TextIO, rows: int = MOST_ROWS) -> str:
    """The view for a file or a terminal, as wide as that is."""
    width = shutil.get_terminal_size((100, 24)).columns
    return "\n".join(painted(lines_of(view, width, rows=rows), width, colour=takes_colour(out)))


def as_json(view: View) -> str:
    """The reply of the server, and the rates of the last second."""
    now, before = view.now, view.before
    rates: dict[str, Any] = {
        name: {kind: rate(now, before, f"{name}.{kind}") for kind in now.get(name) or {}}
        for name in ("queries", "rcodes", "table", "cache")
    }
    for level in ("entries", "octets", "room"):
        rates["table"].pop(level, None)
        rates["cache"].pop(level, None)
    return json.dumps({**now, "rates": {"seconds": passed(now, before), **rates}}, indent=2, ensure_ascii=False)


def takes_colour(out: TextIO) -> bool:
    """Whether colours are wanted there (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def live(session: Session, interval: float, rows: int = MOST_ROWS) -> None:
    """
    Show it until somebody presses q or Ctrl-C.

    :raises AdminError: at the first look; later ones that fail are shown, and tried again.
    """

    def look() -> Look:
        return session.ask("status", {"top": MOST_TOP})

    history, screen = History(), Screen()
    history.add(look())
    with raw_keys(), own_screen(sys.stdout):
        colour = takes_colour(sys.stdout)
        due = time.monotonic() + min(interval, APART)
        while True:
            size = shutil.get_terminal_size()
            screen, lines = screen.shown(history.view(), size.columns, size.lines, rows)
            sys.stdout.write(frame(painted(lines, size.columns, colour=colour)))
            sys.stdout.flush()
            keys = pressed(None if screen.paused else max(0.0, due - time.monotonic()), session)
            for action in keys or ():
                if action == "quit":
                    return
                screen = screen.after(action, max(1, size.lines - 2))
            if keys is None:
                session.close()  # it hung up; the next look finds out why
            if not screen.paused and (keys is None or time.monotonic() >= due):
                due = time.monotonic() + interval
                try:
                    history.add(look())
                except AdminError as error:
                    history.failed(str(error))


def frame(lines: Sequence[str]) -> str:
    """A text that writes these lines over those on the screen, without a flicker."""
    body = "\r\n".join(line + _REST_OF_LINE for line in lines)
    return f"{_HOME}{body}{_REST_OF_SCREEN}"


def pressed(seconds: float | None, session: Session) -> list[str] | None:
    """
    What the keys do that are pressed within a time; None when the server hung up.

    :param seconds: None waits for a key however long that takes.
    """
    connection = session.fileno()
    waiting = [sys.stdin.fileno(), *([] if connection is None else [connection])]
    readable, _, _ = select.select(waiting, [], [], seconds)
    if sys.stdin.fileno() in readable:
        return actions(os.read(sys.stdin.fileno(), 64).decode("latin-1"))
    return None if readable else []


def actions(typed: str) -> list[str]:
    """What keys do, in their order, from what the terminal sent for them; an empty text ends."""
    if not typed:
        return ["quit"]
    found = []
    while typed:
        known = next((key for key in sorted(KEYS, key=len, reverse=True) if key and typed.startswith(key)), "")
        if known:
            found.append(KEYS[known])
        typed = typed[len(known) or 1 :]
    return found


@contextmanager
def raw_keys() -> Iterator[None]:
    """Keys come as they are pressed, and are not shown."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def own_screen(out: TextIO) -> Iterator[None]:
    """What was on the terminal before comes back at the end."""
    out.write(_ENTER)
    try:
        yield
    finally:
        out.write(_LEAVE)
        out.flush()
