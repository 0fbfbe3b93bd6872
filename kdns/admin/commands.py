# -*- test-case-name: tests.admin.test_commands -*-
"""
What a running server can be asked over its admin socket: functions by name.

A function takes the arguments of the question and returns a dict that can be written as JSON, at once or later. What takes long must be
cut into slices by itself: queries wait meanwhile. A part that is large can be written beforehand, as ``msgspec.Raw``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger(namespace="kdns.admin")

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
        """*command* answers to *name* from now on."""
        self._commands[name] = command

    def run(self, line: bytes) -> Deferred[bytes]:
        """
        Carry out what a line asks for.

        :return: the line to reply with, without its end; it never fails, and cancelling it cancels the command.
        """
        try:
            name, arguments = _question(line)
            command = self._commands.get(name)
            if command is None:
                known = ", ".join(sorted(self._commands))
                raise CommandError(f"this kdns does not know the command {name!r}; it knows: {known}")
        except CommandError as error:
            return succeed(_error(str(error)))
        asked: Deferred[Result] = maybeDeferred(command, arguments)  # type: ignore[call-overload]  # it tells no unions
        return asked.addCallback(_reply).addErrback(_failed, name)


def text_of(arguments: Arguments, name: str, default: str = "") -> str:
    """
    The argument *name*, a text.

    :raises CommandError: it is none.
    """
    value = arguments.get(name, default)
    if value is None:
        return default
    if not isinstance(value, str):
        raise CommandError(f"{name} must be a text")
    return value


def flag_of(arguments: Arguments, name: str) -> bool:
    """
    The argument *name*, true or false.

    :raises CommandError: it is neither.
    """
    value = arguments.get(name, False)
    if not isinstance(value, bool):
        raise CommandError(f"{name} must be true or false")
    return value


def number_of(arguments: Arguments, name: str, default: int, most: int) -> int:
    """
    The argument *name*, a whole number from 0 to *most*.

    :raises CommandError: it is none.
    """
    value = arguments.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise CommandError(f"{name} must be a number from 0 to {most}")
    return value


def _question(line: bytes) -> tuple[str, Arguments]:
    try:
        asked = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CommandError("the question is no JSON") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("command"), str):
        raise CommandError('the question is no object with a "command"')
    arguments = asked.get("arguments", {})
    if not isinstance(arguments, dict):
        raise CommandError('"arguments" is no object')
    return asked["command"], arguments


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
