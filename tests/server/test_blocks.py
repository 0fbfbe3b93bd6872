"""Which block takes a query."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.request import Request
from kdns.core.validity import EVERY_QUERY, NOTHING, by_client
from kdns.plugin.seam import Filter
from kdns.server.blocks import ServedBlock, Zones
from kdns.wire.constants import DS, MX, A
from kdns.wire.names import ROOT, from_text
from tests.server.support import a_block
from tests.support import a_request


def zones(*rows: tuple[str, ServedBlock]) -> Zones:
    """Zones in file order."""
    found = Zones()
    for name, block in rows:
        found.add(from_text(name), block)
    return found


def filters(*passes: Callable[[Request], bool]) -> tuple[Filter, ...]:
    """Filters that the question decides."""
    return tuple(Filter(one, NOTHING) for one in passes)


class ChooseTests(SynchronousTestCase):
    """The longest zone, then the first whose filters let a query pass."""

    def check(self, found: Zones, qname: str, qtype: int, zone: str | None, block: ServedBlock | None) -> None:
        """Ask, and compare zone and block."""
        chosen = found.choose(a_request(qname, qtype))
        if chosen is None or zone is None:
            self.assertEqual((chosen, block), (None, None), qname)
            return
        self.assertEqual(chosen[0], from_text(zone), qname)
        self.assertIs(chosen[1], block, qname)

    def test_longest(self) -> None:
        """The longest zone wins, in any letter case, at label boundaries."""
        root, org, example = a_block(), a_block(), a_block()
        found = zones((".", root), ("org.", org), ("Example.ORG.", example))
        self.check(found, "example.org.", A, "example.org.", example)
        self.check(found, "a.EXAMPLE.org.", A, "example.org.", example)
        self.check(found, "xexample.org.", A, "org.", org)
        self.check(found, "net.", A, ".", root)
        self.check(found, ".", A, ".", root)

    def test_nobody(self) -> None:
        """Without a root block the rest is nobody's."""
        found = zones(("example.org.", a_block()))
        self.check(found, "example.net.", A, None, None)
        self.check(found, ".", A, None, None)

    def test_ds(self) -> None:
        """DS is the parent's: the shortest zone that fits, but the root only when nothing else does."""
        root, org, example = a_block(), a_block(), a_block()
        both = zones((".", root), ("org.", org), ("example.org.", example))
        self.check(both, "example.org.", DS, "org.", org)
        self.check(both, "a.b.example.org.", DS, "org.", org)
        self.check(both, "org.", DS, "org.", org)
        self.check(both, "net.", DS, ".", root)
        self.check(zones((".", root), ("example.org.", example)), "example.org.", DS, "example.org.", example)
        self.check(zones(("example.org.", example)), "example.org.", DS, "example.org.", example)

    def test_empty(self) -> None:
        """A block in which nothing can answer takes its queries and refuses them; an empty root block is as if it were not there."""
        empty, org = a_block(empty=True), a_block()
        found = zones(("org.", org), ("example.org.", empty), (".", empty))
        self.check(found, "a.example.org.", A, None, None)
        self.check(found, "a.org.", A, "org.", org)
        self.check(found, "net.", A, None, None)

    def test_filters(self) -> None:
        """Of several blocks for a zone the first that lets the query pass; when none does the search goes on with the parents."""
        mail = a_block(filters=filters(lambda request: request.qtype == MX))
        addresses = a_block(filters=filters(lambda request: request.qtype == A))
        never = a_block(filters=filters(lambda request: False))
        root = a_block()
        found = zones(("org.", never), ("org.", mail), ("org.", addresses), (".", root))
        self.check(found, "a.org.", MX, "org.", mail)
        self.check(found, "a.org.", A, "org.", addresses)
        self.check(found, "a.org.", 16, ".", root)
        self.check(zones(("org.", never)), "a.org.", A, None, None)

    def test_undeclared_filters(self) -> None:
        """A filter that declares nothing is asked for each query, so the reply is for one, whichever block takes it."""
        never = a_block(filters=(Filter(lambda request: False, EVERY_QUERY),))
        found = zones(("org.", never), (".", a_block()), ("net.", a_block()))
        for name, once in (("a.org.", True), ("a.net.", False), ("a.com.", False)):
            chosen = found.choose(a_request(name))
            assert chosen is not None
            self.assertIs(chosen.once, once, name)

    def test_audience(self) -> None:
        """Filters and links that look at the client make an audience."""
        self.assertIsNone(zones((".", a_block(filters=filters(lambda request: True)))).audience())
        block = a_block(
            filters=(Filter(lambda request: request.client == "::1", by_client(lambda client: client == "::1")),)
        )
        audience = zones((".", block)).audience()
        assert audience is not None
        self.assertNotEqual(audience.of("::1"), audience.of("::2"))

    def test_all_filters(self) -> None:
        """All filters of a block must let a query pass."""
        block = a_block(filters=filters(lambda request: True, lambda request: request.qtype == A))
        found = zones(("org.", block))
        self.check(found, "a.org.", A, "org.", block)
        self.check(found, "a.org.", MX, None, None)

    def test_metadata(self) -> None:
        """Metadata is there when filters run, and in the request that the block gets."""

        def collect(request: Request) -> Request:
            return replace(request, metadata={"test/type": str(request.qtype)})

        block = a_block(collect=collect, filters=filters(lambda request: (request.metadata or {})["test/type"] == "1"))
        chosen = zones(("org.", block)).choose(a_request("a.org."))
        assert chosen is not None
        self.assertEqual(chosen[2].metadata, {"test/type": "1"})
        self.assertIsNone(zones(("org.", block)).choose(a_request("a.org.", MX)))

    def test_all_blocks(self) -> None:
        """A block with two zones is one block."""
        block, other = a_block(), a_block()
        found = zones(("one.", block), ("two.", block), ("two.", other))
        self.assertEqual([id(one) for one in found.all_blocks()], [id(block), id(other)])
        self.assertEqual(len(ROOT), 1)
