# -*- test-case-name: tests.test_bench -*-
"""The benchmarks can be found, say what they measure, and judge numbers as they should; none is run here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from bench import markdown
from bench.__main__ import QUICK, USUAL, arguments_for, benchmarks, split
from bench.cluster import Size, addresses
from bench.load import Run, Stuck, query, said
from bench.machine import keep
from bench.names import (
    ext,
    hosts_of,
    hot,
    new_in_cluster,
    new_outside,
    under_old_domain,
    wide,
    with_opt,
    write,
    zone_file,
)
from bench.processes import BenchError, median, percentile
from bench.profile import by_file, calls, ours, shorten
from bench.rows import ROWS, WORDS, again, unexpected
from bench.soak import Counts, counts, judge
from kdns.server.assembly import read_text
from kdns.wire.constants import AAAA, SRV, A
from kdns.wire.names import to_text
from kdns.wire.query import Query, read_query

CHECKOUT = Path(__file__).parent.parent


class ListTests(SynchronousTestCase):
    """``python -m bench --list``"""

    def test_list(self) -> None:
        """Every benchmark is shown with what it measures."""
        shown = subprocess.run(
            [sys.executable, "-m", "bench", "--list"], capture_output=True, text=True, check=True, cwd=CHECKOUT
        ).stdout
        self.assertEqual(len(shown.splitlines()), len(benchmarks()) + 2)
        for name in ("latency", "memory_table", "rows", "watch"):
            self.assertIn(f"\n{name} ", shown)

    def test_unknown(self) -> None:
        """A name that is no benchmark is told, with those that there are."""
        ended = subprocess.run(
            [sys.executable, "-m", "bench", "nonsense"], capture_output=True, text=True, check=False, cwd=CHECKOUT
        )
        self.assertEqual(ended.returncode, 2)
        self.assertIn("no benchmark nonsense; there are block_list", ended.stderr)

    def test_without_dnsperf(self) -> None:
        """Who has no dnsperf is told how to get it, before anything is started, by each that needs it."""
        for name in ("rows", "latency", "soak", "profile"):
            ended = subprocess.run(
                [sys.executable, "-m", f"bench.{name}"],
                capture_output=True,
                text=True,
                check=False,
                cwd=CHECKOUT,
                env={"PATH": self.mktemp()},
            )
            self.assertEqual((ended.returncode, ended.stdout), (1, ""))
            self.assertIn("apt-get install dnsperf", ended.stderr)
            self.assertEqual(len(ended.stderr.splitlines()), 1)

    def test_killed(self) -> None:
        """A measured program that is killed leaves no temporary folder behind."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        program = "import bench.inside, bench.api_driver, os; os._exit(0)"
        subprocess.run([sys.executable, "-c", program], check=True, cwd=CHECKOUT, env={"TMPDIR": str(folder)})
        self.assertEqual(list(folder.iterdir()), [])

    def test_importable(self) -> None:
        """Importing a benchmark runs nothing."""
        for name in benchmarks():
            self.assertTrue(callable(import_module(f"bench.{name}").main))

    def test_quick(self) -> None:
        """Quick runs have arguments of their own, for benchmarks that exist."""
        self.assertEqual(arguments_for("latency", quick=True), ("--quick",))
        self.assertEqual(arguments_for("latency", quick=False), ())
        self.assertEqual(arguments_for("cluster_memory", quick=True), QUICK["cluster_memory"])
        self.assertLessEqual(QUICK.keys(), benchmarks().keys())

    def test_json(self) -> None:
        """Those that keep their figures are told where."""
        self.assertEqual(arguments_for("rows", quick=True, json="/x"), ("--quick", "--json", "/x"))
        self.assertEqual(arguments_for("rows", quick=False, json="/x"), ("--json", "/x"))
        self.assertEqual(arguments_for("cache_hit", quick=True, json="/x"), ())

    def test_split(self) -> None:
        """Names of benchmarks only are run one after another; other words belong to the first."""
        known = benchmarks()
        self.assertEqual(split(USUAL, known), [(name, ()) for name in USUAL])
        self.assertEqual(split(["rows", "--quick", "hot"], known), [("rows", ("--quick", "hot"))])
        self.assertEqual(split(["nonsense"], known), [("nonsense", ())])


