# -*- test-case-name: tests.plugins.etcd.test_store -*-
"""The keys of an etcd, read and watched over a network in memory: through changes, outages, compaction, and an etcd that misbehaves."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugin.seam import ServerContext
from kdns.plugins.etcd import gateway, store
from kdns.plugins.etcd.config import Source
from kdns.plugins.etcd.store import EtcdStore, State
from kdns.plugins.stores.rest import TrustFiles
from kdns.plugins.stores.starting import START_PATIENCE
from kdns.testing.memory import MemoryReactor
from tests.plugins.etcd.fake import FakeEtcd

EPOCH = 1_700_000_000.0
PORT = 2379
URL = f"http://127.0.0.1:{PORT}"
HERE = Source((URL,))


class StoreCase(SynchronousTestCase):
    """A store and its etcd."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.reactor.advance(EPOCH)
        self.etcd = FakeEtcd(self.reactor)
        self.etcd.start(PORT)
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.1"})
        self.etcd.put("/other/test/s/www", {"host": "10.9.9.9"})
        self.store: EtcdStore | None = None

    def begin(self, source: Source = HERE) -> EtcdStore:
        """Start a store; it has not yet been given time."""
        self.context = ServerContext(
            self.reactor,
            clock=self.reactor.seconds,
            wall=self.reactor.seconds,
            random=Random(1),
            kernel_sockets=False,
        )
        self.store = made = EtcdStore(source, self.context)
        self.started: list[Any] = []
        waiting = made.start()
        assert isinstance(waiting, Deferred)
        waiting.addBoth(self.started.append)
        return made

    def begun(self, source: Source = HERE) -> EtcdStore:
        """Start a store, and wait until it has read all."""
        made = self.begin(source)
        self.advance(0.1)
        self.assertTrue(made.synced, made.why)
        return made

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        steps = max(1, int(seconds / 0.5))
        for _ in range(steps):
            self.reactor.advance(seconds / steps)

    def tearDown(self) -> None:
        if self.store is not None:
            self.store.stop()
        self.etcd.end()
        self.reactor.advance(30)
        self.assertEqual(self.reactor.leftovers(), [])

    def host(self, key: str) -> str | None:
        """The address of a key below the path."""
        assert self.store is not None
        entry = self.store.index.entry(tuple(part.encode() for part in key.split("/")))
        return None if entry is None or entry.address is None else ".".join(map(str, entry.address))

    def wrong(self) -> list[str]:
        """What is degraded."""
        return [state.text for state in self.context.degraded]


