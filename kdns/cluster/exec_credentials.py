# -*- test-case-name: tests.cluster.test_credentials -*-
"""
Credentials that a program prints: the shell around client.py, which runs in a process of its own.

What it printed is used until shortly before it ends, and thrown away when the server refuses it. However many requests wait for it,
one process runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from kdns.cluster.credentials import Access, CredentialsError
from kdns.cluster.kubeconfig import KubeconfigCredentials
from kdns.cluster.timing import Clock

PATIENCE = 60.0
"""Seconds for a plugin; some ask a service far away, and none may ask a person."""

MARGIN = 60.0
"""Seconds before its end at which a credential is renewed."""

MAX_OUTPUT = 1 << 20
"""Octets read of a program; certificate and key are some kilobytes."""


_CHILD = """
import sys
sys.path.append(sys.argv.pop(1))
from kdns.cluster.client import main
sys.exit(main(sys.argv[1:]))
"""


class ProcessReactor(Clock, Protocol):
    """A clock that starts processes."""

    def spawnProcess(self, processProtocol: Any, executable: str, args: Any, env: Any, path: str | None = None) -> Any:
        """As IReactorProcess has it."""


class Answer(msgspec.Struct):
    """What client.py prints."""

    authorization: str = ""
    certificate: str = ""
    key: str = ""
    expires: float | None = None


class _Run(ProcessProtocol):
    """One run of a program: fires with what it prints, fails with what it complains of."""

    def __init__(self) -> None:
        self.result: Deferred[bytes] = Deferred(lambda _: self.end())
        self._output = b""
        self._errors = b""
        self._stopped = False

    transport: Any  # an IProcessTransport, whose interface the type checker cannot read

    def connectionMade(self) -> None:
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._output += data
        if len(self._output) > MAX_OUTPUT:
            self.end()

    def errReceived(self, data: bytes) -> None:
        self._errors = (self._errors + data)[-1000:]

    def end(self) -> None:
        """Kill the program."""
        self._stopped = True
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def processEnded(self, reason: Failure) -> None:
        result = self.result
        if result.called:
            return
        if reason.check(ProcessDone) and not self._stopped:
            result.callback(self._output)
            return
        text = " ".join(self._errors.decode("utf-8", "replace").split())
        result.errback(CredentialsError(f"exec plugin: {text or reason.getErrorMessage()}"))


def run_client(reactor: ProcessReactor, kubeconfig: str, context: str, environ: Mapping[str, str]) -> Deferred[bytes]:
    """
    Run client.py and return what it prints.

    Cancelling, and :data:`PATIENCE`, kill it.
    """
    run = _Run()
    # -I keeps the working directory and PYTHONPATH out of sys.path: a json.py that lies there must not be imported. The child finds kdns
    # where we did, which may be a checkout.
    home = str(Path(__file__).resolve().parents[2])
    arguments = [sys.executable, "-I", "-c", _CHILD, home, os.path.abspath(kubeconfig), *([context] if context else [])]
    reactor.spawnProcess(run, sys.executable, arguments, environ)
    timer = reactor.callLater(PATIENCE, run.end)

    def done(result: Any) -> Any:
        if timer.active():
            timer.cancel()
        return result

    return run.result.addBoth(done)


class ExecCredentials:
    """
    The credentials of a context whose user is a program.

    :param files: the same context without its program: server, authority, and whether to verify.
    :param run: runs client.py; see :func:`run_client`.
    :param wall: Unix seconds, for when a credential ends.
    """

    def __init__(
        self, files: KubeconfigCredentials, run: Callable[[], Deferred[bytes]], wall: Callable[[], float]
    ) -> None:
        self._files = files
        self._run = run
        self._wall = wall
        self._answer: Answer | None = None
        self._renew_at: float | None = None
        self._running: Deferred[bytes] | None = None
        self._waiting: list[Deferred[Access]] = []

    def current(self, now: float) -> Access | Deferred[Access]:
        """See :class:`kdns.cluster.credentials.Credentials`."""
        if self._answer is not None and (self._renew_at is None or self._wall() < self._renew_at):
            return self._access(now, self._answer)
        waiter: Deferred[Access] = Deferred(self._give_up)
        self._waiting.append(waiter)
        if self._running is None:
            self._running = self._run()
            self._running.addCallbacks(self._answered, self._failed, callbackArgs=(now,))
        return waiter

    def refused(self, access: Access) -> None:
        """See :class:`kdns.cluster.credentials.Credentials`."""
        self._files.refused(access)
        # Several watches are refused at once when a token ends; only the first of them throws it away.
        if self._answer is not None and access.authorization == self._answer.authorization.encode():
            self._answer = None

    def stop(self) -> None:
        """Kill the program if it runs."""
        if self._running is not None:
            self._running.cancel()

    def _access(self, now: float, answer: Answer) -> Access:
        access = self._files.current(now)
        trust = access.trust
        if answer.certificate:
            trust = replace(trust, certificate=answer.certificate.encode(), key=answer.key.encode())
        return replace(access, authorization=answer.authorization.encode(), trust=trust)

    def _give_up(self, waiter: Deferred[Access]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if not self._waiting:
            self.stop()

    def _answered(self, output: bytes, now: float) -> None:
        self._running = None
        try:
            self._answer = msgspec.json.decode(output, type=Answer)
            access = self._access(now, self._answer)
        except (msgspec.MsgspecError, CredentialsError) as problem:
            self._failed(Failure(CredentialsError(f"exec plugin: {problem}")))
            return
        self._renew_at = None
        if self._answer.expires is not None:
            lifetime = self._answer.expires - self._wall()
            # A credential that lives a minute or two must be used for most of it.
            self._renew_at = self._answer.expires - min(MARGIN, max(0.0, lifetime * 0.2))
        for waiter in self._take_waiting():
            waiter.callback(access)

    def _failed(self, failure: Failure) -> None:
        self._running = None
        for waiter in self._take_waiting():
            waiter.errback(failure)

    def _take_waiting(self) -> list[Deferred[Access]]:
        waiting, self._waiting = self._waiting, []
        return waiting
