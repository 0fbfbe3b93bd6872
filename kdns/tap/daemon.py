# -*- test-case-name: tests.tap.test_daemon -*-
"""
The daemon: a kdns service that owns its process. It handles signals, writes lines to standard output, and sets the exit status.

``kdns`` and ``twistd kdns`` run this same object. A program that serves DNS among other things uses
:class:`kdns.server.service.KdnsService` instead, which does none of this.
"""

from __future__ import annotations

import atexit
import os
import platform
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger, textFileLogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

import twisted
from kdns import __version__
from kdns.admin.command_list import commands_of
from kdns.admin.places import OFF
from kdns.admin.service import AdminSocket
from kdns.corefile.errors import CorefileError
from kdns.corefile.loader import Corefile
from kdns.plugin.descriptors import raise_descriptor_limit
from kdns.plugin.seam import Output, ServerContext, Unavailable
from kdns.server.assembly import Configuration, read, read_text
from kdns.server.logs import LogLine, OperatorLog, line_format
from kdns.server.output import LineWriter, unblocked
from kdns.server.service import KdnsService
from kdns.tap.clock import use_monotonic_clock
from kdns.tap.garbage import GarbagePlan
from kdns.tap.notify import ServiceManager
from kdns.tap.signals import Signals

if TYPE_CHECKING:
    from kdns.tap.workers import Workers

log = Logger(namespace="kdns")

STDIN = "stdin"
"""The Corefile name that means standard input."""

FAILED, HOOK_FAILED = 1, 4
"""Exit status when it cannot serve, and when something failed during its end."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def version_lines() -> tuple[str, str]:
    """Name and version, and what it runs on."""
    machine = platform.machine()
    on = f"{platform.system().lower()}/{_MACHINES.get(machine, machine)}"
    return f"kdns-{__version__}", f"{on}, python{platform.python_version()}, twisted-{twisted.__version__}"


class CorefileSource:
    """
    The Corefile that a command line names.

    :param conf: a path, ``stdin``, or None for ``Corefile`` if there is one.
    :param may_miss: directives that are left out where nobody has them.
    """

    def __init__(
        self, conf: str | None, environment: Mapping[str, str], dns_port: int = 53, may_miss: Collection[str] = ()
    ) -> None:
        self._may_miss = may_miss
        self._conf = conf or None
        self._environment = environment
        self._dns_port = dns_port
        self._text: str | None = None

    def load(self) -> Corefile:
        """
        Read it, at the start and for each reload.

        :raises CorefileError: it is none.
        """
        if self._conf != STDIN:
            return read(self._conf, self._environment, self._may_miss)
        if self._text is None:  # it can be read once; a reload sees the same again
            self._text = sys.stdin.read()
        return read_text(self._text, self._environment, STDIN, may_miss=self._may_miss)

    def explain(self, error: CorefileError) -> str:
        """Lines about a failed start: the error, the advice, and other errors."""
        from kdns.checking.faults import why_no_start

        lines = why_no_start(
            error,
            self._conf,
            self._environment,
            dns_port=self._dns_port,
            text=self._text or "",
            may_miss=self._may_miss,
        )
        return "\n".join(lines)


def exit_with(status: int) -> None:
    """
    End the process with *status* at the interpreter's exit.

    twistd ends with 0 whatever its services say. It still removes its pid file after the reactor stopped, so this must come last.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    if status:
        atexit.register(leave)


