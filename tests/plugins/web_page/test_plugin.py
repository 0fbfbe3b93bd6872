"""Tests of :mod:`kdns.plugins.web.plugin`."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.commands import CommandError
from kdns.admin.corefile import FRESH
from kdns.corefile.errors import SetupError
from kdns.corefile.values import ListenAddress
from kdns.plugins.web import directive
from kdns.plugins.web.history import INTERVAL, ROWS
from kdns.plugins.web.plugin import ASSETS, LIVE, MOST_VIEWERS, Recorder, WebConfig, folder
from tests.admin.world import ROOT, World
from tests.plugins.web import Client, Talk
from tests.support import parsed

PORT = 9153

PATHS = (
    *ASSETS,
    "/web/status",
    "/web/history",
    "/web/explain",
    "/web/corefile",
    "/web/events",
    "/web",
    "/metrics",
    "/../Corefile",
    "//",
    "*",
)
NAMES = ("name", "type", "client", "search", "top", "all", "%00", "upstream")


class ParseTests(SynchronousTestCase):
    """What the Corefile may say."""

    def test_addresses(self) -> None:
        """A port alone is on the loopback, too: other addresses must be named."""
        for text, wanted in [
            ("web", ListenAddress("localhost", 9154)),
            ("web :8000", ListenAddress("localhost", 8000)),
            ("web 127.0.0.1:9153", ListenAddress("127.0.0.1", 9153)),
            ("web 0.0.0.0:9153", ListenAddress("0.0.0.0", 9153)),
        ]:
            self.assertEqual(parsed(directive, f". {{\n{text}\n}}"), WebConfig(wanted), text)

    def test_errors(self) -> None:
        """What it may not say."""
        for text, wanted in [
            ("web a b", "Wrong argument count"),
            ("web {\n frob\n}", "unknown property 'frob'"),
            ("web\nweb", "this plugin can only be used once per Server Block"),
        ]:
            error = self.assertRaises(SetupError, parsed, directive, f". {{\n{text}\n}}")
            self.assertIn(wanted, str(error))


class Markup(HTMLParser):
    """Finds what a strict policy forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.ids: set[str] = set()
        self._script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        names = dict(attrs)
        self.ids.add(names.get("id") or "")
        self._script = tag == "script"
        self.bad += [name for name in names if name.startswith("on") or name == "style"]
        self.bad += [value or "" for name, value in attrs if name in ("src", "href") and "//" in (value or "")]

    def handle_data(self, data: str) -> None:
        """Text within an element."""
        if self._script and data.strip():
            self.bad.append("inline script")


