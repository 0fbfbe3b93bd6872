"""What is guessed of unknown words."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.guesses import EXTERNAL, OBSOLETE, OBSOLETE_OPTIONS, directive_hint, nearest_hint, option_hint
from kdns.corefile.order import DIRECTIVE_ORDER
from kdns.plugin.registry import BUILT_IN


class GuessTests(SynchronousTestCase):
    """Directives and options."""

    def test_misspelt(self) -> None:
        """A misspelling leads to the directive that was meant."""
        for word, meant in (
            ("cach", "cache"), ("cahce", "cache"), ("whaomi", "whoami"), ("logg", "log"), ("lgo", "log"), ("Forward", "forward"),
            ("eror", "errors"), ("forwrad", "forward"), ("heath", "health"), ("promethues", "prometheus"), ("host", "hosts"),
            ("kubernets", "kubernetes"), ("load_balance", "loadbalance"), ("redy", "ready"), ("bnid", "bind"),
        ):  # fmt: skip
            self.assertEqual(directive_hint(word, BUILT_IN), f"did you mean '{meant}'?", word)

    def test_no_bad_guess(self) -> None:
        """A word that is no misspelling leads nowhere, and never to a directive that resembles it by chance."""
        for word in ("k8s", "dns", "block", "readme", "resolve", "x", "ldap", "unknown", "stubzone", "zone"):
            self.assertIsNone(directive_hint(word, BUILT_IN), word)

    def test_external(self) -> None:
        """A plugin of another build of CoreDNS is named as one, with what to do."""
        for word in ("k8s_gateway", "mdns", "redis", "records", "fanout"):
            hint = directive_hint(word, BUILT_IN) or ""
            self.assertIn("external plugin of CoreDNS", hint)
            self.assertNotIn("did you mean", hint)
        self.assertEqual(set(EXTERNAL) & set(DIRECTIVE_ORDER), set())
        self.assertEqual(set(OBSOLETE) & set(DIRECTIVE_ORDER), set())

    def test_obsolete(self) -> None:
        """A word of old versions leads to what replaced it."""
        self.assertIn("forward . 10.0.0.1", directive_hint("proxy", BUILT_IN) or "")
        self.assertIn("resynchronization", option_hint("kubernetes", "resyncperiod", ("ttl",)) or "")
        self.assertEqual(option_hint("cache", "sucess", ("success",)), "did you mean 'success'?")
        self.assertEqual({name for name, _ in OBSOLETE_OPTIONS} - set(BUILT_IN), set())

    def test_long(self) -> None:
        """A word longer than all known names is compared with none."""
        self.assertIsNone(nearest_hint("x" * 65, ["x" * 64]))
