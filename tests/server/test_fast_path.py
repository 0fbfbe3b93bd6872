"""The fast path: which queries it takes, and that it says and counts what the plugins would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dns.message
from twisted.trial.unittest import SynchronousTestCase

from kdns.core.answer import Answer, Sections
from kdns.core.chain import Link, Next, Reply, chain
from kdns.core.fast_path import NO_EFFECT, Effect, Limit, Made, SourceMaker, made
from kdns.core.metrics import Counter
from kdns.core.observe import Observer, Repeat
from kdns.core.request import Request
from kdns.core.stamps import StampRef
from kdns.core.validity import ALWAYS, NOTHING, Varies, by_client
from kdns.plugin.seam import Filter
from kdns.server.blocks import ServedBlock, Zones
from kdns.server.datagrams import DatagramShell
from kdns.server.fast_path import routes_of
from kdns.server.table import TableBudget
from kdns.wire.constants import AA, HINFO, A
from kdns.wire.names import ROOT, from_text
from kdns.wire.query import RECORD_HEAD
from kdns.wire.records import a_or_aaaa
from tests.server.support import Asker, Counting

ZONE = from_text("zone.")
ADDRESS = bytes((10, 0, 0, 1))


class Passing(Link):
    """Passes on, with an effect or none."""

    name = "passing"

    def __init__(self, effect: Effect | None = NO_EFFECT, varies: Varies = NOTHING) -> None:
        self.varies = varies
        self._effect = effect

    def answer(self, request: Request, next: Next) -> Reply:
        """Pass on."""
        return next(request)

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """What the test wants."""
        return self._effect


class Answering(Link):
    """One address for each name of a zone, made by the plugin or by its source."""

    name = "answering"
    varies = NOTHING

    def __init__(self, zone: bytes = ZONE, ttl: int = 30) -> None:
        self.zone = zone
        self.ttl = ttl
        self.asked = self.made = 0
        self.success_ttl = self.denial_ttl = 30
        self.sure = True

    def answer(self, request: Request, next: Next) -> Reply:
        """Answer."""
        self.asked += 1
        return Answer(
            flags=AA,
            body=Sections((a_or_aaaa(request.spelled, self.ttl, ADDRESS),)),
            validity=ALWAYS,
            source=self.name,
        )

    def fast_effect(self, server: str, zone: bytes) -> Effect | None:
        """Pass on what is not in the zone."""
        return NO_EFFECT

    def fast_sources(self) -> Mapping[bytes, SourceMaker | None]:
        """One source."""

        def make(success_ttl: Limit, denial_ttl: Limit, keeps: bool) -> Any:
            return _Source(self, success_ttl(self.ttl))

        return {self.zone: make}


class _Source:
    success_ttl = denial_ttl = 30

    def __init__(self, link: Answering, ttl: int) -> None:
        self._link = link
        self._ttl = ttl

    def answer(self, qname: bytes, qtype: int, now: float) -> Made | None:
        if qtype != A or not self._link.sure:
            return None
        self._link.made += 1
        return made(0, (1, 0, 0), qname + RECORD_HEAD.pack(A, 1, self._ttl, 4) + ADDRESS)

    def note(self, key: object) -> StampRef:
        """Nothing depends on data."""
        raise AssertionError(key)


class World:
    """A block with some links, asked over a table."""

    def __init__(self, links: Sequence[Link], observers: Sequence[Observer] = (), **settings: Any) -> None:
        zones = Zones()
        zones.add(ROOT, ServedBlock(chain(links), links=tuple(links), observers=tuple(observers), **settings))
        self.asker = Asker(zones)
        self.table = TableBudget(1_000_000).table()
        self.shell = DatagramShell(self.asker.listener, self.table)
        self.replies: list[dns.message.Message] = []
        self.shell.transport = self

    def write(self, data: bytes, addr: object) -> None:
        """Keep a reply."""
        self.replies.append(dns.message.from_wire(data))

    def ask(self, name: str, qtype: str = "A", client: str = "127.0.0.1", **settings: Any) -> dns.message.Message:
        """Ask over UDP."""
        message = dns.message.make_query(name, qtype, id=7, **settings)
        self.shell.datagramReceived(message.to_wire(), (client, 4000))
        return self.replies[-1]


class RouteTests(SynchronousTestCase):
    """Which zones have a fast path."""

    def routed(self, links: Sequence[Link], **settings: Any) -> bool:
        """Whether the zone of the source has one."""
        zones = Zones()
        zones.add(ROOT, ServedBlock(chain(links), links=tuple(links), **settings))
        return dict(routes_of(zones, "dns://:53")).get(ZONE) is not None

    def test_effects(self) -> None:
        """All links in front must say what they do; one that says nothing sends everything the general way."""
        self.assertTrue(self.routed([Answering()]))
        self.assertTrue(self.routed([Passing(), Passing(Effect(rotate=())), Answering()]))
        self.assertFalse(self.routed([Passing(), Passing(None), Answering()]))
        self.assertTrue(self.routed([Answering(), Passing(None)]))
        self.assertFalse(self.routed([Passing(NO_EFFECT, by_client(len)), Answering()]))
        self.assertFalse(self.routed([Passing(NO_EFFECT, Varies(every_query=True)), Answering()]))

    def test_admission(self) -> None:
        """A link that looks at the client says whom it lets pass."""
        effect = Effect(admits=lambda qname, qtype, client: client != "10.0.0.1")
        self.assertTrue(self.routed([Passing(effect, by_client(len)), Answering()]))

    def test_blocks(self) -> None:
        """A block with filters or metadata, or with another block for its zone, has none."""
        self.assertFalse(self.routed([Answering()], filters=(Filter(lambda request: True, NOTHING),)))
        self.assertFalse(self.routed([Answering()], collect=lambda request: request))
        self.assertFalse(self.routed([Answering()], observers=(Deaf(),)))
        zones = Zones()
        for links in ([Answering()], [Answering()]):
            zones.add(ROOT, ServedBlock(chain(links), links=tuple(links)))
        self.assertEqual(routes_of(zones, "dns://:53"), ())

    def test_zones(self) -> None:
        """A zone of another block inside is that block's, and a wider source in front takes its names."""
        inner, outer = Answering(from_text("in.zone.")), Answering()
        zones = Zones()
        zones.add(ROOT, ServedBlock(chain([outer]), links=(outer,)))
        zones.add(from_text("in.zone."), ServedBlock(chain([Passing(None)]), links=(Passing(None),)))
        found = routes_of(zones, "dns://:53")
        self.assertEqual([route is not None for _, route in found], [False, True, False])
        self.assertEqual([zone for zone, _ in found], [from_text("in.zone."), ZONE, ROOT])
        self.assertEqual(dict(routes_of(_root([outer, inner]), "x"))[from_text("in.zone.")], None)