class NameTests(SynchronousTestCase):
    """What the rows ask."""

    def test_counts(self) -> None:
        """The rows have as many names of each kind as they say, none twice."""
        for packets, count in ((hot(Size()), 2200), (wide(Size()), 22_000), (ext(), 500)):
            self.assertEqual(len(packets), count)
            self.assertEqual(len(set(packets)), count)
        self.assertEqual(Counter(packet[-3] for packet in wide(Size())), {A: 10_000, AAAA: 9_000, SRV: 3_000})

    def test_zone(self) -> None:
        """Each host that is asked for has its record in the zone file."""
        owners = {line.split()[0] for line in zone_file("a.test", 300).splitlines()}
        for packet in hosts_of("a.test", 300):
            asked = read_query(packet)
            assert isinstance(asked, Query)
            self.assertIn(to_text(asked.qname).partition(".")[0], owners)

    def test_old_domain(self) -> None:
        """Questions under the old domain are as many, and no name of the new one is left."""
        packets = under_old_domain(hot(Size()))
        self.assertEqual(len(set(packets)), 2200)
        self.assertEqual([packet for packet in packets if b"\x07cluster" in packet], [])

    def test_servers(self) -> None:
        """Each row has a server, and each server's Corefile is one."""
        self.assertLessEqual({row.server for row in ROWS}, set(WORDS))
        for words in WORDS.values():
            found = read_text("." + " {\n" + "\n".join(words) + "\n}\n", {})
            self.assertEqual(len(found.blocks), 1)

    def test_same(self) -> None:
        """What is asked over and over is the same in each run."""
        self.assertEqual(hot(Size()), hot(Size()))

    def test_new(self) -> None:
        """Names that nobody asked for are queries, and no two are the same."""
        for draw in (new_in_cluster, new_outside):
            packets = [*draw(1000), *draw(1000)]
            self.assertEqual(len(set(packets)), 2000)
            self.assertEqual({type(read_query(packet)) for packet in packets}, {Query})

    def test_opt(self) -> None:
        """Each query has an OPT, half of them a cookie that no other has, and each name is asked both ways."""
        questions = hot(Size())[:10]
        packets = list(with_opt(questions, 40))
        cookies: dict[bytes, list[bytes]] = {}
        for packet in packets:
            read = read_query(packet)
            assert isinstance(read, Query) and read.edns is not None
            asked, _, _ = packet.partition(b"\x00\x00\x29")
            cookies.setdefault(asked, []).append(read.edns.options)
        self.assertEqual(
            {tuple(map(bool, found)) for found in cookies.values()}, {(True, False) * 2, (False, True) * 2}
        )
        options = [option for found in cookies.values() for option in found]
        self.assertEqual(options.count(b""), 20)
        self.assertEqual(len(set(options)), 21)
        self.assertEqual({option[:4] for option in options if option}, {b"\x00\x0a\x00\x08"})

    def test_file(self) -> None:
        """A file of packets has each behind its length, as on a stream."""
        path = Path(self.mktemp())
        write(path, [b"one", b"three"])
        self.assertEqual(path.read_bytes(), b"\x00\x03one\x00\x05three")


