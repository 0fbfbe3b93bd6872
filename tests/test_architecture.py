# -*- test-case-name: tests.test_architecture -*-
"""Imports point one way, and what must stay in one place stays there: read from the source, not from good intentions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]

SERVED = frozenset({"wire", "core", "zones", "cluster", "corefile", "plugin", "plugins", "server"})
"""The rooms of a server, which all those above it may import."""

BELOW: dict[str, frozenset[str]] = {
    "wire": frozenset(),
    "core": frozenset({"wire"}),
    "zones": frozenset({"wire", "core"}),
    "cluster": frozenset({"wire", "core"}),
    "corefile": frozenset({"wire", "core"}),
    "plugin": frozenset({"wire", "core", "corefile"}),
    "plugins": frozenset({"wire", "core", "zones", "cluster", "corefile", "plugin"}),
    "server": SERVED - {"server"},
    "admin": SERVED,
    "checking": SERVED,
    "embed": SERVED,
    "node_cache": SERVED - {"zones", "cluster", "server"},
    "workers": SERVED | {"admin"},
    "tap": SERVED | {"admin", "checking", "workers"},
    "cli": SERVED | {"admin", "checking", "node_cache", "tap"},
}
"""What each room may import besides itself; ``kdns.testing`` may import anything."""

EDGES = ("kdns.tap", "kdns.cli", "kdns.testing")
"""Where the global reactor may be asked for, inside functions."""

SHARED = ("kdns.wire", "kdns.core", "kdns.zones", "kdns.corefile")
"""Rooms without sockets, timers and threads."""


OCTETS = (
    "kdns.wire",
    "kdns.cluster.texts",  # of an IPv4 address
    # Not yet rewritten:
    "kdns.admin",
    "kdns.cli",
    "kdns.corefile",
    "kdns.embed.resolvers",
    "kdns.plugins.cache",
    "kdns.plugins.dns64",
    "kdns.plugins.pprof",
    "kdns.server.fast_forward",
    "kdns.server.fast_path",
    "kdns.server.gauges",
    "kdns.server.listener",
    "kdns.server.mmsg",
    "kdns.server.table",
)
"""Where octets may be named."""


@dataclass(frozen=True, slots=True)
class Import:
    """An import in a module of kdns."""

    module: str
    imported: str
    line: int
    inside: bool
    """Whether it stands in a function."""

    typing: bool
    """Whether only type checkers see it."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.imported}"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of kdns by its dotted name."""
    found = {}
    for file in sorted((ROOT / "kdns").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def source_of(name: str) -> str:
    """The text of a module."""
    path = ROOT.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8")


@cache
def all_imports() -> tuple[Import, ...]:
    """Every import of every module."""
    return tuple(found for name, tree in modules().items() for found in imports_of(name, tree))


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """All imports of a module, wherever they stand; ``from a import b`` as ``a.b``."""

    def walk(node: ast.AST, inside: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, inside, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            for alias in node.names:
                yield Import(module, f"{node.module}.{alias.name}", node.lineno, inside, typing)
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside, typing or guard)

    yield from walk(tree, False, False)


def is_in(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of *packages* or below one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


class ImportTests(SynchronousTestCase):
    """What kdns's modules import."""

    def setUp(self) -> None:
        """Read them all."""
        self.imports = all_imports()
        self.assertGreater(len(self.imports), 500, "the source was not found")

    def wrong(self, *found: Import) -> list[str]:
        """As lines."""
        return [str(one) for one in found]

    def test_one_way(self) -> None:
        """wire < core < cluster, corefile < plugins < server < admin, checking, workers < tap, cli; embed stands on server."""
        against = []
        for one in self.imports:
            room, _, _ = one.module.removeprefix("kdns.").partition(".")
            target, _, _ = one.imported.removeprefix("kdns.").partition(".")
            if not one.imported.startswith("kdns.") or room not in BELOW or target not in BELOW:
                continue
            if target != room and target not in BELOW[room] and not one.typing:
                against.append(one)
        self.assertEqual(self.wrong(*against), [])

    def test_every_room_has_its_place(self) -> None:
        """No package of kdns stands outside the order."""
        rooms = {name.split(".")[1] for name in modules() if name.count(".") >= 1}
        self.assertEqual(rooms - set(BELOW), {"testing", "__main__"})

    def test_one_client(self) -> None:
        """Only kdns.cluster.client imports the Kubernetes client, which blocks and is large, and it does so when asked."""
        found = [one for one in self.imports if is_in(one.imported, "kubernetes")]
        outside = [one for one in found if one.module != "kdns.cluster.client" or not one.inside]
        self.assertEqual(self.wrong(*outside), [])

    def test_clients_start_fast(self) -> None:
        """What a command asks a running server with imports nothing of Twisted, which would be most of its start."""
        clients = ("kdns.admin", "kdns.admin.client", "kdns.admin.places")
        found = [one for one in self.imports if one.module in clients and is_in(one.imported, "twisted", "msgspec")]
        self.assertEqual(self.wrong(*found), [])

    def test_reactor(self) -> None:
        """The global reactor is asked for at the edges, inside functions, and nowhere else."""
        found = [one for one in self.imports if one.imported == "twisted.internet.reactor"]
        self.assertTrue(found)
        outside = [one for one in found if not one.inside or not is_in(one.module, *EDGES)]
        self.assertEqual(self.wrong(*outside), [])

    def test_fakes_stay_in_tests(self) -> None:
        """Nothing that serves imports kdns.testing."""
        found = [one for one in self.imports if is_in(one.imported, "kdns.testing")]
        self.assertEqual(self.wrong(*[one for one in found if not is_in(one.module, "kdns.testing")]), [])

    def test_cores_know_no_network(self) -> None:
        """The shared rooms import nothing of twisted.internet but Deferreds, no sockets, no threads and no clocks."""
        found = []
        for one in self.imports:
            if not is_in(one.module, *SHARED):
                continue
            network = is_in(one.imported, "twisted.internet") and not is_in(one.imported, "twisted.internet.defer")
            system = is_in(one.imported, "socket", "threading", "asyncio", "subprocess", "time", "selectors")
            if network or system:
                found.append(one)
        self.assertEqual(self.wrong(*found), [])

    def test_no_names_on_the_way_of_a_query(self) -> None:
        """twisted.names, whose codec is too slow and too trusting for a server, is used at the seam to it alone."""
        found = [one for one in self.imports if is_in(one.imported, "twisted.names")]
        outside = [one for one in found if not is_in(one.module, "kdns.embed", "kdns.testing")]
        self.assertEqual(self.wrong(*outside), [])


