# -*- test-case-name: tests.plugins.test_on -*-
"""
``on EVENT COMMAND...``: programs that are started when kdns has started, and before it ends.

A Corefile often comes from a ConfigMap that more people may write than may run programs where kdns runs. So this is off unless the command
line of kdns allows it.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from enum import Enum
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.timing import Timer, stop_timer
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import ParseError, SetupError
from kdns.plugin.seam import Block, BlockBuilder, Resource, ServerContext

log = Logger(namespace="hook/on")

PATIENCE = 60.0
"""Seconds that the end of kdns waits for a program."""


class Event(Enum):
    """When a program is started."""

    STARTUP = "startup"
    """When queries are answered."""

    SHUTDOWN = "shutdown"
    """When the process is about to end, and still answers."""

    CERTRENEW = "certrenew"
    """Never: kdns renews no certificates."""


@dataclass(frozen=True, slots=True)
class Command:
    """One ``on``."""

    event: Event
    words: tuple[str, ...]
    """The program and its arguments."""

    background: bool = False
    """Whether nobody waits for its end."""

    def __str__(self) -> str:
        return " ".join(self.words)


class OnDirective:
    """See :class:`kdns.plugin.seam.Directive`."""

    name = "on"

    def parse(self, tokens: Dispenser, block: Block) -> tuple[Command, ...]:
        """``on EVENT COMMAND...``, any number of them; errors do not name the plugin."""
        return tuple(_command(tokens) for _ in tokens.invocations())

    def build(self, config: tuple[Command, ...], builder: BlockBuilder) -> None:
        """
        Start the programs with this configuration.

        :raises SetupError: the command line does not allow it.
        """
        if not builder.context.programs:
            text = "programs are started only if the command line says -allow-programs"
            raise SetupError(text, plugin=self.name, located=False)
        builder.keep(("on", builder.number), config, lambda: Programs(config, builder.context))


directive = OnDirective()


def _command(tokens: Dispenser) -> Command:
    event_word = tokens.next_arg()
    if event_word is None:
        raise ParseError(f"Wrong argument count or unexpected line ending after '{tokens.val}'", place=tokens.place)
    try:
        event = Event(event_word.lower())
    except ValueError:
        raise ParseError(f"Wrong event name or event not supported: '{event_word}'", place=tokens.place) from None
    words, place = tokens.remaining_args(), tokens.place
    for _ in tokens.block():
        raise ParseError("Unexpected token '{', expecting argument", place=place)
    background = len(words) > 1 and words[-1] == "&"
    text = " ".join(words[:-1] if background else words)
    try:
        parts = shlex.split(text)
    except ValueError as error:
        reason = "EOF found when expecting closing quote." if "quotation" in str(error) else f"{error}."
        raise ParseError(f"error parsing command: {reason}", place=place) from None
    if not parts:
        raise ParseError("no command contained in ''", place=place)
    return Command(event, tuple(parts), background)


class Programs(Resource):
    """The programs of one server block."""

    at_parent = True

    def __init__(self, commands: tuple[Command, ...], context: ServerContext) -> None:
        self._commands = commands
        self._context = context
        self._running: set[_Running] = set()

    def serving(self) -> None:
        """Start those of the start, one after another where one is to be waited for."""
        self._run_all(Event.STARTUP)

    def leave(self) -> Deferred[None] | None:
        """Start those of the end, and wait for them."""
        return self._run_all(Event.SHUTDOWN)

    def stop(self) -> None:
        """Wait for none of them any more; those that run go on."""
        for running in list(self._running):
            running.over()

    def _run_all(self, event: Event) -> Deferred[None]:
        return Deferred.fromCoroutine(self._each([one for one in self._commands if one.event is event]))

    async def _each(self, commands: list[Command]) -> None:
        for command in commands:
            ended = self._run(command)
            if not command.background:
                await ended

    def _run(self, command: Command) -> Deferred[None]:
        """Start a program; fires when it has ended, or after :data:`PATIENCE`, and never fails."""
        ident, reactor = str(uuid4()), self._context.reactor
        kind = "Nonblocking" if command.background else "Blocking"
        log.info('{kind} Command "{command}" with ID {ident}', kind=kind, command=str(command), ident=ident)
        running = _Running(ident, self._context)
        self._running.add(running)
        running.ended.addCallback(lambda _: self._running.discard(running))
        if not IReactorProcess.providedBy(reactor):
            return running.failed("this reactor starts no programs")
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            # What it prints goes where kdns prints.
            reactor.spawnProcess(
                running, command.words[0], command.words, dict(self._context.environ), childFDs={0: nothing, 1: 1, 2: 2}
            )
        except (OSError, ValueError) as error:
            return running.failed(str(error))
        finally:
            os.close(nothing)
        return running.ended


class _Running(ProcessProtocol):
    """A program that runs."""

    def __init__(self, ident: str, context: ServerContext) -> None:
        self._ident = ident
        self.ended: Deferred[None] = Deferred()
        self._timer: Timer | None = context.reactor.callLater(PATIENCE, self.failed, f"it runs for {PATIENCE:.0f} s")

    def failed(self, reason: str) -> Deferred[None]:
        """Something went wrong: say so, and wait no longer."""
        log.error("error on 'on-{ident}' hook: {reason}", ident=self._ident, reason=reason)
        return self.over()

    def processEnded(self, reason: Failure) -> None:
        """It has ended."""
        status = getattr(reason.value, "exitCode", None)
        if status == 0 or self.ended.called:
            self.over()
        else:
            self.failed(f"exit status {status}" if status is not None else reason.getErrorMessage())

    def over(self) -> Deferred[None]:
        """Nobody waits for it any more."""
        stop_timer(self._timer)
        self._timer = None
        if not self.ended.called:
            self.ended.callback(None)
        return self.ended
