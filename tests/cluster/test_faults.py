"""What a watch makes of a server, or of something on the way, that fails: old data serves meanwhile, and in the end it is right again."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from kdns.cluster.watch_states import State
from kdns.core.degraded import Fault
from tests.apiserver import FaultKind, ServerOptions, WatchListSupport
from tests.cluster.apiworld import ApiWorld, endpoint_slice, service


class Troubled(ApiWorld):
    """A source that is synced before the trouble begins; *services* are looked at."""

    def setUp(self) -> None:
        super().setUp()
        self.server.apply(service("old", "10.96.1.1"))
        self.server.apply(service("gone", "10.96.1.2"))
        self.server.apply(endpoint_slice("old-1", "old", "10.1.0.1"))
        self.begin()

    @property
    def state(self) -> State:
        """The state of the watch of services."""
        return self.states()["services"]

    def relists(self, reason: str) -> int:
        """How often the services were asked for as a whole for that reason."""
        return self.source.freshness["services"].relists[reason]

    def change(self) -> None:
        """One service comes, one changes, one goes."""
        self.server.apply(service("new", "10.96.1.3"))
        self.server.apply(service("old", "10.96.1.4"))
        self.server.delete("Service", "default", "gone")

    def recovered(self, seconds: float = 120.0) -> float:
        """Wait for the index to be as the server is, and see that all the time what did not change was served."""

        def right() -> bool:
            self.assertNotEqual(self.address_of("old"), "")
            self.assertTrue(self.source.synced)
            return set(self.states().values()) == {State.STREAMING} and self.same()

        return self.until(right, seconds)

    def errors(self) -> dict[str, int]:
        """Failures of the watch of services, by cause."""
        return dict(self.source.freshness["services"].errors)

    def expire(self) -> None:
        """The server forgets the version that the watch would go on from."""
        self.server.inject(FaultKind.STATUS, "services", "watch", code=503)
        self.server.disturb(FaultKind.CUT, "services")
        self.reactor.settle()
        self.change()
        self.server.compact()
        self.recovered()
        self.assertEqual(self.relists("expired"), 1)

    def change_others(self) -> None:
        """A change beside the object under test."""
        self.server.apply(service("new", "10.96.1.3"))


class FaultTests(Troubled):
    """One trouble at a time."""

    # The connection

    def break_off(self, kind: FaultKind) -> None:
        """All watches end that way."""
        self.assertEqual(self.server.disturb(kind), 3)
        self.reactor.settle()
        self.change()
        self.assertLess(self.recovered(), 5.0)
        self.assertEqual(sum(self.source.freshness["services"].relists.values()), 1)

    def test_cut(self) -> None:
        """A connection that is closed in the middle of a body: the watch goes on from the last version, without a new list."""
        self.break_off(FaultKind.CUT)

    def test_half_close(self) -> None:
        """A server that closes its direction only is gone."""
        self.break_off(FaultKind.HALF_CLOSE)

    def test_reset(self) -> None:
        """A reset, as of a server that was killed."""
        self.break_off(FaultKind.RESET)

    def test_cut_in_a_line(self) -> None:
        """Half a line is no event; it comes again."""
        self.server.disturb(FaultKind.CUT, "services", mid_line=True)
        self.change()
        self.assertLess(self.recovered(), 5.0)

    def test_hang(self) -> None:
        """A request that is never answered is given up after half a minute."""
        self.server.inject(FaultKind.HANG, "services", "watch")
        self.server.disturb(FaultKind.CUT, "services")
        self.change()
        self.assertTrue(30.0 < self.recovered() < 40.0)
        self.assertEqual(self.errors()["unreachable"], 2)

    def test_hang_at_the_start(self) -> None:
        """So is the very first one; until then it is told what is waited for."""
        stopped = self.source.stop()
        self.reactor.settle()
        self.successResultOf(stopped)
        self.server.inject(FaultKind.HANG, "services")
        self.source = self.make_source()
        self.source.start()
        self.reactor.advance(1.0)
        self.assertEqual(self.source.why_not_ready(), "services: no answer of the API server yet")
        self.reactor.advance(29.5)
        self.assertIn("no answer in 30 seconds", self.source.why_not_ready())
        self.until(lambda: self.source.synced)
        self.assertSame()
        self.assertEqual(self.source.why_not_ready(), "")

    def test_black_hole(self) -> None:
        """A server that is gone without a word is noticed by its silence, and found again when it is back."""
        self.reactor.blackhole("127.0.0.1", self.server.port)
        self.change()
        self.reactor.advance(125.0)
        self.assertEqual(self.address_of("gone"), "10.96.1.2")
        self.assertIn(self.state, (State.CONNECTING, State.BACKING_OFF))
        self.reactor.lift("127.0.0.1", self.server.port)
        self.assertLess(self.recovered(), 70.0)

    def test_an_hour_of_outage(self) -> None:
        """For an hour the last data serves, the server is asked about twice a minute, and afterwards all is right within a minute."""
        asked = len(self.server.requests)
        gone = self.server.begin_outage()
        self.reactor.settle()
        self.successResultOf(gone)
        for _ in range(60):
            self.reactor.advance(60.0)
            self.assertEqual(self.address_of("gone"), "10.96.1.2")
        self.assertEqual(len(self.server.requests), asked)
        self.assertTrue(60 <= self.errors()["unreachable"] <= 130, self.errors())
        self.assertGreater(self.source.freshness["services"].event_age(self.reactor.seconds()) or 0.0, 3600.0)
        self.assertEqual(self.source.why_not_ready(), "")
        self.change()
        self.server.compact()
        self.server.end_outage()
        self.assertLess(self.recovered(), 61.0)

    def test_log(self) -> None:
        """The beginning of a failure is logged, and so is its end, with how long it took; in between it is listed."""
        with capturedLogs() as events:
            gone = self.server.begin_outage()
            self.reactor.advance(60.0)
            self.successResultOf(gone)
            (since,) = {int(state.since - self.wall()) for state in self.degraded}
            self.assertEqual(since, -60)
            self.assertEqual(
                {state.name for state in self.degraded},
                {"watch of namespaces", "watch of services", "watch of endpointslices"},
            )
            self.assertIn("no connection", next(iter(self.degraded)).text)
            self.server.end_outage()
            self.recovered()
        lines = [str(formatEvent(event)) for event in events]
        begins = [line for line in lines if line.startswith("Failed to watch: failed to watch *v1.Service:")]
        ends = [line for line in lines if line.startswith("watch of services: in order again after ")]
        self.assertEqual((bool(begins), len(ends)), (True, 1), lines)
        self.assertEqual(list(self.degraded), [])

    # What the server says

    def test_gone(self) -> None:
        """A version that is too old when the watch begins: the whole state is asked for, and what went meanwhile is swept out."""
        self.expire()

    def test_status_on_an_open_watch(self) -> None:
        """An ERROR event on a watch that ran."""
        self.server.disturb(FaultKind.STATUS, "services", code=410)
        self.change()
        self.assertLess(self.recovered(), 1.0)
        self.assertEqual(self.relists("expired"), 1)

    def test_expires_again_and_again(self) -> None:
        """A server that says 410 to everything is not asked without a pause."""
        fault = self.server.inject(FaultKind.STATUS, "services", "watch", times=None, code=410)
        self.server.disturb(FaultKind.CUT, "services")
        began = self.reactor.seconds()
        self.reactor.advance(60.0)
        asked = [r for r in self.server.requests if r.time > began and r.resource == "services"]
        self.assertLess(len(asked), 20)
        self.server.clear_faults(fault)
        self.change()
        self.recovered()

    def test_too_many_requests(self) -> None:
        """429 with Retry-After: the server is left alone for that time."""
        self.server.inject(FaultKind.STATUS, "services", "watch", code=429, retry_after=20)
        self.server.disturb(FaultKind.CUT, "services")
        self.change()
        self.assertTrue(20.0 <= self.recovered() < 26.0)
        self.assertEqual(self.errors()["429"], 1)

    def test_server_errors(self) -> None:
        """500 five times over: the pauses grow, and what was known serves."""
        self.server.inject(FaultKind.STATUS, "services", "watch", times=5, code=500)
        self.server.disturb(FaultKind.CUT, "services")
        self.change()
        took = self.recovered()
        self.assertTrue(0.8 + 1.6 + 3.2 + 6.4 + 12.8 <= took <= 2 * 51.2, took)
        self.assertEqual(self.errors()["500"], 5)

    def test_too_large_version(self) -> None:
        """504, a replica that lags: once it is asked again from the same version, then for the whole state."""
        self.server.inject(FaultKind.STATUS, "services", "watch", times=2, code=504, retry_after=1)
        self.server.disturb(FaultKind.CUT, "services")
        self.change()
        self.recovered()
        self.assertEqual(self.relists("version_unknown"), 1)

    def test_forbidden(self) -> None:
        """403 names what is missing, and when it is granted the watch goes on."""
        self.server.inject(
            FaultKind.STATUS, "services", "watch", times=2, code=403, message="services is forbidden: User cannot"
        )
        self.server.disturb(FaultKind.CUT, "services")
        self.change()
        self.reactor.advance(1.7)
        self.assertIn('needs the verb "watch" on resource "services"', self.source.freshness["services"].problem)
        self.recovered()
        self.assertEqual(self.source.freshness["services"].problem, "")

    # The lines

    def test_corrupt_line(self) -> None:
        """A line that is no JSON is counted and passed over, the stream lives on, and a new list follows within a minute."""
        watches = len(self.server.requests_for("watch", "services"))
        self.server.disturb(FaultKind.CORRUPT, "services", lines=1)
        self.change()
        self.reactor.advance(0.1)
        self.assertEqual(self.address_of("old"), "10.96.1.4")
        self.assertEqual(self.address_of("gone"), "")
        self.assertEqual(self.address_of("new"), "")
        self.assertEqual(len(self.server.requests_for("watch", "services")), watches)
        self.assertLess(self.recovered(), 60.0)
        self.assertEqual(self.source.freshness["services"].bad_objects, 1)
        self.assertEqual(self.relists("bad_object"), 1)

    def test_overlong_line(self) -> None:
        """A line of more than 4 MiB is not kept in memory, and is passed over likewise."""
        self.server.disturb(FaultKind.LONG_LINE, "services", lines=1, size=5 << 20)
        self.change()
        self.reactor.advance(0.1)
        self.assertEqual(self.address_of("old"), "10.96.1.4")
        self.assertLess(self.recovered(), 60.0)
        self.assertEqual(self.source.freshness["services"].bad_objects, 1)

    def test_bad_object(self) -> None:
        """An object that cannot be used keeps its last good value, in events and in lists, and the relists become rare."""
        bad = service("old", "10.96.1.9")
        bad["spec"]["ports"] = [{"name": "http", "port": "eighty"}]
        self.server.apply(bad)
        self.change_others()
        self.reactor.advance(0.1)
        self.assertEqual(self.address_of("old"), "10.96.1.1")
        self.assertEqual(self.address_of("new"), "10.96.1.3")
        self.reactor.advance(3600.0)
        self.assertEqual(self.address_of("old"), "10.96.1.1")
        self.assertTrue(2 <= self.relists("bad_object") <= 8, self.relists("bad_object"))
        self.server.apply(service("old", "10.96.1.9"))
        self.recovered()
        self.assertEqual(self.address_of("old"), "10.96.1.9")

    def test_duplicates(self) -> None:
        """Lines that come twice do no harm, and are no reason for anything."""
        self.server.disturb(FaultKind.DUPLICATE)
        self.change()
        self.reactor.advance(0.1)
        self.assertSame()
        self.reactor.advance(60.0)
        self.assertEqual(sum(self.source.freshness["services"].relists.values()), 1)

    def test_reordered(self) -> None:
        """Lines that change places: a newer object is never replaced by an older one, and a new list makes sure."""
        self.server.disturb(FaultKind.REORDER, "services")
        self.server.apply(service("old", "10.96.1.5"))
        self.server.apply(service("old", "10.96.1.6"))
        self.server.apply(service("new", "10.96.1.7"))
        self.server.delete("Service", "default", "new")
        self.reactor.advance(0.1)
        self.assertEqual(self.address_of("old"), "10.96.1.6")
        self.assertSame()
        self.reactor.advance(60.0)
        self.assertEqual(self.relists("out_of_order"), 1)
        self.assertSame()

    # Silence

    def frozen(self, proof: str) -> int:
        """How many watches of services were found frozen in that way."""
        start = f'kdns_kubernetes_frozen_watches_total{{resource="services",proof="{proof}"}} '
        return sum(int(line.removeprefix(start)) for line in self.registry.lines() if line.startswith(start))

    def test_missed_change(self) -> None:
        """A connection that stays open and passes nothing is noticed within 30 seconds of a change that it misses."""
        for quiet in (0.0, 13.0, 50.0):
            self.server.disturb(FaultKind.SILENT)
            self.reactor.advance(quiet)
            before = self.frozen("missed_change")
            self.change()
            self.assertLess(self.recovered(), 30.0)
            self.assertEqual(self.frozen("missed_change"), before + 1)
            self.server.apply(service("gone", "10.96.1.2"))
        self.assertEqual(sum(self.source.freshness["services"].relists.values()), 1)
        self.assertEqual(self.errors(), {})

    def test_frozen_proxy(self) -> None:
        """When nothing passes on any connection, that is noticed within 30 seconds, too."""
        self.reactor.blackhole("127.0.0.1", self.server.port)
        with capturedLogs() as events:
            self.until(lambda: self.source.freshness["services"].problem, 30.0)
        self.assertEqual(self.frozen("no_answer"), 1)
        self.assertIn(("watch of services", Fault.WATCH_FROZEN), [(state.name, state.kind) for state in self.degraded])
        self.assertIn("services: the watch is frozen", "".join(str(formatEvent(event)) for event in events))
        self.reactor.lift("127.0.0.1", self.server.port)
        self.change()
        self.recovered()
        self.assertEqual(self.source.freshness["services"].problem, "")
        self.assertEqual(list(self.degraded), [])

    def test_quiet(self) -> None:
        """A watch that has nothing to tell is asked about and left alone; its data is as old as the last answer."""
        before = self.server.requests_for("watch", "services")[-1]
        self.reactor.advance(200.0)
        asked = [r for r in self.server.requests_for("watch", "services") if r.time > before.time]
        self.assertEqual({request.query["timeoutSeconds"] for request in asked}, {"1"})
        self.assertTrue(8 <= len(asked) <= 14, len(asked))
        self.assertLess(self.source.freshness["services"].event_age(self.reactor.seconds()) or 0.0, 20.0)
        self.assertEqual((self.frozen("missed_change"), self.frozen("no_answer"), self.errors()), (0, 0, {}))

    def test_busy(self) -> None:
        """A watch that tells something every few seconds is not asked about."""
        for number in range(30):
            self.server.apply(service("busy", f"10.96.3.{number}"))
            self.reactor.advance(5.0)
        self.assertEqual(
            [r for r in self.server.requests_for("watch", "services") if r.query["timeoutSeconds"] == "1"], []
        )

    def test_unhelpful_answers(self) -> None:
        """A refusal of the question proves nothing."""
        for code in (410, 429, 500, 403):
            self.server.inject(FaultKind.STATUS, "services", "watch", code=code)
            self.reactor.advance(20.0)
        self.assertEqual((self.frozen("missed_change"), self.frozen("no_answer"), self.errors()), (0, 0, {}))

    def test_late_event(self) -> None:
        """A change that comes while the question is asked, and arrives on the watch a moment later, is no proof."""
        self.reactor.advance(10.0)
        asked = len(self.server.requests_for("watch", "services"))
        self.until(lambda: len(self.server.requests_for("watch", "services")) > asked, 20.0)
        self.change()
        self.reactor.advance(10.0)
        self.assertEqual(self.frozen("missed_change"), 0)
        self.assertSame()

    def test_silence(self) -> None:
        """A watch that says nothing, not even bookmarks, is opened again within two minutes; no new list is needed."""
        self.server.disturb(FaultKind.SILENT)
        self.reactor.advance(121.0)
        self.change()
        self.reactor.settle()
        self.assertSame()
        self.assertEqual(self.frozen("silence"), 1)
        self.assertEqual(sum(self.source.freshness["services"].relists.values()), 1)

    def test_no_bookmarks(self) -> None:
        """Without bookmarks a quiet watch is opened again from time to time, and that is all."""
        self.server.inject(FaultKind.SKIP_BOOKMARKS, verb="watch", times=None)
        self.server.disturb(FaultKind.SKIP_BOOKMARKS)
        self.reactor.advance(600.0)
        self.change()
        self.reactor.settle()
        self.recovered()
        watches = [r for r in self.server.requests_for("watch", "services") if r.query["timeoutSeconds"] != "1"]
        self.assertTrue(5 <= len(watches) <= 9)
        self.assertEqual(self.errors(), {})

    def test_drift(self) -> None:
        """Events that were lost on the way are found by the check, put right and counted."""
        self.lose_events(self.change)
        self.assertEqual(self.address_of("new"), "")
        self.until(self.same, 1000.0, step=5.0)
        self.assertEqual(self.source.freshness["services"].drift_repaired, 3)
        self.assertIn('kdns_kubernetes_drift_repaired_total{resource="services"} 3', list(self.registry.lines()))

    def test_much_drift(self) -> None:
        """When very much is wrong, the whole state is asked for."""

        def much() -> None:
            for number in range(40):
                self.server.apply(service(f"lost-{number}", f"10.96.2.{number + 1}"))

        self.lose_events(much)
        self.until(self.same, 1000.0, step=5.0)
        self.assertEqual(self.relists("drift"), 1)
        self.assertEqual(self.source.freshness["services"].drift_repaired, 40)

    def lose_events(self, change: object) -> None:
        """Let the watch of services miss what *change* does, and believe that it has seen it."""
        assert callable(change)
        stream = next(s for s in self.server._streams if s.watch.filter.resource.plural == "services")
        deaf = stream.pump
        stream.pump = lambda: None  # type: ignore[method-assign]  # the fault: the server forgets a watcher
        change()
        stream.watch.position = self.server.version
        line = stream.watch.bookmark()
        assert line is not None
        stream._write([line])
        stream.pump = deaf  # type: ignore[method-assign]  # and remembers it afterwards

    def test_all_at_once(self) -> None:
        """A rolling restart of the server, with everything that comes with it."""
        for kind in (FaultKind.CUT, FaultKind.RESET, FaultKind.HALF_CLOSE):
            self.server.inject(FaultKind.STATUS, times=3, code=503, retry_after=1)
            self.server.inject(FaultKind.CUT, verb="watch", times=2, after_lines=1)
            self.server.disturb(kind)
            self.reactor.advance(3.0)
            self.server.compact()
        self.change()
        self.recovered()


class PagedFaultTests(FaultTests):
    """The same, with a server that does not stream its state."""

    server_options = ServerOptions(watch_list=WatchListSupport.REFUSED_422)

    def test_corrupt_list(self) -> None:
        """A list that is no JSON is asked for again; nothing is swept out meanwhile."""
        self.server.inject(FaultKind.CORRUPT, "services", "list", times=2)
        self.server.disturb(FaultKind.STATUS, "services", code=410)
        self.change()
        self.recovered()
        self.assertEqual(self.errors()["broken"], 2)

    def test_list_breaks_off(self) -> None:
        """A list that ends in the middle takes nothing away."""
        self.server.inject(FaultKind.CUT, "services", "list", after_bytes=200, times=3)
        self.server.disturb(FaultKind.STATUS, "services", code=410)
        self.change()
        self.recovered()


class GoneAsHttpTests(Troubled):
    """A server that tells with HTTP 410, and not with an ERROR event, that a version is too old."""

    server_options = ServerOptions(gone_as_http=True)

    def test_gone(self) -> None:
        """The whole state is asked for, and what went meanwhile is swept out."""
        self.expire()
