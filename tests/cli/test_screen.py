"""The view of ``kdns status``: what is on it, and that it fits."""

from __future__ import annotations

import copy
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.screen import BAD, Order, Point, View, footer, lines_of, painted, point_of

BOUNDS = [0.001, 0.01]


def upstream(to: str, state: str = "healthy", **more: object) -> dict[str, Any]:
    """An upstream as a server tells of it."""
    counts = {"bounds": BOUNDS, "counts": [60, 0, 0], "sum": 0.03}
    return {
        "from": ".", "to": to, "state": state, "fails": 0, "reason": "", "in_flight": 2, "durations": counts, **more
    }  # fmt: skip


def a_look(seconds: float = 100.0, **more: object) -> dict[str, Any]:
    """What a busy server tells after so many seconds: everything grows evenly."""
    many = int(seconds * 10)
    return {
        "version": "1.2.3",
        "pid": 77,
        "now": 1_700_000_000.0 + seconds,
        "seconds": seconds,
        "corefile": {"hash": "abcdef0123456789", "taken_over": 1_700_000_000.0, "bad": False, "last": None},
        "queries": {"udp": many * 9, "tcp": many},
        "rcodes": {"NOERROR": many * 7, "NXDOMAIN": many * 2, "SERVFAIL": many},
        "durations": {"bounds": BOUNDS, "counts": [many * 9, many, 0], "sum": 1.0},
        "table": {
            "entries": 33012, "octets": 40 << 20, "room": 64 << 20, "given": many * 8, "made": many, "asked": many,
            "evicted": 0, "outdated": many,
        },
        "cache": {"requests": many * 4, "misses": many, "stale": 0, "entries": 1234},
        "talkers": {
            "seconds": 50.0, "total": many * 10, "queries": 1000, "denials": 300, "wasted": 250,
            "clients": [{"client": "10.244.1.17", "times": 500, "who": "pod shop/web-1"}],
            "names": [{"name": f"n{number}.shop.svc.cluster.local.", "times": 100 - number} for number in range(10)],
            "denied": [{"name": "api.example.com.shop.svc.cluster.local.", "times": 200}],
        },
        "clusters": [
            {
                "zones": ["cluster.local.", "in-addr.arpa."], "synced": True, "stale": "", "why": "",
                "watches": [
                    {"resource": "services", "event_age": 3.0, "sync_age": 100.0, "synced": True, "problem": ""},
                    {"resource": "endpointslices", "event_age": 400.0, "sync_age": 900.0, "synced": True, "problem": "no route"},
                ],
            }
        ],
        "upstreams": [upstream("10.0.0.10:53"), upstream("10.0.0.11:53", "down", fails=9)],
        "process": {
            "saturation": 0.52, "cores": 1.0, "resident": 81 << 20, "limit": 170 << 20, "waited": seconds / 5,
            "lag": {"bounds": BOUNDS, "counts": [many, 0, 0], "sum": 0.1},
        },
        "waiting": 3,
        "connections": 12,
        "dropped": {},
        **more,
    }  # fmt: skip


def shown(view: View, width: int = 80, height: int | None = None) -> list[str]:
    """The lines without colours."""
    return painted(lines_of(view, width, height), width, colour=False)


def after_a_minute(**more: object) -> View:
    """A view with a look a second before, and one a minute before."""
    return View(a_look(160.0, **more), a_look(159.0), a_look(100.0))


