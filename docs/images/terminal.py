"""
Draw what ``kdns status`` and ``kdns explain`` show: ``python docs/images/terminal.py`` writes ``status.svg`` and ``explain.svg``.

The demo runs in memory and is asked a few thousand questions; what the commands would print is drawn as text in the colours of a terminal.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from kdns.cli.explain import text_of  # only now can it be found
from kdns.cli.screen import BAD, BOLD, DIM, GOOD, PLAIN, WARN, Line, Order, Span, footer, lines_of
from kdns.cli.status import MOST_TOP, History
from tests.admin.world import World

COLOURS = {PLAIN: "#d8dee9", BOLD: "#ffffff", DIM: "#8a93a3", BAD: "#ff6b6b", WARN: "#ffd166", GOOD: "#7bd88f"}
BACKGROUND = "#1b1f27"

CELL, ROW = 7.83, 17.0
"""Width of a column and height of a line, in pixels, at 13 pixels a letter."""

NAMES = (
    "web.shop.svc.cluster.local", "db.shop.svc.cluster.local", "web.shop.svc.cluster.local", "db-0.db.shop.svc.cluster.local",
    "www.example.org", "www.example.org.shop.svc.cluster.local", "nothing.shop.svc.cluster.local", "payments.shop.svc.cluster.local",
)  # fmt: skip


def picture(lines: Sequence[Line], columns: int) -> str:
    """Lines of styled text as a picture."""
    width, height = columns * CELL + 24, len(lines) * ROW + 24
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, Menlo, Consolas, '
        'DejaVu Sans Mono, monospace" font-size="13">',
        f'<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>',
    ]
    for number, line in enumerate(lines):
        column = 0
        for text, style in line:
            if text.strip():
                weight = ' font-weight="bold"' if style in (BOLD, BAD) else ""
                # Every run is as long as its columns, whatever font there is.
                out.append(
                    f'<text xml:space="preserve" x="{12 + column * CELL:.1f}" y="{26 + number * ROW:.1f}" '
                    f'textLength="{len(text) * CELL:.1f}" fill="{COLOURS[style]}"{weight}>{escape(text)}</text>'
                )
            column += len(text)
    return "\n".join([*out, "</svg>"]) + "\n"


def status(world: World, columns: int, rows: int) -> list[Line]:
    """The screen after a minute and a half of questions."""
    chance, history = random.Random(7), History()
    for look in range(46):
        for _ in range(20 + 25 * (look % 9 == 4) + chance.randrange(12)):
            world.ask(chance.choice(NAMES))
        world.reactor.advance(2.0)
        history.add(world.run("status", top=MOST_TOP)["result"])
    lines = lines_of(history.view(), columns, rows - 1, MOST_TOP)
    return [*lines[: rows - 1], footer(Order.AMOUNT, False, "")]


def explanation(world: World, name: str) -> list[Line]:
    """What ``kdns explain`` prints about a name."""
    found = "\n".join(text_of(world.explain(name), name))
    styled: Iterable[Line] = (
        (Span(line, BOLD if not number else WARN if line.lstrip().startswith(("!", "because")) else PLAIN),)
        for number, line in enumerate(found.replace(f"{HERE.parents[1]}/", "").split("\n"))
    )
    return [(Span("$ ", DIM), Span(f"kdns explain {name}", BOLD)), *styled]


def main() -> None:
    """Draw both."""
    world = World()
    (HERE / "status.svg").write_text(picture(status(world, 180, 30), 180), encoding="utf-8")
    lines = explanation(world, "nothing.shop.svc.cluster.local")
    (HERE / "explain.svg").write_text(
        picture(lines, max(sum(len(span.text) for span in line) for line in lines)), encoding="utf-8"
    )
    world.stop()


if __name__ == "__main__":
    main()