class DnsperfTests(SynchronousTestCase):
    """What dnsperf says is understood."""

    SAID = """\
> NOERROR binary input 0.000316
> NXDOMAIN binary input 0.000104
Statistics:

  Queries sent:         3
  Queries completed:    2 (66.67%)
  Queries lost:         1 (33.33%)

  Response codes:       NOERROR 1 (50.00%), NXDOMAIN 1 (50.00%)
  Average packet size:  request 46, response 39
  Run time (s):         2.000000
  Queries per second:   1.000000

  Average Latency (s):  0.000210 (min 0.000104, max 0.000316)
"""

    def test_said(self) -> None:
        """Counts, seconds, response codes, latencies."""
        run = said(self.SAID, "")
        self.assertEqual((run.sent, run.completed, run.lost, run.seconds), (3, 2, 1, 2.0))
        self.assertEqual((run.average, run.slowest, run.latencies), (0.00021, 0.000316, [0.000316, 0.000104]))
        self.assertEqual((run.share("NOERROR"), run.share("NXDOMAIN"), run.share("SERVFAIL")), (0.5, 0.5, 0.0))

    def test_nonsense(self) -> None:
        """When it says nothing of a run, the benchmark says what it said instead."""
        self.assertIn("no such host", str(self.assertRaises(BenchError, said, "", "no such host")))

    def test_again(self) -> None:
        """When dnsperf gets stuck it is tried once more, and what went wrong with it is not counted; no more than once."""
        outcomes: list[object] = [Stuck("waits"), "measured", Stuck("waits"), Stuck("again"), BenchError("none")]

        def measure() -> object:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self.assertEqual(again(measure), "measured")
        self.assertEqual(str(self.assertRaises(Stuck, again, measure)), "again")
        self.assertEqual(str(self.assertRaises(BenchError, again, measure)), "none")

    def test_unexpected(self) -> None:
        """Replies with other response codes than the row should have are told."""
        (hot_row,) = (row for row in ROWS if row.name == "hot")
        right = Run(220_000, 0, 1.0, "NOERROR 170000 (77.27%), NXDOMAIN 50000 (22.73%)")
        wrong = Run(220_000, 0, 1.0, "NOERROR 160000 (72.73%), SERVFAIL 10000 (4.54%), NXDOMAIN 50000 (22.73%)")
        self.assertEqual(unexpected(hot_row, right), "")
        self.assertIn("SERVFAIL 10000", unexpected(hot_row, wrong))


class ProfileTests(SynchronousTestCase):
    """What a profile says."""

    def test_shorten(self) -> None:
        """Places are told without the folders that are the same for all."""
        for place, short in (
            (f"{CHECKOUT}/kdns/server/mmsg.py MmsgPort._send 7", "kdns/server/mmsg.py MmsgPort._send 7"),
            ("/usr/lib/python3.11/weakref.py", "weakref.py"),
            ("/x/lib/python3.11/site-packages/twisted/a.py f", "twisted/a.py f"),
            ("<string> <lambda>", "<string> <lambda>"),
        ):
            self.assertEqual(shorten(place), short)

    def test_by_file(self) -> None:
        """Functions of a file are added up."""
        self.assertEqual(by_file({"/a.py f": 2, "/a.py g.h": 3, "/b.py f": 1}), {"/a.py": 5, "/b.py": 1})

    def test_ours(self) -> None:
        """Of functions with what they call, those that serve are shown."""
        inner = f"{CHECKOUT}/kdns/server/mmsg.py MmsgPort.doRead"
        places = {
            inner: 2,
            f"{CHECKOUT}/kdns/cli/main.py serve": 9,
            f"{CHECKOUT}/bench/inside.py main": 9,
            "/x/a.py f": 1,
        }
        self.assertEqual(ours(places), {inner: 2})

    def test_calls(self) -> None:
        """System calls are read from strace's summary, with errors and without."""
        summary = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.26    0.000047           3        14         2 recvmmsg
 39.74    0.000031           2        15           sendmmsg
------ ----------- ----------- --------- --------- ----------------
100.00    0.000078           2        29         2 total
"""
        self.assertEqual(calls(summary), {"recvmmsg": 14, "sendmmsg": 15})


class SoakTests(SynchronousTestCase):
    """What a long run must hold."""

    PAGE = """\
