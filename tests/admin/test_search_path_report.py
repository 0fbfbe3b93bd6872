# -*- test-case-name: tests.admin.test_search_path_report -*-
"""Search paths."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin.search_path_report import judged, search_steps
from kdns.admin.tracing import Run
from kdns.core.answer import Answer, Sections
from kdns.wire.constants import NXDOMAIN, SERVFAIL
from kdns.wire.names import from_text, spelled_from_text, to_text
from kdns.wire.records import a_or_aaaa

DOMAIN = from_text("cluster.local")


class StepsTests(SynchronousTestCase):
    """Which names are asked for."""

    def steps(self, name: str) -> list[str]:
        """As texts."""
        return [to_text(step) for step in search_steps(spelled_from_text(name), "shop", DOMAIN)]

    def test_short(self) -> None:
        """A name of fewer than five dots is tried below each domain of the path, and last as it is; spelling is kept."""
        self.assertEqual(
            self.steps("Web"), ["Web.shop.svc.cluster.local.", "Web.svc.cluster.local.", "Web.cluster.local.", "Web."]
        )
        self.assertEqual(self.steps("a.b.c.d.e")[-1], "a.b.c.d.e.")

    def test_long(self) -> None:
        """A name of five dots is tried first as it is."""
        steps = self.steps("a.b.c.d.e.f")
        self.assertEqual((steps[0], len(steps)), ("a.b.c.d.e.f.", 4))

    def test_too_long(self) -> None:
        """What would be no name is left out."""
        name = ".".join(["x" * 60] * 4)
        self.assertEqual(self.steps(name), [f"{name}."])


class JudgedTests(SynchronousTestCase):
    """What a resolver makes of an answer."""

    def judged(self, answer: Answer, **settings: bool) -> tuple[str, bool]:
        """What is said, and whether it ends the walk."""
        run = Run("web.", "A", answer=answer, **settings)  # type: ignore[arg-type]  # held_back alone
        step = judged(run)
        return step.said, step.ends

    def test_answers(self) -> None:
        """Records end the walk, what has none does not."""
        record = a_or_aaaa(from_text("web"), 5, b"1234")
        self.assertEqual(self.judged(Answer(body=Sections(answer=(record,)))), ("NOERROR, 1 record", True))
        self.assertEqual(self.judged(Answer(NXDOMAIN)), ("NXDOMAIN", False))
        self.assertEqual(
            self.judged(Answer()), ("NOERROR without records (NODATA); glibc goes on, musl stops here", False)
        )
        self.assertEqual(self.judged(Answer(SERVFAIL)), ("SERVFAIL; glibc goes on, musl stops here", False))
        self.assertEqual(
            self.judged(Answer(SERVFAIL), held_back=True), ("not known: an upstream would be asked", False)
        )