class PageTests(SynchronousTestCase):
    """The demo's server, and a browser that can nothing but ask."""

    def setUp(self) -> None:
        text = (ROOT / "conf" / "demo" / "Corefile").read_text(encoding="utf-8")
        self.world = World(text.replace("reload 2s 1s", ""))  # so that a file may differ from what runs
        self.client = Client(self.world.reactor)
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))

    def request(self, path: str, host: str = "localhost:9153", method: str = "GET") -> Talk:
        """A request as browsers send it."""
        text = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        return self.client.connect(PORT, text.encode())

    def json(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and data of a page."""
        talk = self.request(path)
        self.world.until(lambda: talk.ended)
        answered = talk.answered()
        self.assertEqual(answered.headers["content-type"], "application/json")
        return answered.status, json.loads(answered.body)

    def events(self, talk: Talk) -> list[tuple[str, Any]]:
        """Names and data of the events that came, out of the chunks of the response."""
        _, _, rest = talk.received.partition(b"\r\n\r\n")
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", body)
        return [(name.decode(), json.loads(data)) for name, data in found]

    def recorder(self) -> Recorder:
        """What the pages share."""
        assert self.world.service.configuration is not None
        resources = self.world.service.configuration.resources
        (found,) = (one for one in resources if isinstance(one, Recorder))
        return found

    def test_assets(self) -> None:
        """Each file is served with its type and the strict policy, and loads nothing from elsewhere."""
        for path, (name, kind) in ASSETS.items():
            answered = self.request(path).answered()
            self.assertEqual((answered.status, answered.headers["content-type"]), (200, kind))
            self.assertEqual(answered.body, (folder() / name).read_bytes())
            policy = answered.headers["content-security-policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(answered.headers["x-content-type-options"], "nosniff")
        markup = Markup()
        markup.feed((folder() / "page.html").read_text())
        self.assertEqual(markup.bad, [])

    def test_script(self) -> None:
        """The script has no way to make markup out of text, and finds what it fills."""
        script = (folder() / "page.js").read_text()
        code = re.sub(r"//.*", "", script)
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
            self.assertNotIn(word, code)
        markup = Markup()
        markup.feed((folder() / "page.html").read_text())
        self.assertEqual(set(re.findall(r'byId\("([\w-]+)"\)', script)) - markup.ids, set())

    def test_rebinding(self) -> None:
        """A page of another site, whose name leads here, gets nothing; names of the loopback do."""
        for host, wanted in [
            ("evil.example", 403),
            ("evil.example:9153", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 403),
            ("127.0.0.1:9153", 200),
            ("[::1]:9153", 200),
            ("LOCALHOST", 200),
        ]:
            for path in ("/", "/web/corefile", "/web/explain?name=a"):
                talk = self.request(path, host)
                self.world.until(lambda talk=talk: talk.ended)
                self.assertEqual(talk.answered().status, wanted, (host, path))

    def test_explain(self) -> None:
        """The way of an answer; no upstream is asked, whatever the visitor says."""
        status, found = self.json("/web/explain?name=web.shop.svc.cluster.local&type=A&forward=true")
        self.assertEqual((status, found["reply"]["rcode"]), (200, "NOERROR"))
        status, found = self.json("/web/explain?name=new.example.org&type=A&forward=true")
        self.assertEqual((status, found["asked_upstream"], found["reply"]), (200, False, None))

    def test_explain_refused(self) -> None:
        """Mistakes are words, for the visitor alone."""
        for query in (
            "name=",
            "name=a..b",
            "name=a&type=NOPE",
            "name=a&client=me",
            "",
            "name=%ff%00%3Cb%3E" + "x" * 9000,
        ):
            status, found = self.json(f"/web/explain?{query}")
            self.assertEqual(status, 400, query)
            self.assertTrue(found["error"])

    def test_corefile(self) -> None:
        """What runs, and how the file differs, also when it cannot be used."""
        status, found = self.json("/web/corefile")
        self.assertEqual((status, found["diff"], found["error"]), (200, [], ""))
        self.assertIn("web 127.0.0.1:9153", found["running"])
        self.world.text = self.world.text.replace("ttl 30", "ttl 17")
        self.world.reactor.advance(FRESH)
        self.assertIn("+        ttl 17", self.json("/web/corefile")[1]["diff"])
        self.world.text = ". {\n nonsense\n}\n"
        self.world.reactor.advance(FRESH)
        self.assertIn("nonsense", self.json("/web/corefile")[1]["error"])

    def test_refused_looks(self) -> None:
        """While no worker process answers, the page looks again soon, and logs nothing."""
        ask, asked = self.world.context.ask, []

        def refuse(command: str, arguments: Any) -> Deferred[Any]:
            asked.append(command)
            return fail(CommandError("no worker process of this kdns answers queries"))

        self.world.context.ask = refuse
        self.world.reactor.advance(INTERVAL + LIVE)
        self.world.reactor.advance(LIVE)
        self.assertGreaterEqual(len(asked), 2)
        self.world.context.ask = ask
        rows = len(self.recorder().history.rows)
        self.world.reactor.advance(LIVE)
        self.assertEqual(len(self.recorder().history.rows), rows + 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_events(self) -> None:
        """A viewer gets the hour so far, then a look every two seconds and a row every ten."""
        self.world.reactor.advance(3 * INTERVAL)
        talk = self.request("/web/events")
        self.world.reactor.advance(2 * INTERVAL)
        self.assertIn(b"text/event-stream", talk.received)
        events = self.events(talk)
        self.assertEqual(events[0][0], "history")
        self.assertEqual(len(events[0][1]["rows"]), 3)
        looks = [data["seconds"] for name, data in events if name == "look"]
        self.assertGreaterEqual(len(looks), 10)
        self.assertAlmostEqual(looks[-1] - looks[-2], LIVE, 3)
        rows = [data[0] for name, data in events if name == "row"]
        self.assertEqual(len(rows), 2)
        self.assertAlmostEqual(rows[1] - rows[0], INTERVAL, delta=LIVE)

    def test_wrong(self) -> None:
        """The list of what is wrong goes to viewers."""
        talk = self.request("/web/events")
        self.world.text = "nonsense {"
        self.world.service.check_reload()
        self.world.reactor.advance(2 * LIVE)
        self.assertEqual([state["what"] for state in self.events(talk)[-1][1]["degraded"]], ["corefile"])

    def test_viewers_leave(self) -> None:
        """Who goes is forgotten, and nothing more is asked than the plots need."""
        talk = self.request("/web/events")
        self.world.reactor.advance(LIVE)
        self.assertEqual(len(self.recorder().viewers), 1)
        talk.transport.abortConnection()
        self.world.reactor.advance(LIVE)
        self.assertEqual(self.recorder().viewers, [])

    def test_viewers_are_bounded(self) -> None:
        """Too many are told so."""
        recorder = self.recorder()
        recorder.viewers += [None] * MOST_VIEWERS  # type: ignore[list-item]  # only their number counts here
        answered = self.request("/web/events").answered()
        recorder.viewers.clear()
        self.assertEqual(answered.status, 503)

    def test_slow_viewer(self) -> None:
        """One that takes nothing is sent nothing more than fits, and its connection ends."""
        talk = self.request("/web/events")
        talk.transport.pauseProducing()
        self.world.reactor.advance(600.0)
        self.assertEqual(self.recorder().viewers, [])
        talk.transport.abortConnection()

    def test_memory(self) -> None:
        """A day of nobody looking keeps an hour."""
        self.world.reactor.advance((ROWS + 20) * INTERVAL)
        self.assertEqual(len(self.recorder().history.rows), ROWS)

    def test_reload(self) -> None:
        """A new configuration keeps the hour; one without the directive ends the page."""
        recorder = self.recorder()
        self.world.reactor.advance(3 * INTERVAL)
        self.world.text = self.world.text.replace("ttl 30", "ttl 17")
        self.world.service.reload()
        self.world.reactor.advance(1.0)
        self.assertIs(self.recorder(), recorder)
        self.world.text = self.world.text.replace("web 127", "# 127")
        self.world.service.reload()
        self.world.reactor.advance(10.0)
        self.assertEqual(self.request("/").answered().status, 404)


class HostileTests(SynchronousTestCase):
    """Requests that no browser sends."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW")),
                st.sampled_from(PATHS),
                st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=600)), max_size=4),
                st.sampled_from(("localhost:9153", "127.0.0.1:9153", "evil.example", "")),
                st.binary(max_size=80),
            ),
            min_size=1,
            max_size=12,
        )
    )
    @settings(max_examples=int(os.environ.get("KDNS_EXAMPLES", "15")), deadline=None)
    def test_nothing_changes(self, requests: list[tuple[str, str, list[tuple[str, str]], str, bytes]]) -> None:
        """Whatever is asked, the server is what it was: its configuration, its caches, its names, and nothing is logged as a fault."""
        world = World()
        client = Client(world.reactor)
        world.ask("www.example.org")
        before = self.state(world)
        for method, path, arguments, host, body in requests:
            query = "&".join(f"{name}={quote(value)}" for name, value in arguments)
            head = f"{method} {path}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            client.connect(PORT, head.encode() + body)
            world.reactor.settle()
        world.reactor.advance(3.0)
        self.assertEqual(self.state(world), before)
        self.assertEqual(
            [str(rdata) for rrset in world.ask("www.example.org").answer for rdata in rrset], ["198.51.100.20"]
        )
        self.assertEqual(world.stop(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def state(self, world: World) -> tuple[object, ...]:
        """What requests might change."""
        entries = world.run("cache.list")["result"]
        configuration = world.service.configuration
        return (
            configuration,
            [(row["name"], row["type"]) for row in entries["entries"]],
            [state.as_dict() for state in world.context.degraded],
        )
