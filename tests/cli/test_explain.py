# -*- test-case-name: tests.cli.test_explain -*-
"""What ``kdns explain`` asks and prints: the whole text for some questions to the demo."""

from __future__ import annotations

import json
import re
from typing import Any

from kdns import __version__
from kdns.cli import explain
from kdns.cli.explain import text_of
from tests.admin.world import World
from tests.cli.test_query_client import AskingCase

SERVICE = """\
nothing.shop.svc.cluster.local. A: NXDOMAIN   (says kubernetes)
  because: there is no service "nothing" in namespace "shop"; it has 4 services

A pod would try this name with its search path too; --search NAMESPACE or --from POD-IP shows that.

Asked as    127.0.0.1 over UDP, at dns://127.0.0.1:1053 (kdns VERSION, pid PID)
            there are other listeners (--at): dns://127.0.0.2:1053
Block       zone ., the only one of this listener
Table       no finished reply is held for this question: the plugins are asked

Plugins, in the order in which they are asked
  loadbalance  passed it on, and left the answer as it came
  cache        passed it on, and left the answer as it came
                 miss: there is no entry for this question
                 not kept: disable denial cluster.local.
  kubernetes   answered NXDOMAIN in 0.00 ms
                 zone cluster.local.
                 read as: service "nothing" in namespace "shop"
                 namespace "shop" exists
                 ! there is no service "nothing" in namespace "shop"; it has 4 services
  not reached: forward

How fresh kubernetes is
  2 Namespace, 5 Service, 2 EndpointSlice known, synced
  read from manifests: FOLDER; looked at every few seconds

Reply       NXDOMAIN, flags qr aa rd, SIZE bytes
  ;; AUTHORITY
  cluster.local.  30     IN SOA    ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 30
"""

SEARCH = """\
www.example.org. A: 198.51.100.20   (says forward, 127.0.0.2:1053)

The search path of a pod in namespace "shop" (a pod, an endpoint of service "db"), ndots:5, for "www.example.org"
  1. www.example.org.shop.svc.cluster.local.  NXDOMAIN
       there is no service "org" in namespace "shop"; it has 4 services
  2. www.example.org.svc.cluster.local.  NXDOMAIN
       there is no namespace "org"
  3. www.example.org.cluster.local.  NXDOMAIN
       not a name that a cluster has: those are SERVICE.NAMESPACE.svc and ADDRESS.NAMESPACE.pod, below the zone
  4. www.example.org.  NOERROR, 1 record  <- this answers
"""


class TextTests(AskingCase):
    """The texts."""

    def setUp(self) -> None:
        """The demo in memory."""
        super().setUp()
        self.world = World()
        self.addCleanup(self.world.stop)

    def text(self, name: str, **arguments: Any) -> str:
        """The explanation, with what differs from run to run put in words."""
        text = "\n".join(text_of(self.world.explain(name, **arguments), name)) + "\n"
        text = re.sub(r"pid \d+", "pid PID", text.replace(f"kdns {__version__}", "kdns VERSION"))
        text = re.sub(r"\d+ bytes", "SIZE bytes", re.sub(r"local\. \d+ 7200", "local. SERIAL 7200", text))
        return re.sub(r"from manifests: [^;]+;", "from manifests: FOLDER;", text)

    def test_service(self) -> None:
        """A name that does not exist, from the answer in the first line to the reply in the last."""
        self.assertEqual(self.text("nothing.shop.svc.cluster.local"), SERVICE)

    def test_search(self) -> None:
        """The search path comes first."""
        self.assertTrue(self.text("www.example.org", client="10.244.1.20").startswith(SEARCH))

    def test_headings(self) -> None:
        """The first line is the answer, whatever it is."""
        for name, arguments, wanted in (
            ("web.shop.svc.cluster.local", {}, "web.shop.svc.cluster.local. A: 10.96.20.30   (says kubernetes)"),
            (
                "payments.shop.svc.cluster.local",
                {},
                "payments.shop.svc.cluster.local. A: CNAME api.payments.example., 203.0.113.7   (says kubernetes)",
            ),
            (
                "shop.svc.cluster.local",
                {},
                "shop.svc.cluster.local. A: the name exists and has no such records (NODATA)   (says kubernetes)",
            ),
            (
                "www.example.org",
                {"forward": False},
                "www.example.org. A: not known here, an upstream would be asked, and was not (--no-forward)",
            ),
            (
                "10.96.20.30",
                {"qtype": ""},
                "30.20.96.10.in-addr.arpa. PTR: PTR web.shop.svc.cluster.local.   (says kubernetes)",
            ),
        ):
            self.assertEqual(self.text(name, **arguments).splitlines()[0], wanted)

    def test_upstream_asked(self) -> None:
        """That an upstream was asked is stated, and where its answer came from."""
        text = self.text("www.example.org")
        self.assertIn("; an upstream was asked for this explanation\n", text)
        self.assertIn("answered by 127.0.0.2:1053", text)
        self.assertNotIn("an upstream was asked", self.text("web.shop.svc.cluster.local"))

    def test_table(self) -> None:
        """A finished reply that clients get without the plugins is named as such."""
        self.world.ask("web.shop.svc.cluster.local")
        self.assertRegex(
            self.text("web.shop.svc.cluster.local"),
            r"\nTable       a finished NOERROR is held for this question, 0\.\d s old, not given again yet, good until its data"
            r" changes: clients get it without the plugins being asked\n",
        )

    def test_inside(self) -> None:
        """A lookup made inside is indented below who made it."""
        text = self.text("payments.shop.svc.cluster.local")
        self.assertIn("asked inside for api.payments.example. A: NOERROR, 1 record\n", text)
        self.assertIn("\n                   forward      answered NOERROR, 1 record", text)


class CommandTests(AskingCase):
    """The command line."""

    def setUp(self) -> None:
        """What the demo says of a name."""
        super().setUp()
        world = World()
        self.found, self.missing = (
            world.explain("web.shop.svc.cluster.local"),
            world.explain("x.shop.svc.cluster.local"),
        )
        world.stop()

    def test_question(self) -> None:
        """Every flag is part of the question."""
        self.reply = self.found
        words = ["web", "AAAA", "--from", "10.0.0.1", "--search", "shop", "--at", "127.0.0.1", "--tcp", "--no-forward"]
        self.run_with(explain.main, *words)
        wanted = {"name": "web", "type": "AAAA", "client": "10.0.0.1", "search": "shop"}
        self.assertEqual(
            self.asked, [(None, "explain", {**wanted, "listener": "127.0.0.1", "tcp": True, "forward": False})]
        )

    def test_exit_status(self) -> None:
        """0 when there are records, 1 when there are none."""
        for reply, wanted in ((self.found, 0), (self.missing, 1), ({**self.missing, "reply": None}, 1)):
            self.reply = reply
            self.assertEqual(self.run_with(explain.main, "x")[0], wanted)

    def test_json(self) -> None:
        """For machines it is what the server said."""
        self.reply = self.found
        _, out, _ = self.run_with(explain.main, "web", "--json")
        self.assertEqual(json.loads(out), self.found)
