"""An upstream that says what a test tells it, as whole messages like *forward* relays them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kdns.core.answer import Answer
from kdns.core.chain import Link, Next, Reply
from kdns.core.failure import ResolutionFailed
from kdns.core.request import Request
from kdns.core.validity import FROM_UPSTREAM, NOTHING, Validity
from kdns.wire.constants import NOERROR, QR, RA, SOA
from kdns.wire.message import scan
from kdns.wire.names import from_text
from kdns.wire.records import Record, a_or_aaaa, soa
from kdns.wire.render import render

Sections = tuple[Sequence[Record], Sequence[Record], Sequence[Record]]

ZONE = from_text("example.com")


def address(name: str, last: int = 1, ttl: int = 300) -> Record:
    """An A record 192.0.2.*last*."""
    return a_or_aaaa(from_text(name), ttl, bytes((192, 0, 2, last)))


def start_of_authority(ttl: int = 60) -> Record:
    """The SOA of ``example.com``."""
    return soa(ZONE, ttl, ZONE, ZONE, (7, 7200, 3600, 1209600, 30))


def relayed(
    request: Request,
    answer: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    rcode: int = NOERROR,
    flags: int = RA,
    opt: bytes = b"",
    validity: Validity = FROM_UPSTREAM,
    question: bytes | None = None,
) -> Answer:
    """An answer that relays a message."""
    asked = request.question if question is None else question
    message = render(1, QR | flags | rcode, asked, (answer, authority, additional), opt, 65535, 65535)
    return Answer(rcode, flags, body=scan(message), validity=validity, source="forward")


def no_such_name(request: Request, ttl: int = 60) -> Answer:
    """NXDOMAIN with its SOA."""
    return relayed(request, (), (start_of_authority(ttl),), rcode=3)


Script = Callable[[Request], Reply]


class Upstream(Link):
    """The end of a chain; it numbers what it answers by default: 192.0.2.1, 192.0.2.2, ..."""

    name = "forward"
    varies = NOTHING

    def __init__(self, script: Script | None = None, ttl: int = 300) -> None:
        self.script = script
        self.ttl = ttl
        self.asked: list[Request] = []
        self.waiting: list[Deferred[Answer]] = []

    def answer(self, request: Request, next: Next) -> Reply:
        """Answer by the script, or with the next number."""
        self.asked.append(request)
        if self.script is not None:
            return self.script(request)
        return self.numbered(request)

    def numbered(self, request: Request) -> Answer:
        """A reply with the number of the queries until now as its address."""
        if request.qtype == SOA:
            return relayed(request, (start_of_authority(self.ttl),))
        return relayed(request, (Record(request.spelled, 1, 1, self.ttl, bytes((192, 0, 2, len(self.asked)))),))

    def wait(self, request: Request) -> Deferred[Answer]:
        """Answer when the test does, through ``waiting``."""
        pending: Deferred[Answer] = Deferred()
        self.waiting.append(pending)
        return pending

    def fail(self, request: Request) -> Answer:
        """No upstream can be reached."""
        raise ResolutionFailed("no healthy proxies")

    def fail_later(self) -> None:
        """Let the query that waits longest fail."""
        self.waiting.pop(0).errback(Failure(ResolutionFailed("i/o timeout")))