class FollowingTests(StoreCase):
    """An etcd that works."""

    def test_read_and_watched(self) -> None:
        """Keys are there when the start is over; a change is there as soon as etcd has told of it."""
        made = self.begun()
        self.assertEqual(self.started, [None])
        self.assertEqual((self.host("test/s/www"), made.index.records), ("10.0.0.1", 1))
        self.assertEqual(made.state, State.WATCHING)
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.3"})
        self.reactor.settle()
        self.assertEqual((self.host("test/s/new"), self.host("test/s/www")), ("10.0.0.2", "10.0.0.3"))
        self.etcd.delete("/skydns/test/s/new")
        self.reactor.settle()
        self.assertIsNone(self.host("test/s/new"))
        self.assertEqual(self.wrong(), [])

    def test_pages(self) -> None:
        """More keys than a page has are read in pages."""
        for number in range(2 * gateway.PAGE + 1):
            self.etcd.put(f"/skydns/test/s/k{number}", {"host": "10.0.0.1"})
        made = self.begun()
        self.assertEqual(made.index.records, 2 * gateway.PAGE + 2)
        self.assertEqual(self.etcd.asked.count("/v3/kv/range"), 3)

    def test_serial(self) -> None:
        """The serial is the time of the last change, and stays while nothing changes."""
        made = self.begun()
        before = made.serial
        self.assertEqual(before, int(EPOCH))
        self.advance(100)
        self.assertEqual(made.serial, before)
        self.etcd.put("/skydns/a", "{}")
        self.reactor.settle()
        self.assertGreaterEqual(made.serial, before + 100)

    def test_unreadable(self) -> None:
        """A value that cannot be read is told of, with its key, until it is mended; others are there."""
        self.etcd.put("/skydns/test/s/bad", "no JSON")
        self.etcd.put("/skydns//test", "{}")
        made = self.begun()
        self.assertEqual(made.index.records, 1)
        (text,) = self.wrong()
        self.assertIn("2 keys are no record", text)
        self.assertIn("/skydns/test/s/bad", text)
        self.assertTrue(made.index.exact((b"test", b"s", b"bad")).broken)
        self.etcd.put("/skydns/test/s/bad", "{}")
        self.etcd.delete("/skydns//test")
        self.reactor.settle()
        self.assertEqual(self.wrong(), [])
        self.assertEqual(made.index.records, 2)

    def test_probes(self) -> None:
        """While nothing changes etcd is asked now and then, and a watch that tells all is left alone."""
        made = self.begun()
        self.etcd.put("/skydns/a", "{}")
        self.etcd.put("/skydns/b", "{}")
        self.etcd.delete("/skydns/a")
        self.advance(10 * store.PROBE)
        self.assertEqual(self.etcd.asked.count("/v3/watch"), 1)
        self.assertGreater(self.etcd.asked.count("/v3/kv/range"), 8)
        self.assertIsNone(made.staleness())

    def test_other_keys(self) -> None:
        """Changes of other keys do not make the watch fall behind what etcd has compacted."""
        made = self.begun()
        for number in range(5):
            self.etcd.put(f"/other/{number}", "x")
        self.advance(store.PROBE + 1)
        self.assertEqual(made.revision, self.etcd.revision)
        self.etcd.compact()
        self.etcd.cut_watches()
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.advance(1)
        self.assertEqual(self.host("test/s/new"), "10.0.0.2")
        self.assertEqual(made.state, State.WATCHING)
        # The keys were read once, counted once, and looked through for changes once.
        self.assertEqual(self.etcd.asked.count("/v3/kv/range"), 3)

    def test_https(self) -> None:
        """Over TLS the certificate is verified by the authority of the configuration."""
        from kdns.testing.certificates import Authority
        from tests.apiserver.tls import ServerContext as Tls

        authority = Authority()
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(authority.certificate_pem)
        tls = Tls(authority)
        other = FakeEtcd(self.reactor)
        other.put("/skydns/test/s/www", {"host": "10.0.0.7"})
        url = other.start(2380, tls=tls)
        self.addCleanup(other.end)
        self.begun(Source((url,), tls=TrustFiles(authority=path)))
        self.assertEqual(self.host("test/s/www"), "10.0.0.7")
        assert self.store is not None
        self.store.stop()
        made = self.begin(Source((url,)))
        self.advance(5)
        self.assertFalse(made.synced)
        self.assertIn("TLS", made.why)
        self.store.stop()
        other.end()


class LoginTests(StoreCase):
    """``credentials``."""

    def test_log_in(self) -> None:
        """A token is asked for, sent, and asked for again when etcd takes it no more."""
        self.etcd.users = {"u": "p"}
        self.begun(Source((URL,), user="u", password="p"))
        self.assertEqual(self.etcd.asked.count("/v3/auth/authenticate"), 1)
        self.etcd.tokens.clear()
        self.advance(store.PROBE + 1)
        self.assertEqual(self.etcd.asked.count("/v3/auth/authenticate"), 2)
        self.assertEqual(self.wrong(), [])
        self.etcd.tokens.clear()
        self.etcd.cut_watches()
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.advance(5)
        self.assertEqual(self.host("test/s/new"), "10.0.0.2")
        self.assertEqual(self.wrong(), [])

    def test_refused(self) -> None:
        """What etcd says is told, without the password; the start goes on."""
        self.etcd.users = {"u": "p"}
        self.begin(Source((URL,), user="u", password="secret"))
        self.advance(1)
        self.assertEqual(self.started, [None])
        (text,) = self.wrong()
        self.assertIn("log-in: etcdserver: authentication failed", text)
        self.assertNotIn("secret", text)
        self.etcd.users = {"u": "secret"}
        self.advance(60)
        self.assertEqual(self.wrong(), [])

    def test_needed(self) -> None:
        """An etcd that wants a user, where there is none."""
        self.etcd.users = {"u": "p"}
        self.begin()
        self.advance(1)
        self.assertIn("user name is empty", self.wrong()[0])


