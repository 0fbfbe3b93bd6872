"""Which signatures are kept, and until when they are good."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnssec.store import CLOCK_SKEW, LIFETIME, REFRESH, Signatures, SignatureStore, digest_of
from kdns.wire.constants import IN, A
from kdns.wire.names import from_text, spelled_from_text
from kdns.wire.records import a_or_aaaa
from kdns.zones.signing import Rrset, canonical_rrset

ZONE = from_text("example.org")


class StoreTests(SynchronousTestCase):
    """A store of three RRsets."""

    def setUp(self) -> None:
        self.store = SignatureStore(3)

    def put(self, digest: bytes, now: int = 1000) -> Signatures:
        signatures = Signatures((digest,), now + LIFETIME)
        self.store.put(digest, signatures)
        return signatures

    def test_time(self) -> None:
        """Signatures are good until two days before they expire, and not before their inception."""
        signatures = self.put(b"a", 1_000_000)
        end = 1_000_000 + LIFETIME - REFRESH
        for now in (1_000_000, 1_000_000 - CLOCK_SKEW, end - 1):
            self.assertIs(self.store.find(b"a", now), signatures)
        self.assertIsNone(self.store.find(b"a", end))
        self.assertEqual(len(self.store), 0)
        self.put(b"a", 1_000_000)
        self.assertIsNone(self.store.find(b"a", 1_000_000 - CLOCK_SKEW - 1))

    def test_bound(self) -> None:
        """The RRset that was not used for longest makes room."""
        for digest in (b"a", b"b", b"c"):
            self.put(digest)
        self.store.find(b"a", 1000)
        self.put(b"d")
        self.assertEqual(len(self.store), 3)
        self.assertEqual(
            [bool(self.store.find(digest, 1000)) for digest in (b"a", b"b", b"c", b"d")], [True, False, True, True]
        )

    def test_digest(self) -> None:
        """Order, TTL and letter case make no difference; owner, type, records and zone do."""
        owner = spelled_from_text("www.example.org")
        one, two = (a_or_aaaa(owner, 60, bytes((192, 0, 2, number))) for number in (1, 2))
        shuffled = [two._replace(ttl=5, owner=spelled_from_text("WWW.example.org")), one]
        first = digest_of(ZONE, canonical_rrset([one, two]))
        self.assertEqual(first, digest_of(ZONE, canonical_rrset(shuffled)))
        other = {
            digest_of(ZONE, canonical_rrset([one])),
            digest_of(owner, canonical_rrset([one, two])),
            digest_of(ZONE, canonical_rrset([one._replace(owner=ZONE), two._replace(owner=ZONE)])),
            digest_of(ZONE, Rrset(owner, A, IN, (one.rdata + two.rdata,))),
            first,
        }
        self.assertEqual(len(other), 5)
