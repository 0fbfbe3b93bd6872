"""What is wrong stands in every place where an operator looks, and is gone from all of them afterwards."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.explain import text_of
from kdns.cli.screen import View, lines_of, painted
from kdns.core.degraded import ANY, Fault
from kdns.plugins.ready import ReadyPage
from tests.admin.world import World

PLUGINS = {ANY, "kubernetes", "forward", "cache", "loadbalance"}
"""Plugins that are asked about an outside name of the demo."""


class PlacesTests(SynchronousTestCase):
    """One server, and all that shows its list."""

    def setUp(self) -> None:
        self.world = World()
        self.asked = 0
        self.addCleanup(lambda: self.assertEqual(self.world.stop(), []))
        assert self.world.service.configuration is not None
        resources = self.world.service.configuration.resources
        (self.ready,) = (resource for resource in resources if isinstance(resource, ReadyPage))

    def places(self, text: str) -> set[str]:
        """Where a text is shown."""
        look = self.world.run("status")["result"]
        # Another name each time: what the cache knows is not forwarded.
        self.asked += 1
        explained = "\n".join(text_of(self.world.explain(f"{self.asked}.example.org")))
        page = self.ready.why_page()
        self.assertEqual(page.status, 200)
        shown = {
            "status": "\n".join(painted(lines_of(View(look), 200), 200, colour=False)),
            "json": str(look["degraded"]),
            "explain": explained,
            "ready/why": page.body.decode(),
        }
        return {place for place, page_text in shown.items() if text in page_text}

    def test_everywhere(self) -> None:
        """Each kind of fault: where it is shown, in explain only if it has a part in the answer, and that it goes."""
        for kind in Fault:
            condition = self.world.context.degraded.condition(kind, f"thing of {kind.value.label}")
            condition.begin("is broken", self.world.context.wall())
            wanted = {"status", "json", "ready/why"} | ({"explain"} if kind.value.plugin in PLUGINS else set())
            self.assertEqual(self.places(f"thing of {kind.value.label}"), wanted)
            self.assertEqual(self.places(kind.value.do), wanted)
            metric = f'kdns_degraded{{what="{kind.value.label}"}} 1'
            self.assertEqual(self.world.metrics("kdns_degraded"), [metric])
            condition.end(self.world.context.wall(), Logger())
            self.assertEqual(self.places(f"thing of {kind.value.label}"), set())
            self.assertEqual(self.world.metrics("kdns_degraded"), [])

    def test_hostile_text(self) -> None:
        """What comes from elsewhere makes no line of its own, and commands no terminal."""
        condition = self.world.context.degraded.condition(Fault.UPSTREAM, "upstream")
        condition.begin("down: \x1b[2J\nOK", self.world.context.wall())
        page = self.ready.why_page().body
        self.assertNotIn(b"\x1b", page)
        self.assertEqual(page.count(b"\n"), 2)

    def test_corefile(self) -> None:
        """A Corefile that went bad, end to end: in all places while it is, in none when it was mended."""
        good = self.world.text
        self.world.text = "example.org {\n nonsense\n}\n"
        self.world.service.check_reload()
        self.assertEqual(self.places("the one before it stays"), {"status", "json", "explain", "ready/why"})
        self.world.text = good
        self.world.service.check_reload()
        self.assertEqual(self.places("the one before it stays"), set())

    def test_directive_left_out(self) -> None:
        """A directive that nobody has, and that may be missing: in all places until the Corefile does without it."""
        good = self.world.text
        self.world.text = good.replace("cache 30", "cache 30\n    k8s_gateway example.org\n", 1)
        self.assertNotEqual(self.world.text, good)
        self.world.may_miss = ("k8s_gateway",)
        self.world.service.check_reload()
        everywhere = {"status", "json", "explain", "ready/why"}
        self.assertEqual(self.places("left out at"), everywhere)
        self.assertEqual(self.places("directive k8s_gateway"), everywhere)
        self.assertEqual(self.world.metrics("kdns_degraded"), ['kdns_degraded{what="missing_plugin"} 1'])
        self.world.text = good
        self.world.service.check_reload()
        self.assertEqual(self.places("left out at"), set())
        self.assertEqual(self.world.metrics("kdns_degraded"), [])