class ScreenTests(SynchronousTestCase):
    """What is on the screen."""

    def line(self, view: View, beginning: str, width: int = 80) -> str:
        """The line that begins with a word, with single spaces."""
        (found,) = (line for line in shown(view, width) if line.startswith(beginning))
        return re.sub(r" +", " ", found)

    def test_rates(self) -> None:
        """Queries a second by protocol, now and over a minute, and how many there were; how long the answers took."""
        view = after_a_minute()
        self.assertIn("now 1 min total LATENCY now 1 min", self.line(view, "QUERIES/s"))
        self.assertEqual(self.line(view, "all"), "all 100 100 16,000 p50 556 us 556 us")
        self.assertEqual(self.line(view, "udp"), "udp 90 90 14,400 p90 1.0 ms 1.0 ms")
        self.assertEqual(self.line(view, "tcp"), "tcp 10 10 1,600 p99 9.1 ms 9.1 ms")

    def test_shares(self) -> None:
        """What the replies were and who made them."""
        view = after_a_minute()
        self.assertEqual(self.line(view, "Replies"), "Replies NOERROR 70.0% NXDOMAIN 20.0% SERVFAIL 10.0%")
        self.assertEqual(
            self.line(view, "Answered"), "Answered 80.0% from the table 10.0% by the fast path 10.0% by plugins"
        )
        self.assertEqual(self.line(view, "Cache"), "Cache 75.0% of 40/s found, 1,234 answers")
        self.assertIn("33,012 replies in 40 MiB of 64 MiB, 10/s outdated", self.line(view, "Table"))
        self.assertIn("25.0% of the queries", self.line(view, "Search"))

    def test_process(self) -> None:
        """Processor and memory, what waits, and how late timers are."""
        view = after_a_minute()
        self.assertIn("52.0%] of a core, waits 20.0% memory 81 MiB of 170 MiB", self.line(view, "Processor"))
        self.assertEqual(
            self.line(view, "Waiting"), "Waiting 3 queries, 12 connections; timers late by 990 us; nothing dropped"
        )
        unlimited = a_look()
        unlimited["process"] |= {"limit": None, "cores": 0.5, "waited": 0.0}
        self.assertIn("of 0.5 cores memory 81 MiB, no limit", self.line(View(unlimited), "Processor"))

    def test_cluster(self) -> None:
        """The cluster, how long ago each watch heard something, and what is wrong with it."""
        lines = shown(after_a_minute())
        (number,) = (number for number, line in enumerate(lines) if line.startswith("Cluster"))
        self.assertEqual(lines[number].split("   ")[-1].strip(), "cluster.local. synced; the API was heard about")
        self.assertEqual(lines[number + 1].strip(), "services 3 s ago, endpointslices 6 min ago")
        self.assertEqual(lines[number + 2].strip(), "endpointslices: no route")
        self.assertIn(
            "heard about services 3 s ago, endpointslices 6 min ago", self.line(after_a_minute(), "Cluster", 120)
        )
        for change, wanted in (
            ({"synced": False, "why": "services: forbidden"}, "not synced"),
            ({"stale": "from a snapshot 9 s old"}, "from a snapshot 9 s old"),
        ):
            look = a_look()
            look["clusters"][0] |= change
            self.assertIn(wanted, self.line(View(look), "Cluster"))
        look = a_look()
        look["clusters"][0]["watches"] = [{"resource": "services", "event_age": None}]
        self.assertIn("the API was heard about services never", self.line(View(look), "Cluster", 120))

    def test_upstreams(self) -> None:
        """Each upstream; those that are not healthy come first, and say why they are out of use."""
        view = after_a_minute()
        lines = shown(view)
        (head,) = (number for number, line in enumerate(lines) if line.startswith("UPSTREAM"))
        self.assertRegex(lines[head + 1], r"^10\.0\.0\.11:53 +down +9 +2 ")
        self.assertRegex(lines[head + 2], r"^10\.0\.0\.10:53 +healthy +0 +2 ")
        withdrawn = [upstream("10.0.0.1:53", "withdrawn", reason="it sends queries back", **{"from": "example."})]
        lines = shown(after_a_minute(upstreams=withdrawn))
        self.assertRegex(lines[head + 1], r"^10\.0\.0\.1:53 for example\. +withdrawn ")
        self.assertEqual(lines[head + 2], "  it sends queries back")
        many = [upstream(f"10.0.1.{number}:53", "down" if number > 7 else "healthy") for number in range(20)]
        self.assertIn("and 14 more, 6 of them not healthy", shown(after_a_minute(upstreams=many)))
        self.assertFalse([line for line in shown(after_a_minute(upstreams=[])) if line.startswith("UPSTREAM")])

    def test_lists(self) -> None:
        """The most frequent names, those that do not exist, and clients with their pods; the cluster domain is cut short."""
        text = "\n".join(shown(after_a_minute()))
        self.assertIn("in the last 50 s, estimated from samples; ~ is cluster.local\n", text)
        self.assertIn(" 10.0%  n0.shop.svc.~", text)
        self.assertIn(" 20.0%  api.example.com.shop.svc.~", text)
        self.assertIn(" 50.0%  10.244.1.17  pod shop/web-1", text)
        wide = shown(after_a_minute(), 120)
        self.assertTrue(
            [line for line in wide if "10.244.1.17" in line and "n0.shop" in line and "api.example" in line]
        )

    def test_dropped(self) -> None:
        """What was dropped, and what of it just now; that nothing was is said too."""
        self.assertIn("; nothing dropped", self.line(after_a_minute(), "Waiting"))
        view = View(
            a_look(160.0, dropped={"malformed messages": 9, "exceptions": 2}), None, a_look(dropped={"exceptions": 2})
        )
        lines = [re.sub(r" +", " ", line).strip() for line in shown(view)]
        self.assertIn("Dropped 9 malformed messages, 9 in the last 1 min", lines)
        self.assertIn("2 exceptions", lines)

    def test_configuration(self) -> None:
        """What runs, since when; a Corefile that cannot be used is said in red, with its error, as long as it is so."""
        self.assertIn("abcdef012345, in use for 2 min 40 s, not reloaded yet", self.line(after_a_minute(), "Corefile"))
        look = a_look()
        error = "Corefile:3 - Error during parsing: Unknown directive 'cach' (did you mean 'cache'?)"
        look["corefile"] |= {"bad": True, "last": {"at": 1_700_000_090.0, "taken_over": False, "error": error}}
        view = View(look)
        self.assertIn("cannot be used; what runs is abcdef012345", self.line(view, "Corefile"))
        self.assertIn(error, " ".join(line.strip() for line in shown(view)))
        red = [span.text for line in lines_of(view) for span in line if span.style == BAD]
        self.assertIn(error.split()[0], " ".join(red))
        look["corefile"]["bad"] = False
        self.assertIn("a reload failed 10 s ago and is mended", " ".join(shown(View(look), 160)))

    def test_trouble(self) -> None:
        """That the server does not answer any more is said above the last figures."""
        lines = shown(View(a_look(), trouble="no kdns answers at /run/kdns"))
        self.assertEqual(lines[1], "GONE, the figures below are from before: no kdns answers at /run/kdns")

    def test_point(self) -> None:
        """What the history keeps of two looks."""
        point = point_of(a_look(160.0), a_look(159.0))
        self.assertEqual((point.queries, point.failed, point.busy), (100.0, 0.1, 0.52))
        self.assertAlmostEqual(point.slow or 0.0, 0.0091)
        uncounted = a_look(160.0, queries=None, rcodes=None, durations={})
        self.assertEqual(
            point_of(uncounted, a_look(159.0, queries=None, rcodes=None, durations={})), (100.0, None, None, 0.52)
        )

    def test_history(self) -> None:
        """Bars in one line, the greatest behind them; on the widest screens a line for each figure. A look that failed is a gap."""
        points = (Point(10.0, 0.001, 0.0, 0.1), None, Point(80.0, 0.004, 0.5, 0.2))
        view = View(a_look(160.0), a_look(159.0), a_look(100.0), points=points)
        self.assertEqual(self.line(view, "History"), "History ▂ █ queries/s to 80 ▃ █ p99 to 4.0 ms")
        wide = [line[82:] for line in shown(view, 200)]
        for title, bars, most in (
            ("queries/s", "▂ █", "80"), ("p99", "▃ █", "4.0 ms"), ("SERVFAIL", "▁ █", "50.0%"), ("processor", "▅ █", "20.0%")
        ):  # fmt: skip
            self.assertIn(f"{title:<11}{bars}  {most}", wide)
        self.assertFalse([line for line in shown(after_a_minute()) if line.startswith("History")])

    def test_order(self) -> None:
        """Lists and upstreams by amount, by latency, or by name; what is not healthy stays above."""
        slow = upstream("10.0.0.12:53", durations={"bounds": BOUNDS, "counts": [0, 60, 0], "sum": 0.3})
        upstreams = [upstream("10.0.0.13:53"), upstream("10.0.0.10:53"), slow, upstream("10.0.0.19:53", "down")]
        look = a_look(160.0, upstreams=upstreams)
        look["talkers"]["names"].reverse()
        for order, wanted, first in (
            (Order.AMOUNT, ["19", "13", "10", "12"], "n9"),
            (Order.LATENCY, ["19", "12", "13", "10"], "n9"),
            (Order.NAME, ["19", "10", "12", "13"], "n0"),
        ):
            lines = painted(lines_of(View(look), 80, None, 10, order), 80, colour=False)
            self.assertEqual([line[7:9] for line in lines if line.startswith("10.0.0.")], wanted, order)
            (head,) = (number for number, line in enumerate(lines) if "NXDOMAIN" in line and "NAMES" in line)
            self.assertIn(f"{first}.shop", lines[head + 1])

    def test_footer(self) -> None:
        """The keys, what they have done, and where one is."""
        texts = painted([footer(Order.NAME, True, "lines 3 to 9 of 20")], 200, colour=False)
        self.assertEqual(texts, ["PAUSED   q quit   p go on   s sort: name   arrows scroll   lines 3 to 9 of 20"])

    def test_not_counted(self) -> None:
        """Without prometheus in the Corefile queries are estimated, and that is said."""
        view = View(a_look(160.0, queries=None, rcodes=None, durations={}, cache=None), None, a_look(queries=None))
        self.assertEqual(self.line(view, "about"), "about 100 100 16,000 p50 - -")
        self.assertIn("no server block has prometheus", self.line(view, "Replies", 120))

    def test_first(self) -> None:
        """The first look has no other beside it: rates are those since the start."""
        self.assertIn("now start total", self.line(View(a_look()), "QUERIES/s"))

    def test_colours(self) -> None:
        """Colours take no room, and without them there is no trace of them."""
        view = after_a_minute()
        coloured = painted(lines_of(view), 80, colour=True)
        self.assertTrue(any("\x1b[1;31m" in line for line in coloured))
        self.assertEqual([re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in coloured], shown(view))


