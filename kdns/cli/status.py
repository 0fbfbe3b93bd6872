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
from contextlib import contextmanager
from typing import Any, TextIO

from kdns.admin.client import AdminError, ask
from kdns.cli.figures import Look, passed, rate
from kdns.cli.query_client import NO_SERVER, Asked, Parser, parse, say
from kdns.cli.screen import MOST_ROWS, View, lines_of, painted

DESCRIPTION = """\
Show what a running kdns does: queries and replies, how long they take, what answers them, the most frequent clients and names,
upstreams, the cluster, memory, processor. Rates are those of the last look and of the last minute.

While it runs, q or Ctrl-C ends it.
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

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""To a screen of its own without a cursor, and back."""

_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Ask = Callable[[], Look]


class History:
    """The looks of the last minute."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()
        self.trouble = ""

    def add(self, look: Look) -> None:
        """Add one; the looks at another process are dropped."""
        self.trouble = ""
        if self._looks and (look.get("pid") != self._looks[-1].get("pid") or passed(look, self._looks[-1]) <= 0):
            self._looks.clear()
        self._looks.append(look)
        while len(self._looks) > 2 and passed(look, self._looks[1]) >= MINUTE:
            self._looks.popleft()

    @property
    def empty(self) -> bool:
        """Whether there is none yet."""
        return not self._looks

    def view(self) -> View:
        """The looks that a screen is made from."""
        looks = self._looks
        now = looks[-1]
        before = looks[-2] if len(looks) > 1 else None
        return View(now, before, looks[0] if len(looks) > 1 else None, self.trouble)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = Parser("kdns status", DESCRIPTION, EPILOG)
    parser.add_argument("--once", action="store_true", help="show it once and end")
    parser.add_argument(
        "--top", type=int, default=MOST_ROWS, metavar="N", help=f"how many clients and names (default {MOST_ROWS})"
    )
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, metavar="SECONDS", help=f"between two looks (default {INTERVAL:g})"
    )
    try:
        parsed = parse(parser, arguments)
    except Asked as end:
        return end.status

    top = max(0, min(MOST_TOP, parsed.top))

    def look() -> Look:
        return ask(parsed.socket, "status", {"top": top})

    try:
        if parsed.json or parsed.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            history = twice(look, time.sleep)
            say([as_json(history.view()) if parsed.json else as_text(history.view(), sys.stdout, top)])
        else:
            live(look, max(0.2, parsed.interval), top)
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


def live(look: Ask, interval: float, rows: int = MOST_ROWS) -> None:
    """
    Show it until somebody presses q or Ctrl-C.

    :raises AdminError: at the first look; later ones that fail are shown, and tried again.
    """
    history = History()
    history.add(look())
    with raw_keys(), own_screen(sys.stdout):
        colour = takes_colour(sys.stdout)
        due = time.monotonic() + min(interval, APART)
        while True:
            size = shutil.get_terminal_size()
            lines = painted(lines_of(history.view(), size.columns, size.lines, rows), size.columns, colour=colour)
            sys.stdout.write(frame(lines[: size.lines]))
            sys.stdout.flush()
            if pressed(max(0.0, due - time.monotonic())) in ("q", "Q", "\x03", ""):
                return
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                try:
                    history.add(look())
                except AdminError as error:
                    history.trouble = str(error)


def frame(lines: Sequence[str]) -> str:
    """A text that writes these lines over those on the screen, without a flicker."""
    body = "\r\n".join(line + _REST_OF_LINE for line in lines)
    return f"{_HOME}{body}{_REST_OF_SCREEN}"


def pressed(seconds: float) -> str | None:
    """The key that is pressed within a time; empty at the end of standard input, None when there was none."""
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode("latin-1") if readable else None


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
