"""Blocks that want the same zone."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import Overlap
from kdns.corefile.overlap import Claim, check_overlaps
from tests.corefile.test_keys import keys_of


def claim(key: str, *addresses: str, view: bool = False) -> Claim:
    """What a block with one key wants."""
    return Claim(keys_of(*key.split()), addresses, view)


class CheckOverlapsTests(SynchronousTestCase):
    """Which blocks can live side by side."""

    def refusal(self, *claims: Claim) -> str:
        """The error for such blocks."""
        with self.assertRaises(Overlap) as caught:
            check_overlaps(claims)
        return str(caught.exception)

    def test_apart(self) -> None:
        """Zone, port, scheme or address keep blocks apart; a view lets several share them."""
        for claims in (
            (claim("a"), claim("b")),
            (claim("a"), claim("a:1053")),
            (claim("a"), claim("tls://a:53")),
            (claim("a", "127.0.0.1"), claim("a", "127.0.0.2")),
            (claim("a"), claim("b", "127.0.0.1")),
            (claim("a", view=True), claim("a", view=True), claim("a")),
            (claim("a"), claim("a", view=True)),
            (claim("a", "127.0.0.1"), claim("a", "127.0.0.1", view=True)),
        ):
            check_overlaps(claims)

    def test_twice(self) -> None:
        """The same zone on the same listener is refused, within one block too, whatever its spelling."""
        wanted = "cannot serve dns://a.:53 - it is already defined"
        self.assertEqual(self.refusal(claim("a"), claim("A.")), wanted)
        self.assertEqual(self.refusal(claim("a a:53")), wanted)
        self.assertEqual(
            self.refusal(claim("a", "127.0.0.1"), claim("b"), claim("a", "127.0.0.1")),
            "cannot serve dns://a.:53 on 127.0.0.1 - it is already defined",
        )

    def test_bound_and_unbound(self) -> None:
        """One zone on a wildcard and on an address is refused, in the words of what came first."""
        bound, free = "dns://a.:53 on 127.0.0.1", "dns://a.:53"
        self.assertEqual(
            self.refusal(claim("a", "127.0.0.1"), claim("a")),
            f"cannot serve {free} - zone overlap listener capacity with {bound}",
        )
        self.assertEqual(
            self.refusal(claim("a"), claim("a", "127.0.0.1")),
            f"cannot serve {bound} - zone overlap listener capacity with {free}",
        )
