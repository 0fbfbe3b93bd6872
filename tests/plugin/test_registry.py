"""Tests of :mod:`kdns.plugin.registry`."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.errors import Place, SetupError
from kdns.corefile.order import DIRECTIVE_ORDER, OWN
from kdns.plugin import registry
from tests.support import lack

PLACE = Place("Corefile", 3)

PLUGIN = """
class Hello:
    name = "hello"
    def parse(self, tokens, block): return ()
    def build(self, config, builder): pass

class Half:
    def parse(self, tokens, block): return ()

directive = Hello()
"""


class BuiltInTests(SynchronousTestCase):
    """The directives that kdns has itself."""

    def test_all(self) -> None:
        """Each stands in the fixed order, can be imported, and carries the name it is found by."""
        for name in registry.BUILT_IN:
            directive = registry.find(name, PLACE)
            self.assertEqual(directive.name, name)
            place = getattr(directive, "after", getattr(directive, "before", "")) if name in OWN else name
            self.assertIn(place, DIRECTIVE_ORDER)

    def test_lacking(self) -> None:
        """A directive of CoreDNS's that kdns lacks is refused with words of its own."""
        lack(self, "sign")
        error = self.assertRaises(SetupError, registry.find, "sign", PLACE)
        self.assertIn("plugin/sign: Corefile:3 - Error during parsing: kdns does not have this plugin", str(error))


class ForeignTests(SynchronousTestCase):
    """Plugins from outside, by dotted name."""

    def module(self, text: str) -> str:
        """A new module that can be imported; its name."""
        folder = Path(self.mktemp())
        folder.mkdir()
        name = f"foreign_{folder.name.replace('.', '_').replace('-', '_')}"
        (folder / f"{name}.py").write_text(text)
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))
        self.addCleanup(sys.modules.pop, name, None)
        return name

    def test_module(self) -> None:
        """A module is found by its name, and its ``directive`` is the plugin."""
        name = self.module(PLUGIN)
        self.assertFalse(registry.accept(name))
        package = f"{name}.Hello"
        self.assertTrue(registry.accept(package))
        self.assertEqual(registry.find(package, PLACE).name, "hello")

    def test_unknown(self) -> None:
        """A dotted name of nothing is no plugin, so that the parser can say it knows no such directive."""
        self.assertFalse(registry.accept("no.such.module"))
        self.assertFalse(registry.accept("frobnicate"))
        self.assertFalse(registry.accept("a..b"))
        name = self.module(PLUGIN)
        self.assertFalse(registry.accept(f"{name}.Nothing"))

    def test_broken(self) -> None:
        """A plugin whose module cannot be imported is told with the reason."""
        for text, reason in (
            ("1 / 0", "ZeroDivisionError"),
            ("import no_such_thing", "no_such_thing"),
            ("x(", "SyntaxError"),
        ):
            name = f"{self.module(text)}.Thing"
            self.assertTrue(registry.accept(name))
            error = self.assertRaises(SetupError, registry.find, name, PLACE)
            self.assertIn(reason, str(error))

    def test_incomplete(self) -> None:
        """What has no ``build`` is no plugin."""
        error = self.assertRaises(SetupError, registry.find, f"{self.module(PLUGIN)}.Half", PLACE)
        self.assertIn("no build", str(error))


class OrderTests(SynchronousTestCase):
    """Where plugins stand."""

    def test_fixed(self) -> None:
        """Directives of CoreDNS's have its order."""
        names = sorted(["forward", "cache", "errors", "kubernetes"], key=lambda name: registry.order_of(name, None))
        self.assertEqual(names, ["errors", "cache", "kubernetes", "forward"])

    def test_foreign(self) -> None:
        """A foreign plugin stands where it says, by default in front of *loop*."""

        class Before:
            before = "cache"

        class After:
            after = "cache"

        ranked = {
            "x.before": Before(),
            "x.after": After(),
            "x.plain": object(),
            "cache": None,
            "hosts": None,
            "loop": None,
            "acl": None,
        }
        names = sorted(ranked, key=lambda name: registry.order_of(name, ranked[name]))
        self.assertEqual(names, ["acl", "x.before", "cache", "x.after", "hosts", "x.plain", "loop"])
