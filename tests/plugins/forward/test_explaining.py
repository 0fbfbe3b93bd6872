# -*- test-case-name: tests.plugins.forward.test_explaining -*-
"""What forward says of whom it would ask."""

from __future__ import annotations

from kdns.plugins.forward import Forward
from kdns.wire.names import ROOT, from_text
from tests.plugins.forward.support import ForwardCase
from tests.support import a_request


class ExplainingTests(ForwardCase):
    """One link."""

    def said(self, link: Forward, name: str = "www.example.com") -> list[tuple[str, bool]]:
        """Texts, and whether they tell what is missing."""
        return [(note.text, note.missing) for note in link.explain(a_request(name))]

    def test_upstreams(self) -> None:
        """Each upstream and how it is."""
        forwarder = self.net.forwarder(2, max_fails=2)
        link = Forward([forwarder])
        head = ("forward . takes the name; policy random, in turn:", False)
        self.assertEqual(self.said(link), [head, ("  10.0.0.1:53: healthy", False), ("  10.0.0.2:53: healthy", False)])
        self.assertTrue(link.asks_others(a_request("www.example.com")))
        forwarder.upstreams[0].health.failed(0.0)
        forwarder.upstreams[1].withdraw("it sends queries back")
        self.assertEqual(
            self.said(link)[1:],
            [
                ("  10.0.0.1:53: did not answer lately, is being checked", False),
                ("  10.0.0.2:53: taken out of use: it sends queries back", False),
            ],
        )

    def test_all_down(self) -> None:
        """That nobody is healthy is what is missing."""
        forwarder = self.net.forwarder(1, max_fails=1)
        health = forwarder.upstreams[0].health
        health.failed(0.0)
        health.check_failed(0.0)
        health.check_failed(0.0)
        self.assertEqual(
            self.said(Forward([forwarder]))[1:],
            [
                ("  10.0.0.1:53: down: checks fail, 2 checks failed", False),
                ("no upstream is healthy: one is asked all the same", True),
            ],
        )

    def test_not_taken(self) -> None:
        """A name that no stanza takes is told why."""
        link = Forward(
            [
                self.net.forwarder(origin=ROOT, excepted=(from_text("example.com"),)),
                self.net.forwarder(origin=from_text("example.org")),
            ]
        )
        self.assertEqual(
            self.said(link),
            [
                ("forward . does not take the name: except example.com.", False),
                ("forward example.org. does not take the name: the name is not in it", False),
            ],
        )
        self.assertFalse(link.asks_others(a_request("www.example.com")))