class OutageTests(StoreCase):
    """An etcd that is away, or as good as away."""

    def test_never_there(self) -> None:
        """The start does not wait for an etcd that refuses connections; once it is there, its keys are."""
        self.etcd.stop()
        made = self.begin()
        self.advance(0.1)
        self.assertEqual((self.started, made.synced, made.serial), ([None], False, 0))
        self.assertEqual(len(self.wrong()), 1)
        self.etcd.start(PORT)
        self.advance(5)
        self.assertTrue(made.synced)
        self.assertEqual(self.wrong(), [])

    def test_stopped_at_once(self) -> None:
        """A server that stops as soon as the start is over leaves nothing behind."""
        self.etcd.stop()
        made = EtcdStore(HERE, self.begin()._context)
        waiting = made.start()
        waiting.addCallback(lambda _: made.stop())
        self.advance(10)
        self.successResultOf(waiting)

    def test_silent(self) -> None:
        """For one that takes connections and says nothing the start waits five seconds."""
        self.etcd.silent = True
        self.begin()
        self.advance(START_PATIENCE - 0.5)
        self.assertEqual(self.started, [])
        self.advance(1)
        self.assertEqual(self.started, [None])
        self.advance(30)
        self.assertIn("no answer in 10 seconds", self.wrong()[0])

    def test_away(self) -> None:
        """What was read last stays, is called stale after half a minute, and is brought up to date at the end."""
        made = self.begun()
        self.etcd.stop()
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.advance(5)
        self.assertEqual((self.host("test/s/www"), made.state), ("10.0.0.1", State.AWAY))
        self.assertIsNone(made.staleness())
        fresh = made.fresh()
        self.advance(store.STALE_AFTER)
        self.assertIsNotNone(made.staleness())
        self.assertNotEqual(made.fresh(), fresh)
        stale = made.fresh()
        self.etcd.start(PORT)
        self.advance(61)
        self.assertEqual(self.host("test/s/new"), "10.0.0.2")
        self.assertEqual((made.staleness(), self.wrong()), (None, []))
        self.assertNotEqual(made.fresh(), stale)
        # The watch went on from where it was: the keys were read once, with what probes read.
        self.assertEqual(self.etcd.asked[:1], ["/v3/kv/range"])

    def test_cut(self) -> None:
        """A watch that ends after a while is begun again at once, and nothing is called wrong."""
        self.begun()
        self.advance(5)
        self.etcd.cut_watches()
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.advance(0.1)
        self.assertEqual((self.host("test/s/new"), self.etcd.open_watches()), ("10.0.0.2", 1))

    def test_compacted(self) -> None:
        """Where the changes meanwhile are gone, all keys are read again: changed ones, new ones, and those that are no more."""
        self.etcd.put("/skydns/test/s/old", {"host": "10.0.0.8"})
        self.begun()
        self.etcd.stop()
        self.reactor.settle()
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.3"})
        self.etcd.delete("/skydns/test/s/old")
        self.etcd.compact()
        self.etcd.start(PORT)
        self.advance(10)
        found = [self.host(f"test/s/{name}") for name in ("new", "www", "old")]
        self.assertEqual(found, ["10.0.0.2", "10.0.0.3", None])
        self.assertEqual(self.wrong(), [])

    def test_frozen(self) -> None:
        """A watch that says nothing of a change is found out by a probe, and begun again."""
        for change in (
            lambda: self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.3"}),
            lambda: self.etcd.delete("/skydns/test/s/www"),
        ):
            with self.subTest(change):
                self.begun() if self.store is None else None
                self.etcd.frozen = True
                change()
                self.advance(1)
                self.assertIsNotNone(self.host("test/s/www"))
                self.etcd.frozen = False
                self.advance(store.PROBE + store.GRACE + 4)
                self.assertEqual(
                    self.host("test/s/www"), "10.0.0.3" if b"/skydns/test/s/www" in self.etcd.pairs else None
                )

    def test_another(self) -> None:
        """An etcd with another history, restored or made anew, is read whole although its revisions are lower."""
        for _ in range(10):
            self.etcd.put("/skydns/test/s/www", {"host": "10.0.0.1"})
        made = self.begun()
        self.etcd.stop()
        self.reactor.settle()
        other = FakeEtcd(self.reactor)
        other.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        other.start(PORT)
        self.advance(store.PROBE + 10)
        self.assertEqual((self.host("test/s/new"), self.host("test/s/www")), ("10.0.0.2", None))
        self.assertEqual(made.revision, other.revision)
        made.stop()
        other.end()

    def test_members(self) -> None:
        """When a member is away, the next one is asked at once."""
        self.begun(Source(("http://127.0.0.1:1", URL)))
        self.assertEqual(self.host("test/s/www"), "10.0.0.1")

    def test_nonsense(self) -> None:
        """Answers that are not etcd's end nothing and change nothing."""
        made = self.begin()
        for body in (b"", b"[]", b"{", b'{"kvs": 1}', b'{"kvs": [{"key": "!"}]}', b"\xff", b"[" * 100_000):
            self.etcd.broken = body
            self.advance(61)
            self.assertFalse(made.synced, body)
            self.assertIn("not etcd's", self.wrong()[0]) if body else None
        self.etcd.broken = None
        self.advance(61)
        self.assertTrue(made.synced)

    def test_nonsense_in_a_watch(self) -> None:
        """After a line that cannot be read all keys are read again."""
        self.begun()
        (watch,) = self.etcd._watches
        self.etcd.frozen = True
        self.etcd.put("/skydns/test/s/new", {"host": "10.0.0.2"})
        self.etcd.frozen = False
        watch[0].write(b"nonsense\n")
        self.advance(5)
        self.assertEqual(self.host("test/s/new"), "10.0.0.2")


