# -*- test-case-name: tests.cli.test_main -*-
"""
``kdns``: the command. It does what CoreDNS's command does with the same flags, and ends with the same exit status.

A first word that is no flag is a command of kdns's own (``kdns check``), each in a module of this room. Everything that takes time to
import is imported when it is known to be needed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdns.cli.flags import HELP, BadFlags, Flags, parse_flags
from kdns.core.text import printable, reason_of

if TYPE_CHECKING:
    from kdns.corefile.errors import CorefileError
    from kdns.corefile.loader import Corefile
    from kdns.tap.daemon import Daemon

COMMANDS: dict[str, str] = {
    "cache": "kdns.cli.cache",
    "check": "kdns.cli.check",
    "explain": "kdns.cli.explain",
    "node-cache": "kdns.cli.node_cache",
    "plan": "kdns.cli.plan",
    "status": "kdns.cli.status",
    "translate": "kdns.cli.translate",
}
"""kdns's own commands: the word, and the module whose ``main(arguments)`` runs it and returns the exit status."""

CANNOT_START, BAD_USAGE, PIPE_CLOSED = 1, 2, 128 + signal.SIGPIPE
"""Exit status of a bad configuration or argument, of an unknown flag, and when nobody reads the output to its end (``| head``)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param arguments: the words behind the program's name; the process's own by default.
    :return: the exit status.
    """
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:  # it was closed before the start
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains when it ends
        return PIPE_CLOSED
    return status


def _run(words: Sequence[str]) -> int:
    first, rest = (words[0], words[1:]) if words else ("", words)
    if first == "help" and rest and rest[0] in COMMANDS:
        first, rest = rest[0], ["-h"]
    if first in COMMANDS:
        return int(import_module(COMMANDS[first]).main(rest))
    if first in ("help", "version"):
        words = [f"-{first}", *rest]
    try:
        flags = parse_flags(words)
    except BadFlags as error:
        print(printable(f"{error}{_advice(first)}"), file=sys.stderr)
        if error.usage:
            sys.stderr.write(HELP)
        return BAD_USAGE if error.usage else CANNOT_START
    if flags.help:
        sys.stderr.write(HELP)
        return 0
    if flags.version:
        from kdns.tap.daemon import version_lines

        print(*version_lines(), sep="\n")
        return 0
    if flags.plugins:
        sys.stdout.write(plugin_list())
        return 0
    return serve(flags)


def _advice(word: str) -> str:
    """What may have been meant by a first word that is no flag."""
    if not word or word.startswith("-"):
        return ""
    from kdns.corefile.guesses import nearest_hint

    hint = nearest_hint(word, (*COMMANDS, "help", "version"))
    if hint is None and os.path.isfile(word):
        hint = f"to serve a Corefile: kdns -conf {word}"
    return f" ({hint})" if hint else ""


def plugin_list() -> str:
    """The plugins, in CoreDNS's form, so that a script that looks for ``dns.cache`` finds it."""
    from kdns.plugin.registry import BUILT_IN, foreign_names

    names = sorted(f"dns.{name}" for name in (*BUILT_IN, *foreign_names()))
    lines = ("Server types:", "  dns", "", "Other plugins:", *(f"  {name}" for name in names))
    return "\n".join(lines) + "\n"


def serve(flags: Flags, greeting: str = "") -> int:
    """
    Serve until a signal ends it.

    :param greeting: a text to show when queries are answered.
    """
    prepare()
    from kdns.tap.daemon import CorefileSource

    corefile = CorefileSource(flags.conf, os.environ, flags.port, flags.may_miss)
    return run_daemon(flags, corefile.load, corefile.explain, greeting=greeting, take_over=flags.takeover)


def run_daemon(
    flags: Flags,
    load: Callable[[], Corefile],
    explain: Callable[[CorefileError], str],
    *,
    greeting: str = "",
    take_over: bool = False,
    attach: Callable[[Daemon], None] = lambda daemon: None,
    leave: Callable[[int], None] = os._exit,
) -> int:
    """
    Serve what *load* reads until a signal ends it; see :class:`kdns.tap.daemon.Daemon` for the parameters that are not here.

    Call :func:`prepare` first.

    :param attach: told of the daemon before it starts.
    :return: the exit status.
    """
    from twisted.internet import reactor as running
    from twisted.logger import globalLogBeginner

    from kdns.tap.daemon import Daemon

    reactor: Any = running  # to mypy it is a module
    daemon = Daemon(
        reactor,
        load,
        explain=explain,
        dns_port=flags.port,
        quiet=flags.quiet,
        log_format=flags.log_format,
        greeting=greeting,
        admin=flags.admin,
        take_over=take_over,
        programs=flags.programs,
        workers=flags.workers,
        leave=leave,
    )
    attach(daemon)
    observers: list[Any] = [daemon.observer]
    globalLogBeginner.beginLoggingTo(observers, discardBuffer=True, redirectStandardIO=False)
    written = _write_pid(flags.pidfile)
    try:
        daemon.startService()
        if not daemon.status:
            reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
            reactor.run()
    finally:
        if written:
            _remove(flags.pidfile)
    return daemon.status


def prepare() -> None:
    """Prepare this process for a daemon, before anything large is imported."""
    # What the imports and the first sync make is there to stay: to look through it for garbage again and again is a tenth of the start.
    gc.disable()  # the daemon's GarbagePlan enables it when queries are answered
    # A socket that got the number of standard input, output or errors, where these were closed, would be written to.
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free, which is this one


def _write_pid(path: str) -> bool:
    if not path:
        return False
    try:
        with open(path, "w", encoding="ascii", opener=_without_waiting) as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        print(f"[ERROR] Could not write pidfile: open {path}: {reason_of(error)}", file=sys.stderr)
        return False
    return True


def _without_waiting(path: str, flags: int) -> int:
    """Open a file to write, and fail where that is a pipe that nobody reads: to wait for a reader would be for ever."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # somebody else removed it; there is nothing to tell a process that ends


if __name__ == "__main__":
    sys.exit(main())
