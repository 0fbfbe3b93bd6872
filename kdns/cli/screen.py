# -*- test-case-name: tests.cli.test_screen -*-
"""The screen of ``kdns status``: from the replies of a server to lines of styled text. Values in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from time import localtime, strftime
from typing import Any, NamedTuple

from kdns.cli.figures import (
    Counted,
    Look,
    age_text,
    at,
    between,
    bytes_text,
    count_text,
    grew,
    passed,
    percentile,
    rate,
    rough_age,
    seconds_text,
    share_text,
    shares,
)

PLAIN, BOLD, DIM, BAD, WARN, GOOD = "", "1", "2", "1;31", "33", "32"
"""Styles, as the numbers that terminals know them by."""

LEAST_WIDTH, WIDE = 60, 116
"""Columns that lines have at least, and from which three lists stand side by side."""

TITLE = 11
"""Columns of what stands in front of a line."""

BAR = 16

SHORT = "~"
"""Stands for the cluster domain."""

COMFORTABLE = 12
"""Lines that lists should have; where there are fewer, empty lines are left out above them."""

LATE = 1.0
"""Seconds behind its parent from which a worker is shown so."""

MOST_UPSTREAMS = 6
MOST_WRONG = 4
MOST_ROWS = 10
"""Lines of a list by default."""


class Span(NamedTuple):
    """Text in one style."""

    text: str
    style: str = PLAIN


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class View:
    """
    The looks at a server that one screen is made from.

    :ivar now: the last one.
    :ivar before: the one before it; None when there is none yet.
    :ivar earlier: one about a minute ago, or the first.
    """

    now: Look
    before: Look | None = None
    earlier: Look | None = None
    trouble: str = ""
    """Why the last look failed; empty when it did not."""


def painted(lines: Iterable[Line], width: int, *, colour: bool) -> list[str]:
    """Lines as a terminal takes them, none longer than *width* columns."""
    return [_painted(line, width, colour) for line in lines]


def _painted(line: Line, width: int, colour: bool) -> str:
    left, out = width, []
    for text, style in line:
        shown = clipped(text, left)
        left -= len(shown)
        if not shown.isprintable():
            # Names and errors come from elsewhere, and a terminal obeys what it is shown.
            shown = "".join(letter if letter.isprintable() else "?" for letter in shown)
        out.append(f"\x1b[{style}m{shown}\x1b[0m" if colour and style and shown else shown)
    return "".join(out).rstrip()


def clipped(text: str, width: int) -> str:
    """A text of at most *width* columns, with a mark where something is missing."""
    if len(text) <= width:
        return text
    return text[: width - 1] + "…" if width > 0 else ""


def lines_of(view: View, width: int = 80, height: int | None = None, rows: int = MOST_ROWS) -> list[Line]:
    """
    The whole screen.

    :param height: lines that there is room for; lists are cut to it. None: any number.
    :param rows: lines of each list, if there is room.
    """
    width = max(LEAST_WIDTH, width)
    upper = [*_head(view, width), (), *_traffic(view), *_facts(view, width), *_upstreams(view, width)]
    if height is not None and height - len(upper) < COMFORTABLE:
        upper = [line for line in upper if line]
    return [*upper, *_lists(view, width, None if height is None else height - len(upper), rows)]


def _title(text: str) -> Span:
    return Span(f"{text:<{TITLE}}", BOLD)


# What runs.


def _head(view: View, width: int) -> Iterator[Line]:
    now = view.now
    clock = strftime("%H:%M:%S", localtime(at(now, "now")))
    name = f"kdns {now.get('version', '')}"
    rest = f"  up {age_text(at(now, 'seconds'))}   pid {now.get('pid', '')}"
    gap = " " * max(1, width - len(name) - len(rest) - len(clock))
    yield Span(name, BOLD), Span(rest), Span(gap + clock, DIM)
    if view.trouble:
        yield (Span(f"No newer figures: {view.trouble}", BAD),)
    corefile = now.get("corefile") or {}
    ago = age_text(at(now, "now") - at(corefile, "taken_over"))
    runs = f"{str(corefile.get('hash', ''))[:12] or 'none yet'}, in use for {ago}"
    last = corefile.get("last")
    if corefile.get("bad"):
        yield _title("Corefile"), Span("cannot be used", BAD), Span(f"; what runs is {runs}")
        error = str((last or {}).get("error", ""))
        for text in wrap(error, width - TITLE)[:3]:
            yield Span(" " * TITLE), Span(text, BAD)
    else:
        yield _title("Corefile"), Span(runs), Span("" if last else ", not reloaded yet", DIM)
        if last and not last.get("taken_over"):
            text = f"a reload failed {age_text(at(now, 'now') - at(last, 'at'))} ago and is mended: {last.get('error', '')}"
            yield Span(" " * TITLE), Span(text, DIM)
    yield from _wrong(now)


def _wrong(now: Look) -> Iterator[Line]:
    """What is degraded: for how long, what is wrong, and what to do."""
    states = now.get("degraded") or ()
    for state in states[:MOST_WRONG]:
        age = age_text(at(now, "now") - at(state, "since"))
        yield _title("Wrong"), Span(f"{state['name']}: {state['text']}", BAD), Span(f", for {age}", DIM)
        yield Span(" " * TITLE), Span(str(state["do"]), DIM)
    if len(states) > MOST_WRONG:
        yield _title(""), Span(f"and {len(states) - MOST_WRONG} more; /ready/why and --json have all", WARN)


# Rates and latencies.


def _traffic(view: View) -> Iterator[Line]:
    now = view.now
    counted = now.get("queries") is not None
    minute = _span_text(view)
    left: list[tuple[str, str]] = [("QUERIES/s", f"{'now':>10} {minute:>11} {'total':>13}")]
    kinds = ["queries." + name for name in sorted(now.get("queries") or {}, reverse=True)]
    rows = [("all", kinds), *((kind.partition(".")[2], [kind]) for kind in kinds)]
    if not counted:
        rows = [("about", ["talkers.total"])]
    for name, paths in rows:
        figures = (_rate(view, paths, view.before), _rate(view, paths, view.earlier), _total(view, paths))
        left.append((name, f"{figures[0]:>10} {figures[1]:>11} {figures[2]:>13}"))
    right = [("LATENCY", f"{'now':>9} {minute:>9}")]
    durations = now.get("durations") or {}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        figures2 = [_percentile(view, then, durations, "durations", share) for then in (view.before, view.earlier)]
        right.append((name, f"{figures2[0]:>9} {figures2[1]:>9}"))
    for number in range(max(len(left), len(right))):
        one = left[number] if number < len(left) else ("", " " * 36)
        two = right[number] if number < len(right) else ("", "")
        style = BOLD if number == 0 else PLAIN
        yield (
            Span(f"{one[0]:<{TITLE}}", style),
            Span(one[1], DIM if style else PLAIN),
            Span("    "),
            Span(f"{two[0]:<9}", style),
            Span(two[1], DIM if style else PLAIN),
        )
    yield ()


def _span_text(view: View) -> str:
    """The period of the second column of rates."""
    seconds = passed(view.now, view.earlier)
    return "1 min" if 55 <= seconds <= 65 else "start" if view.earlier is None else age_text(seconds)


def _rate(view: View, paths: Sequence[str], then: Look | None) -> str:
    rates = [rate(view.now, then, path) for path in paths]
    found = [one for one in rates if one is not None]
    return count_text(sum(found)) if found else count_text(None)


def _total(view: View, paths: Sequence[str]) -> str:
    return count_text(sum(at(view.now, path) for path in paths))


def _percentile(view: View, then: Look | None, counted: Counted, path: str, share: float) -> str:
    bounds = counted.get("bounds") or ()
    counts = between(counted, then.get(path) if then is not None else None)
    return seconds_text(percentile(bounds, counts, share), bounds) if counts else seconds_text(None)


# One line for each part of the server.


def _facts(view: View, width: int) -> Iterator[Line]:
    now = view.now
    if now.get("rcodes") is not None:
        yield _title("Replies"), *_shares(shares(now, view.earlier, "rcodes"), {"SERVFAIL": BAD, "REFUSED": WARN})
    else:
        text = "not counted: no server block has prometheus; queries are estimated from samples"
        yield _title("Replies"), Span(text, DIM)
    yield _title("Answered"), *_answered(view)
    table, then = now.get("table") or {}, view.earlier
    yield (
        _title("Table"),
        Span(f"{count_text(at(table, 'entries'))} replies in {bytes_text(at(table, 'octets'))}"),
        Span(f" of {bytes_text(at(table, 'room'))}"),
        Span(f", {count_text(rate(now, then, 'table.outdated'))}/s outdated"),
        Span(f", {count_text(rate(now, then, 'table.evicted'))}/s evicted"),
    )
    if now.get("cache"):
        yield _title("Cache"), *_cache(view)
    yield _title("Search"), *_search(view)
    yield _title("Processor"), *_process(view)
    for worker in now.get("workers") or ():
        yield from _worker(worker)
    for cluster in now.get("clusters") or ():
        yield from _cluster(cluster, width)
    yield _title("Waiting"), *_open(view)
    yield from _dropped(view)
    yield ()


def _plural(number: float, one: str, several: str) -> str:
    return one if number == 1 else several


def _shares(parts: Mapping[str, float], styles: Mapping[str, str]) -> Iterator[Span]:
    if not parts:
        yield Span("none", DIM)
    for name, share in list(parts.items())[:6]:
        yield Span(f"{name} ", DIM)
        yield Span(f"{share_text(share)}   ", styles.get(name, PLAIN))


def _answered(view: View) -> Iterator[Span]:
    words = {"given": "from the table", "made": "by the fast path", "asked": "by plugins"}
    parts = {word: grew(view.now, view.earlier, f"table.{word}") for word in words}
    total = sum(parts.values())
    if total <= 0:
        yield Span("none", DIM)
        return
    for word, text in words.items():
        yield Span(share_text(parts[word] / total))
        yield Span(f" {text}   ", DIM)


def _cache(view: View) -> Iterator[Span]:
    requests = grew(view.now, view.earlier, "cache.requests")
    found = requests - grew(view.now, view.earlier, "cache.misses")
    share = found / requests if requests > 0 else None
    yield Span(f"{share_text(share)} of {count_text(rate(view.now, view.earlier, 'cache.requests'))}/s found")
    yield Span(f", {count_text(at(view.now, 'cache.entries'))} answers")
    stale = rate(view.now, view.earlier, "cache.stale")
    if stale:
        yield Span(f", {count_text(stale)}/s stale", WARN)


def _search(view: View) -> Iterator[Span]:
    talkers = view.now.get("talkers") or {}
    queries = at(talkers, "queries")
    share = at(talkers, "wasted") / queries if queries else None
    style = WARN if share is not None and share > 0.5 else PLAIN
    yield Span(share_text(share), style)
    yield Span(" of the queries came from search paths and found nothing", DIM)


def _process(view: View) -> Iterator[Span]:
    process = view.now.get("process") or {}
    saturation = at(process, "saturation")
    style = BAD if saturation > 0.9 else WARN if saturation > 0.7 else PLAIN
    yield Span(_bar(saturation, share_text(saturation)), style)
    cores = at(process, "cores")
    yield Span(" of a core" if cores >= 1 else f" of {cores:g} cores", DIM)
    wait = rate(view.now, view.earlier, "process.waited")
    if wait:
        yield Span(", waits ", DIM)
        yield Span(share_text(wait), WARN if wait > 0.1 else PLAIN)
    yield Span("   memory ", DIM)
    resident, limit = at(process, "resident"), at(process, "limit")
    full = resident / limit if limit else 0.0
    style = BAD if full > 0.9 else WARN if full > 0.75 else PLAIN
    yield Span(bytes_text(resident), style)
    yield Span(f" of {bytes_text(limit)}" if limit else ", without a limit", DIM)


def _worker(worker: Mapping[str, Any]) -> Iterator[Line]:
    """A line for each worker process."""
    restarts = worker["restarts"]
    again = f", restarted {count_text(restarts)} {_plural(restarts, 'time', 'times')}" if restarts else ""
    title = _title(f"Worker {worker['number']}")
    if not worker["pid"]:
        yield title, Span(f"does not answer{again}", BAD)
        return
    late = worker["behind"] > LATE
    yield (
        title,
        Span(f"pid {worker['pid']}, {count_text(worker['queries'])} queries, {worker['saturation']:.1%} of a core"),
        Span(f", {bytes_text(worker['resident'])}"),
        Span(f", {worker['behind']:.1f} s behind" if late else "", BAD),
        Span(again),
    )


def _open(view: View) -> Iterator[Span]:
    now = view.now
    waiting, connections = at(now, "waiting"), at(now, "connections")
    yield Span(f"{count_text(waiting)} {_plural(waiting, 'query', 'queries')}, ")
    yield Span(f"{count_text(connections)} {_plural(connections, 'connection', 'connections')}")
    lag = (now.get("process") or {}).get("lag") or {}
    then = ((view.earlier or {}).get("process") or {}).get("lag")
    bounds, counts = lag.get("bounds") or (), between(lag, then)
    late = percentile(bounds, counts, 0.99) if counts else None
    if late is not None:
        yield Span("; timers late by ", DIM)
        yield Span(seconds_text(late, bounds), WARN if late > 0.025 else PLAIN)
    if not now.get("dropped"):
        yield Span("; nothing dropped", DIM)


def _bar(share: float, text: str, width: int = BAR) -> str:
    filled = round(min(1.0, max(0.0, share)) * width)
    bar = f"{'|' * filled:<{width}}"
    return f"[{bar[: width - len(text)]}{text}]"


def _cluster(cluster: Mapping[str, Any], width: int) -> Iterator[Line]:
    zones = " ".join(str(zone) for zone in cluster.get("zones", ()) if not str(zone).endswith("arpa."))
    if not cluster.get("synced"):
        state = Span("not synced", BAD)
    elif cluster.get("stale"):
        state = Span(str(cluster["stale"]), WARN)
    else:
        state = Span("synced", GOOD)
    spans = [_title("Cluster"), Span(f"{zones} "), state]
    watches = cluster.get("watches", ())
    if watches:
        spans.append(Span("; the API was heard about", DIM))
    if watches and width < WIDE:
        yield tuple(spans)
        spans = [Span(" " * (TITLE - 1))]
    problems = []
    for number, watch in enumerate(watches):
        age = watch.get("event_age")
        style = BAD if age is None or age > 300 else WARN if age > 120 else PLAIN
        text = "never" if age is None else f"{rough_age(age)} ago"
        spans += [Span(", " if number else " ", DIM), Span(f"{watch['resource']} ", DIM), Span(text, style)]
        if watch.get("problem"):
            problems.append(f"{watch['resource']}: {watch['problem']}")
    yield tuple(spans)
    why = str(cluster.get("why", ""))
    for text in ([why] if why else problems)[:3]:
        yield Span(" " * TITLE), Span(clipped(text, width - TITLE), BAD)


def _dropped(view: View) -> Iterator[Line]:
    dropped = view.now.get("dropped") or {}
    for number, (text, count) in enumerate(dropped.items()):
        earlier = ((view.earlier or {}).get("dropped") or {}).get(text, 0) if view.earlier is not None else count
        grows = count - earlier
        yield (
            _title("Dropped" if not number else ""),
            Span(f"{count_text(count)} {text}"),
            Span(f", {count_text(grows)} in the last {_span_text(view)}" if grows > 0 else "", WARN),
        )


# Upstreams.

_STATES = {"healthy": GOOD, "suspect": WARN, "down": BAD, "withdrawn": BAD}


def _upstreams(view: View, width: int) -> Iterator[Line]:
    upstreams = list(view.now.get("upstreams") or ())
    if not upstreams:
        return
    room = width - 50
    yield (
        Span(f"{'UPSTREAM':<{room}}", BOLD),
        Span(f" {'state':<9} {'fails':>5} {'open':>5} {'replies/s':>9} {'p50':>8} {'p99':>8}", DIM),
    )
    upstreams.sort(key=lambda row: row["state"] == "healthy")
    for row in upstreams[:MOST_UPSTREAMS]:
        then = _same_upstream(view.earlier, row)
        counted = row.get("durations") or {}
        bounds, counts = counted.get("bounds") or (), between(counted, then)
        seconds = passed(view.now, view.earlier)
        replies = sum(counts) / seconds if counts and seconds > 0 else None
        name = str(row["to"]) if row["from"] == "." else f"{row['to']} for {row['from']}"
        halves = [seconds_text(percentile(bounds, counts, share) if counts else None, bounds) for share in (0.5, 0.99)]
        yield (
            Span(f"{clipped(name, room - 1):<{room}} "),
            Span(f"{row['state']:<9}", _STATES.get(str(row["state"]), PLAIN)),
            Span(f" {row['fails']:>5} {row['in_flight']:>5} {count_text(replies):>9} {halves[0]:>8} {halves[1]:>8}"),
        )
        if row.get("reason"):
            yield (Span(f"  {row['reason']}", BAD),)
    if len(upstreams) > MOST_UPSTREAMS:
        rest = upstreams[MOST_UPSTREAMS:]
        bad = sum(row["state"] != "healthy" for row in rest)
        yield (Span(f"and {len(rest)} more, {f'{bad} of them not healthy' if bad else 'all healthy'}", DIM),)
    yield ()


def _same_upstream(look: Look | None, wanted: Mapping[str, Any]) -> Counted | None:
    for row in (look or {}).get("upstreams") or ():
        if (row["from"], row["to"]) == (wanted["from"], wanted["to"]):
            found: Counted = row.get("durations") or {}
            return found
    return None


# Most frequent names and clients.


def _lists(view: View, width: int, height: int | None, most: int) -> Iterator[Line]:
    talkers = view.now.get("talkers") or {}
    seconds = max(1.0, at(talkers, "seconds"))
    queries = at(talkers, "queries")
    domain = _domain(view.now)
    yield (
        Span("MOST FREQUENT", BOLD),
        Span(f" in the last {age_text(seconds)}, estimated from samples", DIM),
        Span(f"; {SHORT} is {domain.removesuffix('.')}" if domain else "", DIM),
    )
    left = None if height is None else height - 1
    names, denied = (
        _column(((row, _short(str(row["name"]), domain)) for row in talkers.get(kind, ())), title, queries)
        for kind, title in (("names", "NAMES"), ("denied", "NXDOMAIN"))
    )
    clients = _column(((row, str(row["client"])) for row in talkers.get("clients", ())), "CLIENTS", queries)
    if width >= WIDE:
        rows = most if left is None else max(1, min(most, left - 1))
        yield from _beside((clients, names, denied), width, rows)
        return
    rows = most if left is None else max(1, min(most, (left - 2) // 2))
    yield from _beside((names, denied), width, rows)
    yield from _beside((clients,), width, rows)


def _domain(look: Look) -> str:
    """The cluster domain; empty when there is none."""
    for cluster in look.get("clusters") or ():
        for zone in cluster.get("zones", ()):
            if not str(zone).endswith("arpa.") and zone != ".":
                return str(zone)
    return ""


def _short(name: str, domain: str) -> str:
    """A name with a mark for the cluster domain, in which most names end."""
    if domain and name.endswith("." + domain):
        return name[: -len(domain)] + SHORT
    return name.removesuffix(".") or "."


def _column(things: Iterable[tuple[Mapping[str, Any], str]], title: str, queries: float) -> list[Line]:
    lines: list[Line] = [(Span(f"{'share':>6}  ", DIM), Span(title, BOLD))]
    for thing, text in things:
        times = at(thing, "times")
        share = times / queries if queries else None
        who = str(thing.get("who") or "")
        lines.append((Span(f"{share_text(share):>6}  "), Span(text), Span(f"  {who}" if who else "", DIM)))
    if len(lines) == 1:
        lines.append((Span(" " * 8), Span("none", DIM)))
    return lines


def _beside(columns: Sequence[list[Line]], width: int, rows: int) -> Iterator[Line]:
    gap = 2
    each = (width - gap * (len(columns) - 1)) // len(columns)
    for number in range(min(rows + 1, max(map(len, columns)))):
        spans: list[Span] = []
        for place, column in enumerate(columns):
            spans += _fitted(column[number] if number < len(column) else (), each)
            if place + 1 < len(columns):
                spans.append(Span(" " * gap))
        yield tuple(spans)


def _fitted(line: Line, width: int) -> list[Span]:
    """A line cut and filled to *width* columns."""
    spans, left = [], width
    for text, style in line:
        shown = clipped(text, left)
        left -= len(shown)
        spans.append(Span(shown, style))
    return [*spans, Span(" " * left)]
