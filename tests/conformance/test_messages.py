"""Golden messages: octets in, octets out, and where nothing may come out."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.cases import CASES, deviations
from tests.conformance.world import EPOCH, MemoryWorld

SERIAL = int(EPOCH).to_bytes(4, "big")


class GoldenMessagesTests(SynchronousTestCase):
    """Each message of ``messages.json``, sent to one server."""

    def test_messages(self) -> None:
        """Replies are the golden ones to the octet, but for the SOA serial, which those show as 0."""
        document: Any = json.loads((CASES / "messages.json").read_text(encoding="utf-8"))
        world = MemoryWorld(document["corefile"], (CASES / "cluster.yaml",))
        world.start()
        wrong = []
        for row in document["messages"]:
            reply, _ = world.ask(bytes.fromhex(row["query"]), row["proto"])
            got = None if reply is None else reply.replace(SERIAL, b"\x00\x00\x00\x00").hex()
            deviation = deviations().get(("messages", row["id"]))
            wanted = row["reply"] if deviation is None else deviation.kdns["reply"]
            if got != wanted:
                wrong.append(f"{row['id']}: wanted {wanted}, got {got}")
        self.assertEqual(world.stop(), [])
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))
        self.assertGreater(len(document["messages"]), 70)