class ModuleTests(SynchronousTestCase):
    """What every module has."""

    def test_one_helper(self) -> None:
        """Reasons of the system and addresses with ports are written by kdns.core.text alone."""
        own = re.compile(r"strerror or |f\"\[\{[\w.]+\}\].*\" if \":\" in")
        found = [
            f"{name}:{number}"
            for name in modules()
            for number, line in enumerate(source_of(name).splitlines(), 1)
            if name != "kdns.core.text" and own.search(line)
        ]
        self.assertEqual(found, [])

    def test_bytes(self) -> None:
        """Code and prose say bytes; octets are left to the encodings that RFCs define."""
        word = re.compile("octet", re.IGNORECASE)
        found = [name for name in modules() if word.search(source_of(name)) and not is_in(name, *OCTETS)]
        self.assertEqual(found, [])

    def test_docstrings(self) -> None:
        """Every module says what it is for."""
        self.assertEqual([name for name, tree in modules().items() if not ast.get_docstring(tree)], [])

    def test_tests_exist(self) -> None:
        """The test-case-name in a module's first line names a test that there is."""
        missing = []
        for file in sorted([*(ROOT / "kdns").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
            first, _, _ = file.read_text(encoding="utf-8").partition("\n")
            for name in first.partition("test-case-name:")[2].removesuffix("-*-").split(","):
                path = ROOT / Path(*name.strip().split("."))
                if name.strip() and not path.is_dir() and not path.with_suffix(".py").exists():
                    missing.append(f"{file.relative_to(ROOT)}: {name.strip()}")
        self.assertEqual(missing, [])

    def test_no_init_beside_the_plugin(self) -> None:
        """The folders twisted and twisted/plugins are no packages, or Twisted's own would be hidden."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_packages_are_shipped(self) -> None:
        """Every package is in setup.cfg, and nothing is that there is not."""
        config = ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        listed = set(config["options"]["packages"].split())
        there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "kdns").rglob("__init__.py")}
        self.assertEqual(listed, there | {"twisted.plugins"})
