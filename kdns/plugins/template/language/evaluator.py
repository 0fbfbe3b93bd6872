# -*- test-case-name: tests.plugins.template.language.test_evaluator -*-
"""
Carry out a template with data.

What it may use is bounded: steps (:class:`Budget`), the length of each text (:data:`~.printing.MAX_TEXT`), the depth of templates inside
templates. All end in :class:`TemplateError`, as does what Go calls an error of execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdns.plugins.template.language.errors import CallFailed, TemplateError
from kdns.plugins.template.language.functions import FUNCTIONS
from kdns.plugins.template.language.lexer import position
from kdns.plugins.template.language.nodes import (
    Action,
    Branch,
    Command,
    Constant,
    Function,
    Include,
    Jump,
    Node,
    Path,
    Pipeline,
    Text,
    Tree,
)
from kdns.plugins.template.language.printing import MAX_TEXT, bounded, shown
from kdns.plugins.template.language.values import NO_VALUE, Struct, Value, is_true, type_name

MAX_STEPS = 2000
"""
Commands and pieces of text that may be carried out for one reply, 2 to 4 ms of work.

A range over a group of labels takes some tens, and nothing that makes a record needs a thousand.
"""

CHARACTERS_A_STEP = 64
"""A command that takes or makes a longer text costs as many more steps."""

MAX_INCLUDES = 30
"""Templates inside each other while they are carried out: one may use itself."""


class Budget:
    """What the templates of one reply may use together."""

    __slots__ = ("_steps",)

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._steps = steps

    def spend(self, steps: int = 1) -> bool:
        """Whether so many steps were left."""
        self._steps -= steps
        return self._steps >= 0


class Template:
    """
    A template that can be rendered.

    :ivar name: how errors call it.
    :ivar text: as written.
    """

    __slots__ = ("name", "text", "tree")

    def __init__(self, name: str, text: str, tree: Tree) -> None:
        self.name = name
        self.text = text
        self.tree = tree

    def render(self, data: Value, budget: Budget | None = None) -> str:
        """
        The text for *data*. Bytes that are no UTF-8 are surrogate escapes in it.

        :raises TemplateError: it cannot be made, or takes more than the budget.
        """
        run = _Run(self, data, budget or Budget())
        run.body(self.tree.body, data)
        return run.result()

    def __str__(self) -> str:
        return str(self.tree)

    def __repr__(self) -> str:
        return f"Template({self.name!r}, {self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and (other.name, other.text) == (self.name, self.text)

    def __hash__(self) -> int:
        return hash((self.name, self.text))


class _Break(Exception):
    """``{{ break }}``."""


class _Continue(Exception):
    """``{{ continue }}``."""


class _Run:
    """One execution: the text so far, and the variables in sight."""

    def __init__(self, template: Template, data: Value, budget: Budget) -> None:
        self._template = template
        self._context = template.name
        self._budget = budget
        self._parts: list[str] = []
        self._size = 0
        self._variables: list[tuple[str, Value]] = [("$", data)]
        self._includes = 0

    def result(self) -> str:
        return "".join(self._parts)

    def body(self, nodes: Iterable[Node], dot: Value) -> None:
        for node in nodes:
            match node:
                case Text():
                    self._spend(node)
                    self._write(node, node.text)
                case Action():
                    value = self._pipeline(node.pipeline, dot)
                    if not node.pipeline.variables:
                        self._write(node, self._shown(node.pipeline, value))
                case Branch(keyword="range"):
                    self._range(node, dot)
                case Branch():
                    self._branch(node, dot)
                case Include():
                    self._include(node, dot)
                case Jump():
                    raise _Break if node.keyword == "break" else _Continue

    def _error(self, node: Node, reason: str) -> TemplateError:
        line, column = position(self._template.text, node.offset)
        where = f"{self._template.name}:{line}:{column - 1}"
        source = str(node)
        source = source if len(source) <= 20 else source[:20] + "..."
        return TemplateError(f'template: {where}: executing "{self._context}" at <{source}>: {reason}')

    def _spend(self, node: Node, size: int = 0) -> None:
        if not self._budget.spend(1 + size // CHARACTERS_A_STEP):
            raise self._error(node, f"more than {MAX_STEPS} steps")

    def _write(self, node: Node, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise self._error(node, f"text of more than {MAX_TEXT} characters")
        self._parts.append(text)

    def _shown(self, node: Node, value: Value) -> str:
        text = "<no value>" if value is None else shown(value)
        self._spend(node, len(text))
        return text

    # Control

    def _branch(self, node: Branch, dot: Value) -> None:
        known = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        if is_true(value):
            self.body(node.body, value if node.keyword == "with" else dot)
        elif node.otherwise is not None:
            self.body(node.otherwise, dot)
        del self._variables[known:]

    def _range(self, node: Branch, dot: Value) -> None:
        known = len(self._variables)
        value = self._pipeline(node.pipeline, dot)
        names = node.pipeline.variables
        pairs = self._pairs(node, value)
        empty = True
        inner = len(self._variables)
        for key, element in pairs:
            empty = False
            self._spend(node)
            if len(names) == 1:
                self._assign(node.pipeline, names[0], element)
            elif names:
                self._assign(node.pipeline, names[0], key)
                self._assign(node.pipeline, names[1], element)
            try:
                self.body(node.body, element)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self._variables[inner:]
        del self._variables[known:]
        if empty and node.otherwise is not None:
            self.body(node.otherwise, dot)

    def _pairs(self, node: Branch, value: Value) -> Iterable[tuple[Value, Value]]:
        match value:
            case list() | tuple():
                return enumerate(value)
            case dict():
                return sorted(value.items())
            case bool():
                pass
            case int():
                if len(node.pipeline.variables) > 1:
                    raise self._error(node.pipeline, f"can't use {int(value)} to iterate over more than one variable")
                return ((index, index) for index in range(value))
            case None:
                return ()
        if value is NO_VALUE:
            return ()
        raise self._error(node.pipeline, f"range can't iterate over {shown(value)}")

    def _include(self, node: Include, dot: Value) -> None:
        body = self._template.tree.defined.get(node.name)
        if body is None:
            raise self._error(node, f'template "{node.name}" not defined')
        self._includes += 1
        if self._includes > MAX_INCLUDES:
            raise self._error(node, f"templates inside each other more than {MAX_INCLUDES} deep")
        data = NO_VALUE if node.pipeline is None else self._pipeline(node.pipeline, dot)
        variables, context = self._variables, self._context
        self._variables, self._context = [("$", data)], node.name
        self._spend(node)
        self.body(body, data)
        self._variables, self._context = variables, context
        self._includes -= 1

    # Values

    def _pipeline(self, pipeline: Pipeline, dot: Value) -> Value:
        value: tuple[Value, ...] = ()
        for command in pipeline.commands:
            value = (self._command(command, dot, value),)
        (result,) = value
        if len(pipeline.variables) == 1:
            self._assign(pipeline, pipeline.variables[0], result)
        return result

    def _assign(self, pipeline: Pipeline, name: str, value: Value) -> None:
        if pipeline.declares:
            self._variables.append((name, value))
            return
        for index in range(len(self._variables) - 1, -1, -1):
            if self._variables[index][0] == name:
                self._variables[index] = (name, value)
                return

    def _variable(self, name: str) -> Value:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise AssertionError(f"the parser knows no variable {name}")

    def _command(self, command: Command, dot: Value, last: tuple[Value, ...]) -> Value:
        first, rest = command.words[0], command.words[1:]
        self._spend(command)
        if isinstance(first, Function):
            return self._call(command, first.name, rest, dot, last)
        if isinstance(first, Path) and first.fields:
            return self._fields(first, dot, rest, last)
        if rest or last:
            raise self._error(command, f"can't give argument to non-function {first}")
        return self._word(first, dot)

    def _word(self, word: Node, dot: Value) -> Value:
        match word:
            case Constant():
                return word.value
            case Pipeline():
                return self._pipeline(word, dot)
            case Function():
                return self._call(word, word.name, (), dot, ())
            case Path():
                return self._fields(word, dot, (), ())
        raise AssertionError(f"no word: {word!r}")

    def _call(self, node: Node, name: str, rest: Sequence[Node], dot: Value, last: tuple[Value, ...]) -> Value:
        implementation = FUNCTIONS[name]
        if implementation is None:
            return self._and_or(node, name, rest, dot, last)
        args = [*(self._word(word, dot) for word in rest), *last]
        self._spend(node, sum(len(arg) for arg in args if isinstance(arg, str)))
        try:
            value = implementation(args)
            if isinstance(value, str):
                bounded(value)
        except CallFailed as error:
            raise self._error(node, f"error calling {name}: {error}") from None
        if isinstance(value, str):
            self._spend(node, len(value))
        return value

    def _and_or(self, node: Node, name: str, rest: Sequence[Node], dot: Value, last: tuple[Value, ...]) -> Value:
        """The first argument that decides; those behind it are not computed."""
        if not rest and not last:
            raise self._error(node, f"wrong number of args for {name}: want at least 1 got 0")
        value: Value = None
        for word in rest:
            value = self._word(word, dot)
            if is_true(value) is (name == "or"):
                return value
        return last[0] if last else value

    def _fields(self, path: Path, dot: Value, rest: Sequence[Node], last: tuple[Value, ...]) -> Value:
        match path.start:
            case Pipeline():
                value = self._pipeline(path.start, dot)
            case "":
                value = dot
            case name:
                value = self._variable(name)
        final = len(path.fields) - 1
        for number, name in enumerate(path.fields):
            if number == final:
                args = [*(self._word(word, dot) for word in rest), *last]
                value = self._field(path, value, name, args)
            else:
                value = self._field(path, value, name, ())
        return value

    def _field(self, path: Path, value: Value, name: str, args: Sequence[Value]) -> Value:
        if isinstance(value, Struct):
            method = value.method(name)
            if method is not None:
                if len(args) != 1:
                    raise self._error(path, f"wrong number of args for {name}: want 1 got {len(args)}")
                if not isinstance(args[0], str):
                    raise self._error(path, f"wrong type for value; expected string; got {type_name(args[0])}")
                return method(args[0])
            try:
                result = value.read(name)
            except KeyError:
                raise self._error(path, f"can't evaluate field {name} in type {value.go_type}") from None
        elif isinstance(value, dict):
            result = value.get(name, NO_VALUE)
        elif value is None or value is NO_VALUE:
            raise self._error(
                path,
                f"nil data; no entry for key {name!r}" if value is None else f"can't evaluate field {name}: no value",
            )
        else:
            raise self._error(path, f"can't evaluate field {name} in type {type_name(value)}")
        if args:
            what = (
                "is not a method but has arguments"
                if isinstance(value, dict)
                else "has arguments but cannot be invoked as function"
            )
            raise self._error(path, f"{name} {what}")
        return result
