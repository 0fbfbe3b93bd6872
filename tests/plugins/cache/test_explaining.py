# -*- test-case-name: tests.plugins.cache.test_explaining -*-
"""What the cache says of its part, held against what it does."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, chain
from kdns.core.request import Request
from kdns.core.validity import ALWAYS, NOTHING, ONCE
from kdns.plugins.cache import directive
from kdns.plugins.cache.resolver import CacheLink
from kdns.wire.constants import AXFR, NXDOMAIN, TC
from kdns.wire.names import from_text
from kdns.wire.records import a_or_aaaa
from tests.plugins.cache.upstream import Upstream, start_of_authority
from tests.support import a_house, a_request, built, now

SUCCESS = Answer(body=Sections(answer=(a_or_aaaa(from_text("a.test"), 300, b"1234"),)), validity=ALWAYS)
DENIAL = Answer(NXDOMAIN, body=Sections(authority=(start_of_authority(),)), validity=ALWAYS)


class ExplainingTests(SynchronousTestCase):
    """One block each."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()
        self.upstream = Upstream()

    def cache(self, text: str = "cache 30") -> CacheLink:
        """The link of a directive."""
        (link,) = built(directive, f". {{\n {text}\n}}\n", a_house(self.clock)).links
        assert isinstance(link, CacheLink)
        return link

    def before(self, link: CacheLink, name: str = "a.test", qtype: int = 1) -> str:
        """What it says of a question."""
        (note,) = link.explain(a_request(name, qtype))
        return note.text

    def test_question(self) -> None:
        """A miss, a hit with its age, and an entry that ran out."""
        link = self.cache()
        self.assertEqual(self.before(link), "miss: there is no entry for this question")
        now(chain([link, self.upstream])(a_request("a.test")))
        self.clock.advance(12)
        self.assertEqual(self.before(link), "hit: a success, stored 12 s ago for 30 s, 18 s left")
        self.clock.advance(18)
        self.assertEqual(self.before(link), "miss: there is no entry for this question")

    def test_stale(self) -> None:
        """An entry that ran out and may be served says how."""
        for text, wanted in (
            ("serve_stale 1h immediate", "served stale, and refreshed"),
            ("serve_stale 1h verify", "served stale if asking brings nothing"),
        ):
            link = self.cache(f"cache 30 {{\n {text}\n}}")
            now(chain([link, self.upstream])(a_request("a.test")))
            self.clock.advance(35)
            self.assertEqual(self.before(link), f"an entry that expired 5 s ago (success, stored 35 s ago): {wanted}")

    def test_not_for_it(self) -> None:
        """Names in other zones, and transfers, are none of its business."""
        self.assertEqual(self.before(self.cache("cache 30 b.test")), "not for this name: its zones are b.test.")
        self.assertEqual(self.before(self.cache(), qtype=AXFR), "a question that is never cached")

    def test_looking_changes_nothing(self) -> None:
        """To explain is no hit, and no miss."""
        link = self.cache()
        now(chain([link, self.upstream])(a_request("a.test")))
        (entry,) = (entry for _, entry in link.store.success.entries.items())
        hits = entry.hits
        for _ in range(5):
            self.before(link)
        self.assertEqual(entry.hits, hits)

    def test_answer(self) -> None:
        """What is kept is kept, and what is not has its reason; as the cache then does it."""
        nothing = "not kept: disable {} test."
        disabled = "cache 30 {\n disable success test\n disable denial test\n}"
        for text, answer, wanted in (
            ("cache 30", SUCCESS, "kept as a success for 30 s"),
            ("cache 30", DENIAL, "kept as a denial for 30 s"),
            (disabled, SUCCESS, nothing.format("success")),
            (disabled, DENIAL, nothing.format("denial")),
            (
                "cache 30",
                Answer(flags=TC, body=Sections(answer=SUCCESS.answer), validity=ALWAYS),
                "not kept: the answer is cut off (TC)",
            ),
            ("cache 30", SUCCESS.with_validity(ONCE), "not kept: the answer is for this question alone"),
        ):
            link = self.cache(text)
            (note,) = link.explain_passed(a_request("a.test"), answer)
            self.assertEqual(note.text, wanted)
            said = answer

            class Says(Link):
                name = "says"
                varies = NOTHING

                def answer(self, request: Request, next: Next, said: Answer = said) -> Answer:
                    return said

            now(chain([link, Says()])(a_request("a.test")))
            held = len(link.store.success) + len(link.store.denial)
            self.assertEqual(held, int(wanted.startswith("kept")), wanted)
        self.assertEqual(self.cache("cache 30 b.test").explain_passed(a_request("a.test"), SUCCESS), [])
