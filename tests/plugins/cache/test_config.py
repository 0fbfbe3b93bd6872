"""What a Corefile says about the cache."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import CorefileError
from kdns.plugins.cache import directive
from kdns.plugins.cache.config import CacheConfig, Limits, Prefetch, Stale
from kdns.wire.names import from_text
from tests.support import parsed


def config(words: str) -> CacheConfig:
    """The config of a block for the root with these words in it."""
    made = parsed(directive, f".:53 {{\n    {words}\n}}\n")
    assert isinstance(made, CacheConfig)
    return made


def options(*lines: str) -> CacheConfig:
    """The config of a cache with these options."""
    return config("cache {\n" + "\n".join(lines) + "\n}")


class ConfigTests(SynchronousTestCase):
    """Syntax, defaults and errors."""

    def test_defaults(self) -> None:
        """Without arguments all zones of the block are cached, an hour at most, half an hour what does not exist."""
        made = config("cache")
        self.assertEqual([zone.text for zone in made.zones], ["."])
        self.assertEqual(made.success, Limits(9984, 3600, 5, 9984 * 2048))
        self.assertEqual(made.denial, Limits(9984, 1800, 5, 9984 * 2048))
        self.assertEqual((made.prefetch, made.stale, made.servfail, made.keep_ttl), (None, None, 5, False))
        self.assertEqual((made.no_success, made.no_denial), (frozenset(), frozenset()))

    def test_ttl_and_zones(self) -> None:
        """A number first is the ceiling for both kinds; what is no number is a zone."""
        made = config("cache 30 Example.org 10.0.0.0/8")
        self.assertEqual((made.success.most_ttl, made.denial.most_ttl), (30, 30))
        self.assertEqual([zone.text for zone in made.zones], ["example.org.", "10.in-addr.arpa."])
        self.assertEqual([zone.text for zone in config("cache x").zones], ["x."])

    def test_capacity_comes_in_shards(self) -> None:
        """A capacity is rounded down to 256 equal shares of at least four entries."""
        made = options("success 10000 20 7", "denial 1")
        self.assertEqual(made.success, Limits(9984, 20, 7, 9984 * 2048))
        self.assertEqual(made.denial, Limits(1024, 1800, 5, 1024 * 2048))

    def test_size(self) -> None:
        """``size`` bounds the memory of both stores together."""
        made = options("size 8M")
        self.assertEqual((made.success.octets, made.denial.octets), (4 * 1024 * 1024, 4 * 1024 * 1024))

    def test_prefetch(self) -> None:
        """Gap and percentage have defaults; an amount of 0 is off."""
        self.assertEqual(options("prefetch 3").prefetch, Prefetch(3, 60.0, 10))
        self.assertEqual(options("prefetch 1 2m 90%").prefetch, Prefetch(1, 120.0, 90))
        self.assertIsNone(options("prefetch 0").prefetch)

    def test_serve_stale(self) -> None:
        """Each word of ``serve_stale`` in its place, in both modes."""
        self.assertEqual(options("serve_stale").stale, Stale(3600))
        self.assertEqual(options("serve_stale 2h immediate 30s 1m").stale, Stale(7200, ttl=30, recheck=60.0))
        self.assertEqual(
            options("serve_stale 1h Verify 500ms 30s 1m", "serve_stale_policy prefer_positive").stale,
            Stale(3600, True, 0.5, 30, 60.0, True),
        )

    def test_disable(self) -> None:
        """``disable`` takes zones, or all of the cache's block; the last line of one kind counts."""
        made = options("disable success a.test", "disable success b.test", "disable denial")
        self.assertEqual(made.no_success, frozenset((from_text("b.test"),)))
        self.assertEqual(made.no_denial, frozenset((from_text("."),)))

    def test_the_rest(self) -> None:
        """``keepttl`` and ``servfail``."""
        made = options("keepttl", "servfail 0")
        self.assertEqual((made.keep_ttl, made.servfail), (True, 0))

    def test_errors(self) -> None:
        """What cannot be is refused in the words that operators know."""
        place = "plugin/cache: Corefile:3 - Error during parsing: Wrong argument count or unexpected line ending after "
        for words, text in (
            ("frob 1", place + "'frob'"),
            ("success", place + "'success'"),
            ("keepttl 1", place + "'1'"),
            ("success {\nx\n}", place + "'success'"),
            ("serve_stale_policy", place + "'serve_stale_policy'"),
            ("serve_stale 1h immediate 1s 1s 1s", place + "'1s'"),
            ("prefetch 1 1m 5%", "plugin/cache: percentage should fall in range [10, 90]: 5"),
            ("prefetch 1 1m 50", "plugin/cache: last character of percentage should be `%`, but is: '0'"),
            ("prefetch 1 5", 'plugin/cache: time: missing unit in duration "5"'),
            ("prefetch -1", "plugin/cache: prefetch amount should be positive: -1"),
            ("servfail 6m", "plugin/cache: caching SERVFAIL responses over 5 minutes is not permitted"),
            ("servfail -1s", "plugin/cache: invalid negative ttl for servfail"),
            ("serve_stale 1h soon", "plugin/cache: invalid value for serve_stale refresh mode: soon"),
            ("serve_stale -1h", "plugin/cache: invalid negative duration for serve_stale"),
            ("serve_stale 1h immediate 0s 6m", "plugin/cache: serve_stale recheck over 5 minutes is not permitted"),
            ("serve_stale_policy prefer_positive", "plugin/cache: serve_stale_policy requires serve_stale"),
            ("disable x", 'plugin/cache: cache type for disable must be "success" or "denial"'),
            ("success 100 0", "plugin/cache: cache TTL can not be zero or negative: 0"),
            ("denial 100 5 -1", "plugin/cache: cache min TTL can not be negative: -1"),
            ("success many", 'plugin/cache: strconv.Atoi: parsing "many": invalid syntax'),
            ("size 1K", "plugin/cache: cache size should be at least 64K: 1K"),
        ):
            self.assertEqual(str(self.assertRaises(CorefileError, options, words)), text)
        for words, text in (
            ("cache 0", "plugin/cache: cache TTL can not be zero or negative: 0"),
            ("cache\n    cache", "plugin/cache: this plugin can only be used once per Server Block"),
            ("cache\n{\nsuccess 5\n}", "plugin/cache: this plugin can only be used once per Server Block"),
        ):
            self.assertEqual(str(self.assertRaises(CorefileError, config, words)), text)
