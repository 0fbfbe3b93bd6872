# -*- test-case-name: tests.admin.test_commands -*-
"""
Commands of the admin socket: functions by name.

A function takes the arguments of the question and returns a dict that can be encoded as JSON, or a Deferred of one. Queries wait while a
command works, so it cuts long work into slices itself. It can encode a large part beforehand, as ``msgspec.Raw``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger(namespace="kdns.admin")

T = TypeVar("T")
Arguments: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, Any]
Command: TypeAlias = Callable[[Arguments], "Result | Deferred[Result] | Coroutine[Any, Any, Result]"]


class CommandError(Exception):
    """A command cannot be carried out; the text tells the operator why."""


class Commands:
    """Commands by name."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}

    def add(self, name: str, command: Command) -> None:
        """Add a command, or replace it."""
        self._commands[name] = command

    def ask(self, name: str, arguments: Arguments) -> Deferred[Result]:
        """
        Carry out a command.

        :raises CommandError: from the Deferred: it cannot be carried out.
        """
        return maybeDeferred(self._commands[name], arguments)  # type: ignore[call-overload,no-any-return]  # it knows no unions

    def replace(self, others: Commands) -> None:
        """Have the commands of *others* in place of one's own of the same names."""
        self._commands.update(others._commands)

    def run(self, line: bytes) -> Deferred[bytes]:
        """
        Carry out the question in a line.

        :return: the line of the reply, without its end; it never fails, and cancelling it cancels the command.
        """
        try:
            question = msgspec.json.decode(line, type=_Question)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return succeed(_error(f'the question is no JSON object with "command" and "arguments": {error}'))
        name = question.command
        command = self._commands.get(name)
        if command is None:
            known = ", ".join(sorted(self._commands))
            return succeed(_error(f"this kdns does not know the command {name!r}; it knows: {known}"))
        asked: Deferred[Result] = maybeDeferred(command, question.arguments)  # type: ignore[call-overload]  # it knows no unions
        return asked.addCallback(_reply).addErrback(_failed, name)


def text_of(arguments: Arguments, name: str, default: str = "") -> str:
    """
    The argument *name*, a text.

    :raises CommandError: it is something else.
    """
    value = arguments.get(name)
    return _checked(default if value is None else value, str, f"{name} must be a text")


def flag_of(arguments: Arguments, name: str) -> bool:
    """
    The argument *name*, true or false.

    :raises CommandError: it is something else.
    """
    return _checked(arguments.get(name, False), bool, f"{name} must be true or false")


def number_of(arguments: Arguments, name: str, default: int, most: int) -> int:
    """
    The argument *name*, a whole number from 0 to *most*.

    :raises CommandError: it is something else.
    """
    error = f"{name} must be a number from 0 to {most}"
    value = _checked(arguments.get(name, default), int, error)
    if not 0 <= value <= most:
        raise CommandError(error)
    return value


def _checked(value: Any, kind: type[T], error: str) -> T:
    if type(value) is not kind:
        raise CommandError(error)
    return value


class _Question(msgspec.Struct):
    command: str
    arguments: dict[str, Any] = {}


def _reply(result: Result) -> bytes:
    return msgspec.json.encode({"result": result})


def _error(text: str) -> bytes:
    return msgspec.json.encode({"error": text})


def _failed(failure: Failure, name: str) -> bytes:
    if failure.check(CommandError):
        return _error(failure.getErrorMessage())
    if failure.check(CancelledError):
        return _error("the question was dropped")
    log.failure("The admin command {name} failed on something unforeseen", failure=failure, name=name)
    return _error(f"kdns failed on something unforeseen: {type(failure.value).__name__}: {failure.getErrorMessage()}")