# TYPE coredns_dns_requests_total counter
coredns_dns_requests_total{server="dns://:53",zone=".",proto="udp",type="A"} 7
coredns_dns_requests_total{server="dns://:53",zone=".",proto="tcp",type="A"} 3
coredns_dns_responses_total{server="dns://:53",zone=".",rcode="NOERROR",plugin="kubernetes"} 9
coredns_dns_responses_total_other 5
coredns_panics_total 2
"""

    def held(self, after: Counts, runs: list[Run], memory: list[float]) -> list[bool]:
        """Whether each thing held, from a start with nothing."""
        return [verdict.holds for verdict in judge(Counts(0, 0, 0, 0), after, runs, memory)]

    def test_counts(self) -> None:
        """The counters of all label values are added up."""
        self.assertEqual(counts(self.PAGE, 4), Counts(requests=10, responses=9, panics=2, dropped=4))

    def test_all_well(self) -> None:
        """All that was sent was counted and answered, and memory stays."""
        runs = [Run(90, 0, 1.0, sent=90), Run(10, 0, 1.0, sent=10)]
        self.assertEqual(self.held(Counts(100, 100, 0, 0), runs, [50.0] * 100), [True] * 6)

    def test_dropped(self) -> None:
        """What found a full buffer may be lost and not counted."""
        self.assertEqual(self.held(Counts(98, 98, 0, 2), [Run(98, 2, 1.0, sent=100)], [50.0] * 100), [True] * 6)

    def test_faults(self) -> None:
        """A loss, a query not counted, a reply not counted, a panic and growing memory are told apart."""
        run, steady = Run(100, 0, 1.0, sent=100), [50.0] * 100
        for number, (after, runs, memory) in enumerate(
            [
                (Counts(100, 100, 0, 0), [Run(100, 1, 1.0, sent=101)], steady),
                (Counts(99, 99, 0, 0), [run], steady),
                (Counts(100, 99, 0, 0), [run], steady),
                (Counts(101, 101, 0, 0), [run], steady),
                (Counts(100, 100, 1, 0), [run], steady),
                (Counts(100, 100, 0, 0), [run], [float(value) for value in range(50, 150)]),
            ]
        ):
            self.assertFalse(self.held(after, runs, memory)[number])


class MarkdownTests(SynchronousTestCase):
    """The figures of a file as tables."""

    SERVER: ClassVar[dict[str, object]] = {"average": 0.1, "p99": 0.4, "slowest": 2.0, "lost": 0, "resident": 80.0}

    def test_rows(self) -> None:
        """A row says the multiple of medians and the cost beside the peer's; what misses its target is bold."""
        row = {
            "target": 6.5,
            "peer": "nsd",
            "peer target": 1.5,
            "kdns": {**self.SERVER, "rates": [1.0, 120_000.0, 120_000.0], "each": [8.0], "busy": [1.0]},
            "yardstick": {"rates": [20_000.0], "each": [48.0]},
            "nsd": {"each": [6.4]},
        }
        (_, line) = markdown.rows({"hot": row})
        self.assertEqual(line, ["hot", "20,000", "120,000", "**6.0**", "6.5", "6.0", "0.10", "0.40", "2.00", "0"])
        (_, line) = markdown.costs({"hot": row})
        self.assertEqual(line, ["hot", "8.0", "48.0", "nsd 6.4", "1.25", "1.5", "100%", "80"])
        del row["nsd"]
        self.assertEqual(markdown.costs({"hot": row})[1][3:6], ["", "", ""])

    def test_latency(self) -> None:
        """A situation is held against its own limits; what stands in brackets against none."""
        found = {key: [5.0] for key in ("average", "p50", "p99", "p999", "slowest")} | {"lost": 0}
        _, idle, busy, nsd = markdown.latency({"idle": found, "relists": found, "(NSD, idle)": found})
        self.assertEqual(idle, ["idle", "**5.00**", "5.00", "**5.00**", "5.00", "5.0", "0"])
        self.assertEqual(busy[1:6], ["5.00", "5.00", "**5.00**", "5.00", "5.0"])
        self.assertEqual(nsd[1:6], ["5.00", "5.00", "5.00", "5.00", "5.0"])

    def test_soak(self) -> None:
        """What does not hold is bold."""
        verdicts = [{"what": "panics", "found": "0", "holds": True}, {"what": "lost", "found": "1", "holds": False}]
        self.assertEqual(
            markdown.written(markdown.soak({"verdicts": verdicts})),
            "| what should hold | found | holds |\n| --- | ---: | ---: |\n| panics | 0 | yes |\n| lost | 1 | **no** |",
        )