class LeaseTests(StoreCase):
    """Keys with a lease."""

    def left(self, key: str) -> float:
        """Seconds that a key's lease has, as far as is known."""
        assert self.store is not None
        entry = self.store.index.entry(tuple(part.encode() for part in key.split("/")))
        assert entry is not None and entry.lease is not None
        return entry.lease.ends - self.reactor.seconds()

    def test_known(self) -> None:
        """What is left of a lease is known when the start is over, and asked for again when half of it has passed."""
        number = self.etcd.grant(600)
        for name in ("a", "b"):
            self.etcd.put(f"/skydns/test/s/{name}", {"host": "10.0.0.1"}, number)
        self.begun()
        self.assertTrue(599 <= self.left("test/s/a") <= 600)
        self.assertEqual(self.etcd.asked.count("/v3/lease/timetolive"), 1)
        self.advance(250)
        self.etcd.keep_alive(number)
        self.assertTrue(348 <= self.left("test/s/b") <= 350)
        self.advance(60)
        self.assertTrue(537 <= self.left("test/s/b") <= 540)
        self.assertEqual(self.etcd.asked.count("/v3/lease/timetolive"), 2)

    def test_ended(self) -> None:
        """When a lease ends, its keys go at once, and it is not asked about again."""
        self.begun()
        self.etcd.put("/skydns/test/s/a", {"host": "10.0.0.1"}, self.etcd.grant(20))
        self.advance(1)
        self.assertEqual(self.host("test/s/a"), "10.0.0.1")
        self.advance(20)
        self.assertIsNone(self.host("test/s/a"))
        asked = self.etcd.asked.count("/v3/lease/timetolive")
        self.advance(100)
        self.assertEqual(self.etcd.asked.count("/v3/lease/timetolive"), asked)
        assert self.store is not None
        self.assertEqual(len(self.store._leases), 0)
