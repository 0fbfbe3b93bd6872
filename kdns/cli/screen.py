# -*- test-case-name: tests.cli.test_screen -*-
"""The screen of ``kdns status``: from the replies of a server to lines of styled text. Values in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
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
    greatest,
    grew,
    passed,
    percentile,
    rate,
    rough_age,
    seconds_text,
    share_text,
    shares,
    sparkline,
)

PLAIN, BOLD, DIM, BAD, WARN, GOOD = "", "1", "2", "1;31", "33", "32"
"""Styles, as the numbers that terminals know them by."""

LEAST_WIDTH, WIDE, WIDEST = 60, 116, 160
"""Columns that lines have at least, from which three lists stand side by side, and from which the parts above them do so too."""

HALF = 80
"""Columns of the left part on the widest screens."""

GAP = 2
"""Columns between what stands side by side."""

TITLE = 11
"""Columns of what stands in front of a line."""

BAR = 16

SHORT = "~"
"""Stands for the cluster domain."""

COMFORTABLE = 12
"""Lines that lists should have; where there are fewer, empty lines are left out above them."""

LATE = 1.0
"""Seconds behind its parent from which a worker is shown so."""

LEAST_LISTS = 5
"""Lines that lists need: a title, and a name and a client with what stands above them."""

MOST_ROWS = 10
"""Lines of a list by default."""


class Most(NamedTuple):
    """How many things of a kind are shown."""

    upstreams: int
    wrong: int
    workers: int
    brief: bool = False
    """Whether lines are left out that tell nothing of what is wrong."""


ROOMY, TIGHT, TIGHTEST = Most(6, 4, 8), Most(2, 2, 2), Most(1, 1, 0, brief=True)


class Order(Enum):
    """The order of lists, as the last line names it."""

    AMOUNT = "amount"
    LATENCY = "latency"
    NAME = "name"


class Point(NamedTuple):
    """What the history keeps of a look: figures since the one before it. None where nothing is known."""

    queries: float | None
    """A second."""

    slow: float | None
    """The 99th percentile of durations, in seconds."""

    failed: float | None
    """The share of SERVFAIL among the replies, 0 to 1."""

    busy: float
    """The share of a core in use, 0 to 1."""


def point_of(now: Look, then: Look) -> Point:
    """The figures between two looks."""
    kinds = [f"queries.{name}" for name in now.get("queries") or {}] or ["talkers.total"]
    rates = [found for kind in kinds if (found := rate(now, then, kind)) is not None]
    durations = now.get("durations") or {}
    counts = between(durations, then.get("durations"))
    return Point(
        sum(rates) if rates else None,
        percentile(durations.get("bounds") or (), counts, 0.99) if counts else None,
        shares(now, then, "rcodes").get("SERVFAIL", 0.0) if now.get("rcodes") else None,
        at(now, "process.saturation"),
    )


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

    points: tuple[Point | None, ...] = ()
    """The history, the newest last; None for a look that failed."""


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


def lines_of(
    view: View, width: int = 80, height: int | None = None, rows: int = MOST_ROWS, order: Order = Order.AMOUNT
) -> list[Line]:
    """
    The whole screen.

    :param height: lines that there is room for; lists are cut to it. None: any number.
    :param rows: lines of each list, if there is room.
    """
    width = max(LEAST_WIDTH, width)
    upper = _upper(view, width, order, ROOMY)
    if height is not None and height - len(upper) < COMFORTABLE:
        upper = [line for line in upper if line]
    for most in (TIGHT, TIGHTEST):
        if height is not None and height - len(upper) < LEAST_LISTS:
            upper = [line for line in _upper(view, width, order, most) if line]
    return [*upper, *_lists(view, width, None if height is None else height - len(upper), rows, order)]


def _upper(view: View, width: int, order: Order, most: Most) -> list[Line]:
    """Everything above the lists."""
    head = [*_head(view, width, most), ()]
    if width < WIDEST:
        traffic = [*_traffic(view), *_trend(view, width), ()]
        return [*head, *traffic, *_facts(view, width, most), *_upstreams(view, width, order, most)]
    rest = width - HALF - GAP
    left = [*_traffic(view), (), *_facts(view, HALF, most)]
    right = [*_trends(view, rest), (), *_upstreams(view, rest, order, most)]
    return [*head, *_side_by_side((left, right), (HALF, rest)), ()]


def footer(order: Order, paused: bool, place: str) -> Line:
    """The last line: what keys do. *place* says which lines are shown, empty when nothing is scrolled."""
    keys = f"q quit   p {'go on' if paused else 'pause'}   s sort: {order.value}   arrows scroll"
    paused_text = (Span("PAUSED", WARN), Span("   ")) if paused else ()
    return (*paused_text, Span(keys, DIM), Span(f"   {place}" if place else "", DIM))


def _title(text: str) -> Span:
    return Span(f"{text:<{TITLE}}", BOLD)


# What runs.


def _head(view: View, width: int, most: Most) -> Iterator[Line]:
    now = view.now
    clock = strftime("%H:%M:%S", localtime(at(now, "now")))
    name = f"kdns {now.get('version', '')}"
    rest = f"  up {age_text(at(now, 'seconds'))}   pid {now.get('pid', '')}"
    gap = " " * max(1, width - len(name) - len(rest) - len(clock))
    yield Span(name, BOLD), Span(rest), Span(gap + clock, DIM)
    if view.trouble:
        yield (Span(f"GONE, the figures below are from before: {view.trouble}", BAD),)
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
    yield from _wrong(now, most.wrong)


def _wrong(now: Look, most: int) -> Iterator[Line]:
    """What is degraded: for how long, what is wrong, and what to do."""
    states = now.get("degraded") or ()
    for state in states[:most]:
        age = age_text(at(now, "now") - at(state, "since"))
        yield _title("Wrong"), Span(f"{state['name']}: {state['text']}", BAD), Span(f", for {age}", DIM)
        yield Span(" " * TITLE), Span(str(state["do"]), DIM)
    if len(states) > most:
        yield _title(""), Span(f"and {len(states) - most} more; /ready/why and --json have all", WARN)


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


def _trends(view: View, width: int) -> Iterator[Line]:
    """The history, a line for each figure."""
    room = width - TITLE - 20
    yield _title("HISTORY"), Span("a column for each look; behind it the greatest", DIM)
    for title, values, text in _drawn(view.points):
        yield _title(title), Span(sparkline(values, room)), Span(f"  {text(greatest(values[-room:]))}", DIM)


def _trend(view: View, width: int) -> Iterator[Line]:
    """The history of queries and of slow answers, in one line."""
    if len(view.points) < 2:
        return
    each = (width - TITLE - 40) // 2
    spans = [_title("History")]
    for title, values, text in _drawn(view.points)[:2]:
        spans += [Span(sparkline(values, each)), Span(f" {title} to {text(greatest(values[-each:]))}  ", DIM)]
    yield tuple(spans)


def _drawn(points: Sequence[Point | None]) -> list[tuple[str, list[float | None], Callable[[float], str]]]:
    """What is drawn of the history: a title, the values, and how the greatest is written."""

    def values(name: str) -> list[float | None]:
        return [None if point is None else getattr(point, name) for point in points]

    return [
        ("queries/s", values("queries"), count_text),
        ("p99", values("slow"), seconds_text),
        ("SERVFAIL", values("failed"), share_text),
        ("processor", values("busy"), share_text),
    ]


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


def _facts(view: View, width: int, most: Most) -> Iterator[Line]:
    now = view.now
    if now.get("rcodes") is not None:
        yield _title("Replies"), *_shares(shares(now, view.earlier, "rcodes"), {"SERVFAIL": BAD, "REFUSED": WARN})
    else:
        text = "not counted: no server block has prometheus; queries are estimated from samples"
        yield _title("Replies"), Span(text, DIM)
    yield _title("Answered"), *_answered(view)
    if not most.brief:
        yield _title("Table"), *_table(view)
        if now.get("cache"):
            yield _title("Cache"), *_cache(view)
        yield _title("Search"), *_search(view)
    yield _title("Processor"), *_process(view)
    workers = now.get("workers") or ()
    for worker in workers[: most.workers]:
        yield from _worker(worker)
    if len(workers) > most.workers:
        silent = sum(not worker["pid"] for worker in workers[most.workers :])
        text = f"and {len(workers) - most.workers} more workers, "
        yield _title(""), Span(text, DIM), Span(f"{silent} silent" if silent else "all answer", BAD if silent else DIM)
    for cluster in now.get("clusters") or ():
        yield from _cluster(cluster, width, most.brief)
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


def _table(view: View) -> Iterator[Span]:
    now, then = view.now, view.earlier
    table = now.get("table") or {}
    yield Span(f"{count_text(at(table, 'entries'))} replies in {bytes_text(at(table, 'octets'))}")
    yield Span(f" of {bytes_text(at(table, 'room'))}")
    yield Span(f", {count_text(rate(now, then, 'table.outdated'))}/s outdated")
    yield Span(f", {count_text(rate(now, then, 'table.evicted'))}/s evicted")


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
    for row in (talkers.get("wasteful") or ())[:1]:
        yield Span(f", most of {row['namespace']}", DIM)


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
    yield Span(f" of {bytes_text(limit)}" if limit else ", no limit", DIM)


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


def _cluster(cluster: Mapping[str, Any], width: int, brief: bool) -> Iterator[Line]:
    zones = " ".join(str(zone) for zone in cluster.get("zones", ()) if not str(zone).endswith("arpa."))
    if not cluster.get("synced"):
        state = Span("not synced", BAD)
    elif cluster.get("stale"):
        state = Span(str(cluster["stale"]), WARN)
    else:
        state = Span("synced", GOOD)
    spans = [_title("Cluster"), Span(f"{zones} "), state]
    if brief:
        yield tuple(spans)
        return
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


def _upstreams(view: View, width: int, order: Order, most: Most) -> Iterator[Line]:
    upstreams = list(view.now.get("upstreams") or ())
    if not upstreams:
        return
    room = width - 50
    yield (
        Span(f"{'UPSTREAM':<{room}}", BOLD),
        Span(f" {'state':<9} {'fails':>5} {'open':>5} {'replies/s':>9} {'p50':>8} {'p99':>8}", DIM),
    )
    upstreams.sort(key=_upstream_order(view, order))
    for row in upstreams[: most.upstreams]:
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
    if len(upstreams) > most.upstreams:
        rest = upstreams[most.upstreams :]
        bad = sum(row["state"] != "healthy" for row in rest)
        yield (Span(f"and {len(rest)} more, {f'{bad} of them not healthy' if bad else 'all healthy'}", DIM),)
    yield ()


def _upstream_order(view: View, order: Order) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Those that are not healthy first; then the slowest, the first by name, or as they stand in the Corefile."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        healthy = row["state"] == "healthy"
        if order is Order.NAME:
            return healthy, str(row["to"])
        if order is Order.AMOUNT:
            return (healthy,)
        counted = row.get("durations") or {}
        counts = between(counted, _same_upstream(view.earlier, row))
        slow = percentile(counted.get("bounds") or (), counts, 0.99) if counts else None
        return healthy, -(slow or 0.0)

    return key


def _same_upstream(look: Look | None, wanted: Mapping[str, Any]) -> Counted | None:
    for row in (look or {}).get("upstreams") or ():
        if (row["from"], row["to"]) == (wanted["from"], wanted["to"]):
            found: Counted = row.get("durations") or {}
            return found
    return None


# Most frequent names and clients.


def _lists(view: View, width: int, height: int | None, most: int, order: Order) -> Iterator[Line]:
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
        _column(((row, _short(str(row["name"]), domain)) for row in talkers.get(kind, ())), title, queries, order)
        for kind, title in (("names", "NAMES"), ("denied", "NXDOMAIN"))
    )
    clients = _column(((row, str(row["client"])) for row in talkers.get("clients", ())), "CLIENTS", queries, order)
    if width >= WIDE:
        rows = most if left is None else max(1, min(most, left - 1))
        yield from _columns((clients, names, denied), width, rows)
        return
    rows = most if left is None else max(1, min(most, (left - 2) // 2))
    yield from _columns((names, denied), width, most if left is None else max(1, min(most, left - 2 - rows)))
    yield from _columns((clients,), width, rows)


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


def _column(things: Iterable[tuple[Mapping[str, Any], str]], title: str, queries: float, order: Order) -> list[Line]:
    lines: list[Line] = [(Span(f"{'share':>6}  ", DIM), Span(title, BOLD))]
    for thing, text in sorted(things, key=lambda thing: thing[1]) if order is Order.NAME else things:
        times = at(thing, "times")
        share = times / queries if queries else None
        who = str(thing.get("who") or "")
        lines.append((Span(f"{share_text(share):>6}  "), Span(text), Span(f"  {who}" if who else "", DIM)))
    if len(lines) == 1:
        lines.append((Span(" " * 8), Span("none", DIM)))
    return lines


def _columns(columns: Sequence[list[Line]], width: int, rows: int) -> Iterator[Line]:
    """Lists side by side, of equal width, each with its title and *rows* lines."""
    each = (width - GAP * (len(columns) - 1)) // len(columns)
    return _side_by_side([column[: rows + 1] for column in columns], [each] * len(columns))


def _side_by_side(columns: Sequence[Sequence[Line]], widths: Sequence[int]) -> Iterator[Line]:
    for number in range(max(map(len, columns))):
        spans: list[Span] = []
        for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
            spans += _fitted(column[number] if number < len(column) else (), width)
            if place + 1 < len(columns):
                spans.append(Span(" " * GAP))
        yield tuple(spans)


def _fitted(line: Line, width: int) -> list[Span]:
    """A line cut and filled to *width* columns."""
    spans, left = [], width
    for text, style in line:
        shown = clipped(text, left)
        left -= len(shown)
        spans.append(Span(shown, style))
    return [*spans, Span(" " * left)]