class Daemon(Service):
    """
    A kdns server that is a process.

    :param load: reads the Corefile.
    :param explain: what to say about an error in it that ends a start.
    :param quiet: leave out the lines that a start shows.
    :param log_format: ``text`` or ``json``.
    :param own_log: write the log to standard output as CoreDNS does; otherwise it goes where the application's log goes.
    :param log_file: takes the log of an application that this joins, and is opened again after SIGUSR2.
    :param greeting: a text to show when queries are answered, even when *quiet*.
    :param admin: path of the admin socket; None for the default places, empty or ``off`` for no socket.
    :param take_over: share the ports of a running server, which is ended afterwards.
    :param programs: whether the Corefile may have programs started.
    :param workers: processes that answer queries, 0 for one a core; None does what *multisocket* says.
    :param ended: called with the exit status when everything has stopped.
    :param leave: ends the process at once.
    """

    name = "kdns"

    def __init__(
        self,
        reactor: Any,
        load: Callable[[], Corefile],
        *,
        explain: Callable[[CorefileError], str] = CorefileError.advice,
        dns_port: int = 53,
        quiet: bool = False,
        log_format: str = "text",
        own_log: bool = True,
        log_file: LogFile | None = None,
        greeting: str = "",
        admin: str | None = OFF,
        take_over: bool = False,
        programs: bool = False,
        workers: int | None = 1,
        ended: Callable[[int], None] = lambda status: None,
        context: ServerContext | None = None,
        output: Output | None = None,
        complain: Output | None = None,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        raise_descriptor_limit()  # the bounds on connections follow from it
        self.status = 0
        self.context = context or ServerContext(reactor, environ=os.environ, dns_port=dns_port)
        self.context.log_format = log_format
        self.context.share_ports = take_over
        self.context.programs = programs
        self._format = line_format(log_format, self.context.wall)
        self.observer: OperatorLog | None = None
        self._reactor = reactor
        self._quiet = quiet
        self._greeting = greeting
        self._ended = ended
        self._log_file = log_file
        self._writer: LineWriter | None = None
        self._explain = explain
        self._complain_to = complain or _to_stderr
        self._leave = leave
        if own_log and output is None:
            output = self._writer = LineWriter(unblocked(1), self.context.registry, line_format=self._format)
        if own_log and output is not None:
            self.observer = OperatorLog(output, reactor, line_format=self._format)
        self._output = output or _to_log
        self.context.output = self._output
        self.context.fatal = self._fatal
        self._load = load
        self._loaded: Corefile | None = None
        self._wanted_workers = workers
        self._workers: Workers | None = None
        self.server = KdnsService(self.context, self._load_once, None if quiet else self._say)
        self.server.taken_over = self._taken_over
        self.admin = AdminSocket(reactor, commands_of(self.server), admin)
        self.signals = Signals(reactor, self)
        self.manager = ServiceManager(reactor, self.context.environ)
        self.garbage = GarbagePlan(reactor)
        self._ending = False
        self._last = False
        """Whether the process ends with the daemon."""

    def setServiceParent(self, parent: Any) -> None:
        """Join an application. Its log becomes the daemon's, unless it has one."""
        observer: Any = self.observer
        if observer is None and self._log_file is not None:
            file: Any = self._log_file  # it has what is used of a file
            observer = textFileLogObserver(file)
        if observer is not None and isinstance(parent, Componentized) and not parent.getComponent(ILogObserver, None):
            parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start. A failure is printed to standard error and ends the process."""
        use_monotonic_clock(self._reactor)
        super().startService()
        self.signals.install()
        self._reactor.callWhenRunning(self.signals.install)  # the reactor replaces some when it begins to run
        self._begin_workers()
        self.admin.start()
        self.manager.start()
        self.server.startService()
        self.server.when_running().addCallbacks(self._serving, self._cannot_serve)

    def _begin_workers(self) -> None:
        """Prepare for worker processes where there are to be any; without them nothing of theirs is imported."""
        number = self._wanted_workers
        if number is None or number == 0:
            from kdns.workers.number import usable_cores, workers_in

            number = usable_cores() if number == 0 else 1
            if self._wanted_workers is None:
                try:
                    self._loaded = self._load()
                    number = workers_in(self._loaded)
                except CorefileError:
                    return  # the start finds it, too
        if number < 2:
            return
        from kdns.tap.workers import Workers

        if self._workers is None:
            self._workers = Workers(self.server, number, self.observer)
            self.admin.commands.replace(self._workers.commands())
        self._workers.start(self._loaded)

    def _load_once(self) -> Corefile:
        """Read the Corefile, unless it was just read."""
        loaded, self._loaded = self._loaded, None
        return self._load() if loaded is None else loaded

    def _say(self, line: str) -> None:
        """Print a line of the start."""
        self._output(self._format(LogLine(line, bare=True)))

    def check(self) -> bool:
        """
        Check whether this can start; used before the process goes into the background, where standard error is gone.

        :return: False when it cannot; the reason has been printed and logged.
        """
        try:
            self.server.check()
        except (CorefileError, Unavailable) as error:
            self._complain(self._advice(error), error)
            return False
        return True

    def _advice(self, error: CorefileError | Unavailable) -> str:
        return self._explain(error) if isinstance(error, CorefileError) else str(error)

    def _complain(self, text: str, error: BaseException | None) -> None:
        """Print to standard error why the process ends, and log it where the log is not this daemon's own."""
        if self.observer is None:
            log.error("{text}", text=text)
        self._complain_to(self._format(LogLine(text, "FATAL", details={"error": error}, bare=True)))

    def _fatal(self, text: str) -> None:
        """A plugin cannot go on, and is configured to end the process then."""
        who, colon, what = text.partition(": ")
        plugin = who.removeprefix("plugin/") if colon and who.startswith("plugin/") else ""
        self._output(self._format(LogLine(what if plugin else text, "FATAL", plugin)))
        self.status = FAILED
        self.end()

    def _taken_over(self, configuration: Configuration) -> None:
        if self.observer is not None:
            self.observer.debug = configuration.debug

    def _serving(self, _: None) -> None:
        self.context.share_ports = False  # a reload takes nothing over
        # The reactor installs its own signal handlers when it starts. A program that waits for these lines must not meet them.
        self._reactor.callWhenRunning(self._say_start)

    def _say_start(self) -> None:
        if not self._quiet:
            for line in version_lines():
                self._say(line)
        for line in self._greeting.splitlines():
            self._say(line)
        if self._writer is not None:
            self._writer.batch(self._reactor)
        self.garbage.start()
        self._tell_ready()

    def _cannot_serve(self, failure: Failure) -> None:
        if self._ending:
            return  # cancelled by a signal that came during the start
        error = failure.value
        if isinstance(error, (CorefileError, Unavailable)):
            self._complain(self._advice(error), error)
        else:
            log.failure("The start failed unexpectedly", failure=failure)
            self._complain(f"{type(error).__name__}: {error}", error)
        self.status = FAILED
        self.end()

    def stopService(self) -> Deferred[None]:
        """Shut down. The Deferred never fails; a failure is logged and sets the exit status."""
        super().stopService()
        self._ending = True
        self.manager.stop()
        return self.server.stopService().addErrback(self._hook_failed).addCallback(self._stopped)

    def _hook_failed(self, failure: Failure) -> None:
        log.failure("The server did not stop cleanly", failure=failure)
        self.status = HOOK_FAILED

    def _stopped(self, _: None) -> None:
        self.admin.stop()
        if self._workers is not None:
            self._workers.stop()
        if self.observer is not None:
            self.observer.close()
        if self._writer is not None:
            self._writer.close()
        if self._last:
            self.signals.ignore()
        else:
            self.signals.restore()
        self.garbage.stop()
        self._ended(self.status)

    # What signals ask for

    def end(self) -> None:
        if self._ending:
            return
        self._ending = self._last = True
        self._reactor.callWhenRunning(self._stop_reactor)

    def _stop_reactor(self) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            pass  # it was stopped in the same turn

    def end_at_once(self, status: int) -> None:
        """Leave the process without stopping anything."""
        if self._writer is not None:
            self._writer.close()
        self._leave(status)

    def reload(self) -> None:
        """Read the Corefile again and use it."""
        self.manager.reloading()
        self.server.reload().addCallback(lambda _: self._tell_ready())

    def _tell_ready(self) -> None:
        """Tell the service manager that the start or a reload is over, with what ``systemctl status`` shows."""
        if self._ending:
            return
        last, configuration = self.server.reloads.last, self.server.configuration
        if self.server.reloads.config_bad and last is not None:
            self.manager.ready(f"The Corefile cannot be used, so the one before it stays: {last.error}")
        elif configuration is not None:
            self.manager.ready(f"Answers queries; Corefile {configuration.corefile.fingerprint[:12]}")

    def reopen_log(self) -> bool:
        """Open the log file again, since it may have been renamed; False when the log is no file of this process."""
        if self._log_file is None:
            return False
        self._log_file.reopen()
        return True


def _to_stderr(line: str) -> None:
    # Not sys.stderr: twistd has replaced it by its log.
    os.write(2, line.encode("utf-8", errors="backslashreplace") + b"\n")


def _to_log(line: str) -> None:
    # The log adds the level itself.
    log.info("{line}", line=line.removeprefix("[INFO] "))
