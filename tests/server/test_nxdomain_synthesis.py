"""Replies for names that do not exist, made out of the reply to another: which are found, for how long, and how many are kept."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Denial
from kdns.core.stamps import Stamp
from kdns.core.tally import Tally
from kdns.server.nxdomain_synthesis import MOST_SEEN, MOST_TEMPLATES, NxdomainTemplates, Template, cookie_of
from kdns.wire.names import from_text

ZONE = from_text("cluster.local.")
HEAD = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
WITH_OPT = HEAD[:-1] + b"\x01"
TYPE = b"\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00"
SAID = b"\x85\x03\x00\x01\x00\x00\x00\x01\x00\x00"
BODY = b"an SOA"


def key(name: str, head: bytes = HEAD, behind: bytes = b"") -> bytes:
    """A query behind its identifier."""
    return head + from_text(name) + TYPE + behind


def cookie(octets: bytes) -> bytes:
    """An OPT with a client cookie."""
    return OPT + b"\x00\x0c\x00\x0a\x00\x08" + octets


class DenialsTests(SynchronousTestCase):
    """Templates of one table."""

    def setUp(self) -> None:
        self.nxdomains = NxdomainTemplates()
        self.here = {b"\x03web"}
        self.asked: list[bytes] = []
        self.tallies: dict[int, Tally] = {}

    def covers(self, front: bytes) -> bool:
        """Everything but what is here does not exist."""
        self.asked.append(front)
        return front not in self.here

    def enter(self, query: bytes = key("first.cluster.local."), rest: int = 0, **about: object) -> None:
        """Have further names answered like this one."""
        denial = Denial(ZONE, self.covers, **({"until": 30.0} | about))  # type: ignore[arg-type]  # fields of Denial
        cut = cookie_of(query)

        def weigh(octets: int) -> Tally:
            return self.tallies.setdefault(octets, Tally((), ()))

        template = Template(SAID, BODY, rest, cut, 60, denial, weigh)
        self.nxdomains.enter(query, len(ZONE) + 4 + rest + cut, template)

    def found(self, query: bytes, now: float = 0.0) -> bytes | None:
        """The reply to a query."""
        reply = self.nxdomains.find(query, now)
        return None if reply is None else reply[0]

    def test_given(self) -> None:
        """Another name gets the reply with its own question, and is counted by its length."""
        self.enter()
        reply = self.nxdomains.find(key("other.cluster.local."), 0.0)
        self.assertEqual(reply, (SAID + from_text("other.cluster.local.") + TYPE + BODY, self.tallies[6]))
        self.assertEqual((self.asked, self.nxdomains.given, len(self.nxdomains)), ([b"\x05other"], 1, 1))

    def test_not_alike(self) -> None:
        """Another type, other flags, another zone, another spelling of the zone, an OPT: the plugins are asked."""
        self.enter()
        for query in (
            key("other.cluster.local.")[:-4] + b"\x00\x1c\x00\x01",
            b"\x00" + key("other.cluster.local.")[1:],
            key("other.cluster.example."),
            key("other.").replace(b"\x05other\x00", b"\x05other\x07CLUSTER\x05local\x00"),
            key("other.cluster.local.", WITH_OPT, OPT + b"\x00\x00"),
        ):
            self.assertIsNone(self.found(query), query)
        self.assertEqual(self.asked, [])

    def test_spelling_of_the_name(self) -> None:
        """The name comes back as it was spelled, and is looked for in lower case."""
        self.enter()
        query = key("other.cluster.local.").replace(b"other", b"OtHer")
        self.assertEqual(self.found(query), SAID + query[10:] + BODY)
        self.assertEqual(self.asked, [b"\x05other"])

    def test_exists(self) -> None:
        """A name that exists is the plugins' business, also one that only came to exist."""
        self.enter()
        self.assertIsNone(self.found(key("web.cluster.local.")))
        self.here.add(b"\x05other")
        self.assertIsNone(self.found(key("other.cluster.local.")))

    def test_apex_and_shorter(self) -> None:
        """The zone itself is asked of the plugins, as is what ends before it would begin."""
        self.here.add(b"")
        self.enter()
        for query in (key("cluster.local."), key("local."), HEAD + TYPE, HEAD, HEAD[:5], b"", b"\xff"):
            self.assertIsNone(self.found(query), query)

    def test_twice(self) -> None:
        """A name that is asked for a second time goes to the plugins, as does one that they were asked for."""
        self.enter()
        self.nxdomains.asked(key("first.cluster.local."))
        self.assertIsNone(self.found(key("first.cluster.local.")))
        self.assertIsNotNone(self.found(key("other.cluster.local.")))
        self.assertIsNone(self.found(key("other.cluster.local.")))

    def test_until(self) -> None:
        """A template has its time."""
        self.enter()
        size = len(ZONE) + 4
        self.assertIsNotNone(self.found(key("a.cluster.local."), 29.9))
        self.assertTrue(self.nxdomains.knows(key("b.cluster.local."), size, 29.9))
        self.assertIsNone(self.found(key("b.cluster.local."), 30.0))
        self.assertFalse(self.nxdomains.knows(key("b.cluster.local."), size, 30.0))

    def test_stamps(self) -> None:
        """A template is dead when what it shows changed, and a new one takes its place."""
        stamp = Stamp()
        self.enter(stamps=(stamp.ref(),))
        stamp.bump()
        self.assertIsNone(self.found(key("a.cluster.local.")))
        self.assertFalse(self.nxdomains.knows(key("a.cluster.local."), len(ZONE) + 4, 0.0))
        self.enter(stamps=(stamp.ref(),))
        self.assertIsNotNone(self.found(key("a.cluster.local.")))
        self.assertEqual(len(self.nxdomains), 1)

    def test_longest(self) -> None:
        """A name for which the reply has no room is the plugins' business."""
        self.enter()
        self.assertIsNotNone(self.found(key("a" * 59 + ".cluster.local.")))
        self.assertIsNone(self.found(key("a" * 60 + ".cluster.local.")))

    def test_cookies(self) -> None:
        """A cookie comes back at the end of the reply, whatever it is; and who sends none gets none."""
        self.enter(key("first.cluster.local.", WITH_OPT, cookie(b"12345678")), len(OPT) + 6)
        other = key("other.cluster.local.", WITH_OPT, cookie(b"abcdefgh"))
        self.assertEqual(self.found(other), SAID + from_text("other.cluster.local.") + TYPE + BODY + b"abcdefgh")
        self.assertIsNone(self.found(key("other.cluster.local.", WITH_OPT, cookie(b"second!!"))))
        self.assertIsNone(self.found(key("third.cluster.local.", WITH_OPT, OPT + b"\x00\x00")))

    def test_weighs_nothing(self) -> None:
        """Where it cannot be said beforehand what to count, the plugins are asked."""
        denial = Denial(ZONE, self.covers, 30.0)
        query = key("first.cluster.local.")
        self.nxdomains.enter(query, len(ZONE) + 4, Template(SAID, BODY, 0, 0, 60, denial, lambda octets: None))
        self.assertIsNone(self.found(key("other.cluster.local.")))

    def test_ipv6(self) -> None:
        """Queries over IPv6 in a table for both families have templates of their own."""
        self.enter(b"\xff" + key("first.cluster.local."))
        self.assertIsNone(self.found(key("other.cluster.local.")))
        reply = self.found(b"\xff" + key("other.cluster.local."))
        self.assertEqual(reply, SAID + from_text("other.cluster.local.") + TYPE + BODY)

    def test_bounds(self) -> None:
        """Neither templates nor names that were asked once grow without end."""
        for number in range(MOST_TEMPLATES * 2 + 3):
            self.enter(number.to_bytes(2, "big") + key("first.cluster.local.")[2:])
            self.assertLessEqual(len(self.nxdomains), MOST_TEMPLATES)
        for number in range(9):
            self.enter(key("first.cluster.local.", behind=b"x" * number), number)
        self.assertLessEqual(len(self.nxdomains), MOST_TEMPLATES)
        self.nxdomains.clear()
        self.assertEqual(len(self.nxdomains), 0)
        self.enter()
        again = key("again.cluster.local.")
        self.assertIsNotNone(self.found(again))
        for number in range(MOST_SEEN):
            self.nxdomains.asked(key(f"n{number}.cluster.local."))
        self.assertIsNotNone(self.found(again))
