# -*- test-case-name: tests.test_references -*-
"""What docstrings, comments and documents refer to is there: modules, classes, functions, files."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]

ROLE = re.compile(r":(mod|class|func|meth|attr|data|exc):`[~!]?([^`<>]+)`")
FILE = re.compile(r"(?<![\w*./-])((?:[\w-]+/)*[\w-]+\.py)\b(?!\.)")
DOTTED = re.compile(r"(?<![\w./-])((?:kdns|tests)(?:\.[A-Za-z_]\w*)+)(?!\w*[/@])")

ELSEWHERE = frozenset(("plugin.py", "json.py", "sinkhole.py", "sinkhole4.py", "setup.py"))
"""Names of files in examples, and of no file here."""

NO_MODULES = frozenset(("kdns.service", "kdns.tac", "kdns.sock", "kdns.plugins"))
"""Dotted names of files and entry points."""


def sources() -> list[Path]:
    """All Python files."""
    return sorted(
        file for folder in ("kdns", "tests", "bench", "conf", "twisted") for file in (ROOT / folder).rglob("*.py")
    )


def module_of(file: Path) -> str:
    """The dotted name of a file's module."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def names_in(module: str) -> frozenset[str]:
    """What a module defines and imports, ``Class.attribute`` included; None is no module of ours."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return frozenset()
    return frozenset(_defined(ast.parse(file.read_text(encoding="utf-8")).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + node.name
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (prefix + (alias.asname or alias.name) for alias in node.names)
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body, f"{prefix}{node.name}.")
        if isinstance(node, (ast.If, ast.Try)):
            yield from _defined(node.body, prefix)
        for target in ast.walk(node):
            if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                yield prefix + target.id
            if prefix and isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):
                yield prefix + target.attr
            if (
                prefix
                and isinstance(target, ast.Constant)
                and isinstance(target.value, str)
                and target.value.isidentifier()
            ):
                yield prefix + target.value  # of __slots__


@cache
def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    if parts[0] not in ("kdns", "tests", "bench"):
        try:
            return find_spec(parts[0]) is not None
        except ValueError:
            return True
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.is_dir() or path.with_suffix(".py").is_file():
            rest = ".".join(parts[end:])
            return not rest or rest in names_in(".".join(parts[:end])) or _inherited(".".join(parts[:end]), parts[end:])
    return False


def _inherited(module: str, rest: list[str]) -> bool:
    """Whether it may be an attribute of a class that inherits or imports it: those are not followed."""
    return len(rest) > 1 and rest[0] in names_in(module)


class ReferenceTests(SynchronousTestCase):
    """Every reference leads somewhere."""

    def test_roles(self) -> None:
        """``:class:`` and the like in docstrings name something that there is, in full or in their own module."""
        wrong = []
        for file in sources():
            text, module = file.read_text(encoding="utf-8"), module_of(file)
            for kind, target in ROLE.findall(text):
                if target.startswith("."):
                    target = ".".join((*module.split(".")[:-1], target[1:]))
                if "." in target and target.split(".")[0] in ("kdns", "tests", "bench", "twisted"):
                    found = is_there(target)
                else:
                    local = names_in(module)
                    last = target.split(".")[-1]
                    found = (
                        kind == "meth"
                        or target in local
                        or hasattr(builtins, target)
                        or any(name.split(".")[-1] == last for name in local)
                    )
                    found = found or find_spec(target.split(".")[0]) is not None
                if not found:
                    wrong.append(f"{file.relative_to(ROOT)}: :{kind}:`{target}`")
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_names(self) -> None:
        """Dotted names of modules in documents and docstrings are there."""
        wrong = []
        for file, text in prose():
            for name in DOTTED.findall(text):
                if name not in NO_MODULES and not is_there(name):
                    wrong.append(f"{file.relative_to(ROOT)}: {name}")
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_files(self) -> None:
        """Names of Python files in documents and docstrings are names of files that there are."""
        files = {str(file.relative_to(ROOT)) for file in [*sources(), *(ROOT / "docs").rglob("*.py")]}
        tails = {file[len(file) - size :] for file in files for size in _tails(file)}
        wrong = []
        for file, text in prose():
            for name in FILE.findall(text):
                if name not in tails | ELSEWHERE:
                    wrong.append(f"{file.relative_to(ROOT)}: {name}")
        self.assertEqual(wrong, [], "\n".join(wrong))


def _tails(path: str) -> Iterator[int]:
    """The lengths of a path's ends that begin at a folder or are the file's name."""
    parts = path.split("/")
    yield from (len("/".join(parts[start:])) for start in range(len(parts)))


def prose() -> Iterator[tuple[Path, str]]:
    """Documents as a whole without their programs, and docstrings and comments of sources."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        yield page, re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for file in sources():
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        strings = [
            node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]
        comments = re.findall(r"^\s*#(?! -\*-)(.*)$", text, re.MULTILINE)
        yield file, "\n".join([*strings, *comments])
