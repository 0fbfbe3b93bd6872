"""The admin socket's commands over all workers."""

from __future__ import annotations

import json
from typing import Any

from kdns.workers.commands import WorkerCommands, added_histograms
from tests.workers.support import Office
from tests.workers.test_supervisor import WEB, SupervisorCase


class CommandTests(SupervisorCase):
    """Asked as the socket asks."""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The reply to a command."""
        line = json.dumps({"command": command, "arguments": arguments}).encode()
        asked = WorkerCommands(self.office.supervisor).commands().run(line)
        self.office.settle()
        reply: dict[str, Any] = json.loads(self.successResultOf(asked))
        return reply

    def test_status(self) -> None:
        """Counts are of all workers; each worker has a line."""
        for _ in range(2):
            self.office.say(WEB)
        self.office.ask(2, "www.example.org.")
        self.office.advance(1.5)
        status = self.ask("status")["result"]
        self.assertEqual(status["queries"], {"udp": 5})
        self.assertEqual(sum(status["durations"]["counts"]), 5)
        self.assertEqual([(row["number"], row["queries"]) for row in status["workers"]], [(1, 2), (2, 3)])
        self.assertEqual(status["clusters"][0]["synced"], True)
        self.assertEqual(len(status["corefile"]["hash"]) > 0, True)
        self.office.broken.add(1)
        self.office.die(1)
        status = self.ask("status")["result"]
        self.assertEqual([(row["number"], bool(row["pid"])) for row in status["workers"]], [(2, True), (1, False)])

    def test_status_without_metrics(self) -> None:
        """Without *prometheus* nothing is counted by protocol or response code; the rest is there."""
        self.end()
        self.office = Office(self.corefile("10.0.0.1").replace(" prometheus 127.0.0.1:9153\n", ""))
        self.office.start()
        self.office.say(WEB)
        self.office.advance(1.5)
        status = self.ask("status")["result"]
        self.assertEqual((status["queries"], status["rcodes"], status["durations"]), (None, None, {}))
        self.assertEqual([row["queries"] for row in status["workers"]], [1, 1])

    def test_explain(self) -> None:
        """One worker tells, and which it is."""
        result = self.ask("explain", name=WEB)["result"]
        self.assertEqual(result["worker"], 1)
        self.assertIn("10.96.0.1", json.dumps(result))

    def test_error(self) -> None:
        """What a worker cannot do is said as it says it."""
        self.assertEqual(self.ask("cache.flush"), {"error": "say what to flush: a name, a zone, or everything"})

    def test_flush(self) -> None:
        """A flush reaches all, a list shows all."""
        for _ in range(2):
            self.office.say(WEB)
        entries = self.ask("cache.list")["result"]
        self.assertEqual((entries["found"], len(entries["entries"])), (2, 2))
        self.assertEqual(self.ask("cache.flush", all=True)["result"], {"flushed": 0, "replies": 2})
        self.assertEqual(self.ask("cache.list")["result"]["entries"], [])

    def test_nobody(self) -> None:
        """Without a worker there is nobody to ask."""
        for number in (1, 2):
            self.office.broken.add(number)
            self.office.die(number)
        self.assertIn("no worker process", self.ask("explain", name=WEB)["error"])
        self.office.broken.clear()
        self.office.advance(1.0)

    def test_histograms(self) -> None:
        """Empty ones add nothing."""
        one = {"bounds": [1, 2], "counts": [1, 0, 2], "sum": 4.0}
        self.assertEqual(added_histograms([{}, one, {}, one]), {"bounds": [1, 2], "counts": [2, 0, 4], "sum": 8.0})
        self.assertEqual(added_histograms([]), {})