def _root(links: Sequence[Link]) -> Zones:
    zones = Zones()
    zones.add(ROOT, ServedBlock(chain(links), links=tuple(links)))
    return zones


class Deaf(Observer):
    """An observer that must see each exchange."""


class FastPathTests(SynchronousTestCase):
    """What is answered, and what is counted for it."""

    def setUp(self) -> None:
        self.link = Answering()

    def test_learns(self) -> None:
        """The first query of a shape and length asks the plugins, those that follow do not, and the replies are equal."""
        world = World([self.link])
        for number in range(10):
            reply = world.ask(f"n{number}.zone.")
            self.assertEqual(str(reply.answer[0]), f"n{number}.zone. 30 IN A 10.0.0.1")
            self.assertEqual(reply.flags, 0x8500)
        self.assertEqual((self.link.asked, self.link.made), (1, 9))

    def test_shapes(self) -> None:
        """OPT, DO, cookies, RD: each gets the reply that its first query got."""
        for settings in (
            {"use_edns": 0, "payload": 1232},
            {"use_edns": 0, "want_dnssec": True},
            {"use_edns": 0, "options": [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"cookie-1")]},
            {"flags": 0},
            {"flags": 0x0110},
        ):
            link = Answering()
            world = World([link])
            first, *others = (world.ask(f"n{number}.zone.", **settings) for number in range(4))
            self.assertEqual((link.asked, link.made), (1, 3), settings)
            for reply in others:
                for field in ("flags", "ednsflags", "payload", "options"):
                    self.assertEqual(getattr(reply, field), getattr(first, field), settings)

    def test_plain_only(self) -> None:
        """A link that does more to queries with DO is asked for each of them, and not for others."""
        for do, asked in ((False, 1), (True, 3)):
            for effect in (Effect(), Effect(plain_only=True)):
                answering = Answering()
                world = World([Passing(effect), answering])
                for name in ("a.zone.", "b.zone.", "c.zone."):
                    world.ask(name, want_dnssec=do)
                self.assertEqual(answering.asked, asked if effect.plain_only else 1, (do, effect.plain_only))

    def test_cookies_differ(self) -> None:
        """Each client gets its own cookie back."""
        world = World([self.link])
        for number in range(4):
            cookie = b"cookie-%d" % number
            reply = world.ask(
                f"n{number}.zone.", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)]
            )
            self.assertEqual(reply.options[0].to_wire(), cookie)
        self.assertEqual(self.link.made, 3)

    def test_general(self) -> None:
        """Other types, capital letters, unknown options and unsure sources ask the plugins."""
        world = World([Passing(Effect(not_types=frozenset((HINFO,)))), self.link])
        for number in range(3):
            world.ask(f"n{number}.zone.", "TXT")
            world.ask(f"n{number}.zone.", "HINFO")
            world.ask(f"N{number}.zone.")
            world.ask(
                f"n{number}.zone.", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"x")]
            )
        self.assertEqual((self.link.asked, self.link.made), (12, 0))
        self.link.sure = False
        world.ask("m1.zone.")
        world.ask("m2.zone.")
        self.assertEqual(self.link.made, 0)

    def test_counted(self) -> None:
        """First replies and repetitions charge what links and observers say."""
        first, again = Counter(), Counter()
        observer = Alike()
        effect = Effect((first,), (again,), success_ttl=lambda ttl: min(ttl, 10), keeps=True, counts_down=True)
        world = World([Passing(effect), self.link], [observer])
        for _ in range(3):
            for number in range(5):
                world.ask(f"n{number}.zone.")
        world.asker.context.tallies.fold()
        self.assertEqual(observer.count.value, 15)
        self.assertEqual((first.value, again.value), (4, 8))

    def test_kept(self) -> None:
        """A reply is kept as long as the effects say, and its TTL goes down."""
        effect = Effect(success_ttl=lambda ttl: min(ttl, 10), keeps=True, counts_down=True)
        world = World([Passing(effect), self.link])
        world.ask("n0.zone.")
        self.assertEqual(world.ask("n1.zone.").answer[0].ttl, 10)
        world.asker.reactor.advance(4.0)
        self.assertEqual(world.ask("n1.zone.").answer[0].ttl, 6)
        self.assertEqual(self.link.made, 1)
        world.asker.reactor.advance(6.0)
        self.assertEqual(world.ask("n1.zone.").answer[0].ttl, 10)
        self.assertEqual(self.link.made, 2)

    def test_admitted(self) -> None:
        """Clients that a link does not let pass ask the plugins; the others are answered, each group by itself."""

        def blocked(client: str) -> bool:
            return client == "10.0.0.1"

        effect = Effect(admits=lambda qname, qtype, client: not blocked(client))
        world = World([Passing(effect, by_client(blocked)), self.link])
        for number in range(3):
            for client in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
                world.ask(f"n{number}.zone.", client=client)
        # Of those that pass the first asks the plugins, and the others of its group find its replies in the table.
        self.assertEqual((self.link.asked, self.link.made), (3 + 1, 2))

    def test_other_configuration(self) -> None:
        """A reload ends the fast path with the configuration that it was made of, though nothing has asked a plugin since."""
        world = World([self.link])
        for number in range(3):
            world.ask(f"n{number}.zone.")
        other = Answering(ttl=17)
        world.asker.listener.serve(_root([other]))
        for number in range(10, 13):
            self.assertEqual(world.ask(f"n{number}.zone.").answer[0].ttl, 17)
        self.assertEqual((self.link.asked, self.link.made, other.asked, other.made), (1, 2, 1, 2))

    def test_each_told(self) -> None:
        """Where an observer wants a call for each query, or tells names apart, the plugins are asked."""
        for observer in (Counting(each=True), Counting()):
            link = Answering()
            world = World([link], [observer])
            for number in range(3):
                world.ask(f"n{number}.zone.")
            self.assertEqual((link.asked, len(observer.exchanges)), (3, 3))


class Alike(Counting):
    """An observer to which all names are alike."""

    def repeat(self, exchange: Any) -> Repeat:
        """Count each repetition the same."""
        return Repeat((self.count,))

    def alike(self, zone: bytes) -> bool:
        """They are."""
        return True
