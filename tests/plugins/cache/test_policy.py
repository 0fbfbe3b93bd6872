"""What is kept, in which store, for how long."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.request import Request
from kdns.core.validity import ALWAYS
from kdns.plugins.cache.config import CacheConfig, Limits
from kdns.plugins.cache.policy import Place, judge, passed_by, positive
from kdns.wire.constants import ANY, AXFR, FORMERR, NOTIMP, NXDOMAIN, RA, REFUSED, RRSIG, SERVFAIL, TC, TXT
from kdns.wire.names import from_text
from kdns.wire.query import Edns
from kdns.wire.records import Record, cname, ns
from tests.plugins.cache.upstream import address, no_such_name, relayed, start_of_authority
from tests.support import a_request

CONFIG = CacheConfig((), Limits(1024, 3600, 5), Limits(1024, 1800, 5))
WALL = 1_700_000_000.0
ASKED = a_request("www.example.com")
NAME = ASKED.qname
ALIAS = cname(NAME, 300, from_text("elsewhere.example.net"))


def signature(expiration: int, inception: int) -> Record:
    """An RRSIG with these times."""
    rdata = (
        b"\x00\x01\x08\x02" + bytes(4) + expiration.to_bytes(4, "big") + inception.to_bytes(4, "big") + b"\x00\x01\x00"
    )
    return Record(NAME, RRSIG, 1, 300, rdata)


class PolicyTests(SynchronousTestCase):
    """A table of answers, and what becomes of them."""

    def check(
        self,
        answer: Answer,
        place: Place,
        ttl: int,
        request: Request = ASKED,
        config: CacheConfig = CONFIG,
    ) -> None:
        """Whether *answer* is judged so."""
        self.assertEqual(judge(answer, request, config, WALL), (place, ttl))

    def test_one_ttl(self) -> None:
        """The lowest TTL of all sections counts, between floor and ceiling."""
        self.check(relayed(ASKED, (address("www.example.com", ttl=300),)), Place.SUCCESS, 300)
        self.check(relayed(ASKED, (address("www.example.com", ttl=0),)), Place.SUCCESS, 5)
        self.check(relayed(ASKED, (address("www.example.com", ttl=86400),)), Place.SUCCESS, 3600)
        glue = address("ns.example.com", ttl=20)
        self.check(relayed(ASKED, (address("www.example.com"),), (), (glue,)), Place.SUCCESS, 20)

    def test_the_ceiling_is_above_the_floor(self) -> None:
        """A ceiling below the floor wins."""
        config = replace(CONFIG, success=Limits(1024, 3, 5))
        self.check(relayed(ASKED, (address("www.example.com"),)), Place.SUCCESS, 3, config=config)

    def test_denials(self) -> None:
        """NXDOMAIN and NODATA go by the TTL of their SOA."""
        self.check(no_such_name(ASKED, 60), Place.DENIAL, 60)
        self.check(no_such_name(ASKED, 7200), Place.DENIAL, 1800)
        self.check(relayed(ASKED, (), (start_of_authority(60),)), Place.DENIAL, 60)
        self.check(relayed(ASKED, (ALIAS,), (start_of_authority(60),)), Place.DENIAL, 60)

    def test_without_an_soa(self) -> None:
        """NXDOMAIN without an SOA is not kept (RFC 2308 section 5); an empty NOERROR is, for a moment."""
        self.check(relayed(ASKED, rcode=NXDOMAIN), Place.NOWHERE, 5)
        self.check(relayed(ASKED), Place.SUCCESS, 5)

    def test_failures(self) -> None:
        """SERVFAIL and NOTIMP are kept for their own time, other errors are not."""
        self.check(relayed(ASKED, rcode=SERVFAIL), Place.DENIAL, 5)
        self.check(relayed(ASKED, rcode=NOTIMP), Place.DENIAL, 5)
        self.check(relayed(ASKED, rcode=SERVFAIL), Place.NOWHERE, 0, config=replace(CONFIG, servfail=0))
        self.check(relayed(ASKED, rcode=REFUSED), Place.NOWHERE, 5)
        self.check(relayed(ASKED, rcode=FORMERR), Place.NOWHERE, 5)
        self.check(relayed(ASKED, (ALIAS,), (start_of_authority(60),), rcode=NXDOMAIN), Place.NOWHERE, 5)

    def test_aliases_that_lead_nowhere(self) -> None:
        """A chain that does not come to the type asked for is shown and not kept."""
        self.check(relayed(ASKED, (ALIAS,)), Place.NOWHERE, 300)
        self.check(relayed(ASKED, (ALIAS, signature(1_700_001_000, 1_600_000_000))), Place.NOWHERE, 300)
        self.check(relayed(ASKED, (ALIAS, address("elsewhere.example.net"))), Place.SUCCESS, 300)
        self.assertFalse(positive(relayed(ASKED, (ALIAS,)), ASKED.qtype))
        self.assertTrue(positive(relayed(a_request("www.example.com", ANY), (ALIAS,)), ANY))
        self.assertFalse(positive(relayed(ASKED), ASKED.qtype))

    def test_referral(self) -> None:
        """A referral is kept for a moment."""
        servers = (ns(from_text("example.com"), 200, from_text("ns.example.com")),)
        self.check(relayed(ASKED, (), servers), Place.SUCCESS, 5)

    def test_without_recursion(self) -> None:
        """What an upstream says when it is not to recurse is kept for nobody; what plugins here say holds for all."""
        request = a_request("www.example.com", flags=0)
        for answer in (
            relayed(request, (), (ns(NAME, 300, NAME),)),
            relayed(request, rcode=SERVFAIL),
            relayed(request, (address("www.example.com"),)),
        ):
            self.assertIs(judge(answer, request, CONFIG, WALL).place, Place.NOWHERE)
            self.assertIsNot(judge(answer, ASKED, CONFIG, WALL).place, Place.NOWHERE)
        self.check(Answer(body=Sections((address("www.example.com"),)), validity=ALWAYS), Place.SUCCESS, 300, request)

    def test_truncated(self) -> None:
        """What was cut off is not kept."""
        self.check(relayed(ASKED, (address("www.example.com"),), flags=RA | TC), Place.NOWHERE, 300)

    def test_signatures_out_of_time(self) -> None:
        """A signed answer outside its time is not kept for those who asked for signatures."""
        signed = a_request("www.example.com", edns=Edns(1232, 0x8000, 0, b""))
        for expiration, inception, place, ttl in (
            (1_700_001_000, 1_600_000_000, Place.SUCCESS, 300),
            (1_699_999_999, 1_600_000_000, Place.NOWHERE, 5),
            (1_800_000_000, 1_700_000_001, Place.NOWHERE, 5),
        ):
            records = (address("www.example.com"), signature(expiration, inception))
            self.check(relayed(signed, records), place, ttl, signed)
            self.check(Answer(body=Sections(answer=records), validity=relayed(signed).validity), place, ttl, signed)
            self.check(relayed(ASKED, records), Place.SUCCESS, 300)

    def test_disabled_zones(self) -> None:
        """What is disabled is not kept, and shows the same TTL as if it were."""
        config = replace(CONFIG, no_success=frozenset((from_text("example.com"),)), no_denial=frozenset((b"\x00",)))
        self.check(relayed(ASKED, (address("www.example.com", ttl=1),)), Place.NOWHERE, 5, config=config)
        self.check(no_such_name(ASKED, 60), Place.NOWHERE, 60, config=config)
        other = a_request("www.example.net")
        self.check(relayed(other, (address("www.example.net"),)), Place.SUCCESS, 300, other, config)

    def test_once(self) -> None:
        """What is for one query alone is not kept."""
        body = Sections((address("www.example.com"),))
        self.check(Answer(body=body), Place.NOWHERE, 300)
        self.check(Answer(body=body, validity=ALWAYS.not_repeated()), Place.SUCCESS, 300)

    def test_passed_by(self) -> None:
        """Transfers and what is no query are none of the cache's business."""
        self.assertTrue(passed_by(a_request("example.com", AXFR)))
        self.assertTrue(passed_by(a_request("example.com", flags=4 << 11)))
        self.assertFalse(passed_by(a_request("example.com", TXT)))