class FitTests(SynchronousTestCase):
    """Whatever the size."""

    def test_small(self) -> None:
        """On 80 columns and 24 lines every list has a line at least, and nothing is below the edge."""
        lines = shown(after_a_minute(), 80, 24)
        self.assertLessEqual(len(lines), 24)
        text = "\n".join(lines)
        for part in ("n0.shop.svc", "api.example.com", "10.244.1.17", "UPSTREAM", "Processor", "Corefile"):
            self.assertIn(part, text)

    def test_small_in_trouble(self) -> None:
        """Much that is wrong, and many upstreams and workers, leave room for the lists on 80 columns and 24 lines."""
        wrong = [{"name": f"watch {number}", "since": 0.0, "text": "no route", "do": "Look."} for number in range(9)]
        worker = {"pid": 9, "restarts": 0, "behind": 0.0, "queries": 7, "saturation": 0.5, "resident": 1 << 20}
        workers = [{"number": number, **worker} for number in range(8)]
        look = a_look(160.0, degraded=wrong, workers=workers, upstreams=[upstream(f"10.0.1.{n}:53") for n in range(20)])
        lines = shown(View(look, a_look(159.0), a_look(100.0)), 80, 24)
        self.assertLessEqual(len(lines), 24)
        text = "\n".join(lines)
        for part in (
            "and 8 more; /ready/why",
            "and 8 more workers, all answer",
            "and 19 more, all healthy",
            "10.244.1.17",
            "n0.shop",
        ):
            self.assertIn(part, text)

    def test_widest(self) -> None:
        """From 160 columns upstreams stand beside the figures, and nothing is below the edge of 200 columns and 50 lines."""
        lines = shown(after_a_minute(), 200, 50)
        self.assertLessEqual(len(lines), 50)
        beside = {line.split()[0] for line in lines if line[82:92].startswith(("UPSTREAM", "10.0.0.1"))}
        self.assertEqual(beside, {"Answered", "Table", "Cache"})

    def test_high(self) -> None:
        """On a high screen lists have ten lines, and nothing is left out above."""
        lines = shown(after_a_minute(), 80, 60)
        self.assertIn("", lines)
        self.assertTrue([line for line in lines if "n9.shop.svc" in line])

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(20, 250), st.integers(5, 80), st.text(max_size=300))
    def test_width(self, width: int, height: int, text: str) -> None:
        """No line is longer than the screen is wide, whatever names and errors say."""
        text = "".join(letter for letter in text if letter.isprintable())
        look = a_look()
        look["corefile"] |= {"bad": True, "last": {"at": 0.0, "taken_over": False, "error": text}}
        look["talkers"]["names"].append({"name": text, "times": 1})
        look["upstreams"].append(upstream(text, "suspect", reason=text))
        look["clusters"][0]["why"] = text
        for line in shown(View(look, trouble=text), width, height):
            self.assertLessEqual(len(line), width)

    def test_rows(self) -> None:
        """Lists have as many lines as are wanted."""
        lines = painted(lines_of(after_a_minute(), 80, None, 3), 80, colour=False)
        self.assertTrue([line for line in lines if "n2.shop.svc" in line])
        self.assertFalse([line for line in lines if "n3.shop.svc" in line])

    def test_nothing_to_obey(self) -> None:
        """What comes from elsewhere has no power over the terminal."""
        look = a_look()
        look["clusters"][0] |= {"synced": False, "why": "\x1b]0;title\x07 forbidden\x9b2J"}
        text = "\n".join(shown(View(look)))
        self.assertIn("?]0;title? forbidden?2J", text)

    def test_empty(self) -> None:
        """A server that tells hardly anything is shown all the same."""
        self.assertTrue(shown(View({"seconds": 0.0})))
        look = copy.deepcopy(a_look(0.0))
        self.assertTrue(shown(View(look, look, look)))
