"""What a replica needs: the formula's parts, and what holds for every cluster."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli import needs
from kdns.cli.needs import DEFAULT_LIMIT, MEBI, Contents, largest, limit_for, memory
from kdns.server import limits
from tests.test_docs import ROOT

SIZES = st.integers(0, 500_000)


class MemoryTests(SynchronousTestCase):
    """Megabytes."""

    def test_target(self) -> None:
        """5,000 services and a full cache fit under the limit of the manifests."""
        self.assertLess(memory(Contents(5_000, 25_000)).all, DEFAULT_LIMIT)
        self.assertEqual(limit_for(Contents(5_000, 25_000)), DEFAULT_LIMIT)

    def test_same_bounds(self) -> None:
        """The answer tables' room is what the server takes."""
        for limit in (10 * MEBI, DEFAULT_LIMIT, 1024 * MEBI, 9000 * MEBI):
            self.assertEqual(needs.table_bytes(limit), limits.table_bytes(limit))

    @settings(deadline=None, derandomize=True)
    @given(SIZES, SIZES, SIZES)
    def test_enough(self, services: int, endpoints: int, pods: int) -> None:
        """Everything fits under the limit that is told, and not under one step less; nothing is below the default."""
        contents = Contents(services, endpoints, pods)
        limit = limit_for(contents)
        self.assertLessEqual(memory(contents, limit).all, limit)
        self.assertGreaterEqual(limit, DEFAULT_LIMIT)
        if limit > DEFAULT_LIMIT:
            less = limit - 10 * MEBI
            self.assertGreater(memory(contents, less).all, less)

    @settings(deadline=None, derandomize=True)
    @given(SIZES, SIZES, SIZES, SIZES)
    def test_grows(self, services: int, endpoints: int, pods: int, more: int) -> None:
        """More of anything never takes less."""
        least = memory(Contents(services, endpoints, pods)).all
        for larger in (
            Contents(services + more, endpoints, pods),
            Contents(services, endpoints + more, pods),
            Contents(services, endpoints, pods + more),
        ):
            self.assertGreaterEqual(memory(larger).all, least)

    @settings(deadline=None, derandomize=True)
    @given(st.integers(100, 2000), st.floats(0, 1), st.booleans())
    def test_largest(self, mebibytes: int, share: float, verified: bool) -> None:
        """What is said to fit fits, however pods and services share it; a tenth more pods do not."""
        limit = mebibytes * MEBI

        def fits(pods: int, services: int) -> bool:
            return memory(Contents(services, pods, pods if verified else 0), limit).all <= limit

        both = largest(limit, verified)
        pods = int(both * share)
        if both:
            self.assertTrue(fits(pods, both - pods))
            self.assertFalse(fits(int(both * 1.1) + 100, 0))

    def test_page(self) -> None:
        """The page has the formula's figures, and what fits under the default limit."""
        page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
        for verified, word in ((False, "`pods insecure` or `disabled`"), (True, "`pods verified`")):
            formula = f"(Pods + Services) / {1000 / needs.for_each(verified):,.0f} + {needs.fixed():.0f}"
            self.assertIn(f"| {word} | {formula} | {largest(verified=verified) // 1000 * 1000:,} |", page)


class ProcessorTests(SynchronousTestCase):
    """Cores."""

    def test_mix(self) -> None:
        """All from the table, all missed, all forwarded; and the mix lies between."""
        self.assertEqual(needs.seconds_a_query(0, 0), needs.HIT)
        self.assertEqual(needs.seconds_a_query(1, 0), needs.MISS)
        self.assertEqual(needs.seconds_a_query(0, 1), needs.FORWARDED)
        self.assertTrue(needs.HIT < needs.seconds_a_query() < needs.FORWARDED)

    @settings(deadline=None, derandomize=True)
    @given(st.floats(0, 1e6))
    def test_request(self, queries: float) -> None:
        """Who is asked as often as can be requests one core, and nobody less than the manifests have."""
        self.assertGreaterEqual(needs.cores_for(queries), needs.REQUEST_LEAST)
        if queries <= needs.most_queries():
            self.assertLessEqual(needs.cores_for(queries), 1.0)