class DocumentTests(SynchronousTestCase):
    """Figures in a document."""

    HELD: ClassVar[dict[str, Any]] = {"soak": {"machine": {"cores": 2}, "figures": {"verdicts": []}}}

    def test_filled(self) -> None:
        """What stands between the marks is replaced, again and again; the rest stays."""
        filled = markdown.filled("one\n<!-- soak -->\nold\n<!-- /soak -->\ntwo\n", self.HELD)
        self.assertEqual(filled[:36], "one\n<!-- soak -->\nMeasured: cores 2.")
        self.assertEqual(filled[-36:], "| --- | ---: | ---: |\n<!-- /soak -->\ntwo\n"[-36:])
        self.assertEqual(markdown.filled(filled, self.HELD), filled)

    def test_no_place(self) -> None:
        """A document without the marks is left alone, and this is told."""
        self.assertRaises(ValueError, markdown.filled, "one\n<!-- soak -->\nold\n", self.HELD)

    def test_document(self) -> None:
        """docs/performance.md has a place for all."""
        text = (CHECKOUT / "docs" / "performance.md").read_text(encoding="utf-8")
        for name in markdown.TABLES:
            self.assertEqual((text.count(f"<!-- {name} -->\n"), text.count(f"\n<!-- /{name} -->")), (1, 1))


class KeepTests(SynchronousTestCase):
    """The file of figures."""

    def test_keep(self) -> None:
        """Each benchmark writes its own, and leaves those of others."""
        path = self.mktemp()
        keep(path, "one", [1])
        keep(path, "two", [2])
        keep("", "three", [3])
        kept = json.loads(Path(path).read_text(encoding="utf-8"))
        self.assertEqual({name: held["figures"] for name, held in kept.items()}, {"one": [1], "two": [2]})
        self.assertIn("commit", kept["one"]["machine"])


class FigureTests(SynchronousTestCase):
    """What is made of what was measured."""

    def test_percentile(self) -> None:
        """The value that a share of all does not exceed."""
        values = [float(number) for number in range(100, 0, -1)]
        self.assertEqual(percentile(values, 0.99), 100.0)
        self.assertEqual(percentile(values, 0.5), 51.0)
        self.assertEqual(percentile([], 0.5), 0.0)

    def test_median(self) -> None:
        """One run that was disturbed does not count."""
        self.assertEqual(median([1.0, 100.0, 2.0]), 2.0)

    def test_addresses(self) -> None:
        """The addresses of a reply are told apart from their order, whether owners are compressed or not."""
        question = query("web.prod.svc.cluster.local")
        fixed = b"\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04"
        for owner in (b"\xc0\x0c", question[12:-4]):
            records = [owner + fixed + bytes((10, 0, 0, number)) for number in (1, 2, 3)]
            for order in (records, records[::-1]):
                reply = question[:6] + b"\x00\x03" + question[8:] + b"".join(order)
                wanted = {b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02", b"\x0a\x00\x00\x03"}
                self.assertEqual(addresses(reply, question), wanted)
        self.assertEqual(addresses(question, question), frozenset())
