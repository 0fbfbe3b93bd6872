# -*- test-case-name: tests.cluster.test_credentials -*-
"""
Which credentials a configuration means, kubeconfig before ``endpoint`` before those of the pod; and how a kubeconfig is read.

PyYAML is enough for a kubeconfig with credentials in it. If a user has a program (``exec``) or an ``auth-provider``, client.py runs it in
a process of its own. Its output is used until shortly before it expires, and dropped when the server refuses it; one process runs
however many requests wait for it. The kubeconfig is read again when it changes, since tools that renew embedded certificates rewrite it.
"""

from __future__ import annotations

import os
import sys
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Any, Protocol

import msgspec
import yaml
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from kdns.cluster.connections import connection_creator
from kdns.cluster.credentials import (
    REREAD,
    SERVICE_ACCOUNT,
    Access,
    AccessOptions,
    Credentials,
    CredentialsError,
    FileCredentials,
    Source,
    Trust,
    at_endpoint,
    basic,
    in_cluster,
    parse_server,
    read_file,
    stat,
)
from kdns.core.timing import Clock

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Node = dict[str, Any]
"""A mapping of the file: the one place where its shape is looked at."""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    path: str
    context: str
    """The context that is meant, by its name."""
    cluster: Node
    user: Node

    @property
    def runs_program(self) -> bool:
        """Whether the credentials come from a program or provider, not from the file."""
        return bool(self.user.get("exec") or self.user.get("auth-provider")) and not any(
            self.user.get(key) for key in ("token", "tokenFile")
        )


def read(path: str, context: str = "") -> Kubeconfig:
    """
    Read a file.

    :param context: the context wanted; empty: the current one of the file.
    :raises CredentialsError: it is missing or unreadable, or has no such context.
    """
    stat(path)
    content = read_file(path)
    try:
        document = yaml.load(content, Loader=_Loader)  # noqa: S506 -- one of the two safe loaders
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise CredentialsError(f"error loading config file {path}: {reason}") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"error loading config file {path}: it is no mapping")
    name = context or _text(document, "current-context")
    if not name:
        raise CredentialsError(f"{path}: no context is named, and there is no current-context")
    chosen = _named(document, "contexts", "context", name)
    if chosen is None:
        raise CredentialsError(f'context "{name}" does not exist')
    cluster_name, user_name = _text(chosen, "cluster"), _text(chosen, "user")
    cluster = _named(document, "clusters", "cluster", cluster_name)
    if cluster is None:
        raise CredentialsError(f'cluster "{cluster_name}" does not exist')
    user = _named(document, "users", "user", user_name) if user_name else {}
    if user is None:
        raise CredentialsError(f'auth info "{user_name}" does not exist')
    return Kubeconfig(path, name, cluster, user)


def _named(document: Node, section: str, key: str, name: str) -> Node | None:
    """The mapping *key* of the entry called *name* of a section."""
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and str(entry.get("name")) == name:
            found = entry.get(key)
            return found if isinstance(found, dict) else {}
    return None


def _text(node: Node, key: str) -> str:
    value = node.get(key)
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise CredentialsError(f"kubeconfig: {key} is no text")
    return str(value)


def _source(config: Kubeconfig, node: Node, key: str) -> Source:
    """``KEY-data`` if present, else the file named by ``KEY``, relative to the kubeconfig; empty when neither is."""
    data = _text(node, f"{key}-data")
    if data:
        try:
            return Source(value=b64decode("".join(data.split()), validate=True))
        except (NotBase64, ValueError):
            raise CredentialsError(f"{config.path}: {key}-data is not base64") from None
    path = _text(node, key)
    return Source(_beside(config, path)) if path else Source()


def _beside(config: Kubeconfig, path: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(config.path)), path)


def credentials(config: Kubeconfig) -> FileCredentials:
    """
    The credentials in the file, without those of a program; not yet read.

    :raises CredentialsError: the file has an invalid value.
    """
    url = _text(config.cluster, "server")
    if not url:
        raise CredentialsError(f'{config.path}: the cluster of context "{config.context}" has no server')
    if _text(config.cluster, "proxy-url"):
        raise CredentialsError(f"{config.path}: proxy-url is not supported")
    authority = _source(config, config.cluster, "certificate-authority")
    token_file, token = _text(config.user, "tokenFile"), _text(config.user, "token")
    password = b""
    if _text(config.user, "username"):
        password = basic(_text(config.user, "username"), _text(config.user, "password"))
    return FileCredentials(
        parse_server(url),
        token=Source(_beside(config, token_file)) if token_file else Source(value=token.encode()),
        password=password,
        authority=authority if authority.path or authority.value else None,
        certificate=_source(config, config.user, "client-certificate"),
        key=_source(config, config.user, "client-key"),
        server_name=_text(config.cluster, "tls-server-name"),
        verify=config.cluster.get("insecure-skip-tls-verify") is not True,
    )


@dataclass(slots=True)
class KubeconfigCredentials:
    """
    The credentials of a context, from a file that may be rewritten.

    :param complain: called when the file can no longer be read.
    """

    path: str
    context: str = ""
    complain: Callable[[str], None] = lambda text: None
    _files: FileCredentials | None = field(default=None, init=False)
    _signature: tuple[int, int, int] | None = field(default=None, init=False)
    _looked_at: float | None = field(default=None, init=False)

    def load(self) -> KubeconfigCredentials:
        """
        Read for the first time.

        :raises CredentialsError: something is missing.
        """
        self._signature = signature(self.path)
        self._files = credentials(read(self.path, self.context))
        self._files.complain = self.complain
        self._files.load()
        return self

    def current(self, now: float) -> Access:
        """See :class:`kdns.cluster.credentials.Credentials`."""
        if self._files is None:
            self.load()
        elif self._looked_at is None:
            self._looked_at = now
        elif now - self._looked_at >= REREAD:
            self._looked_at = now
            self._look()
        assert self._files is not None, "load() has just set it"
        return self._files.current(now)

    def refused(self, access: Access) -> None:
        self._look()
        if self._files is not None:
            self._files.refused(access)

    def stop(self) -> None:
        pass

    def _look(self) -> None:
        """Read the file again if it changed; an invalid one changes nothing."""
        seen = signature(self.path)
        if seen == self._signature:
            return
        before, self._signature = self._files, seen
        try:
            self.load()
        except CredentialsError as problem:
            self._files = before
            self.complain(str(problem))


def signature(path: str) -> tuple[int, int, int] | None:
    """Changes when the file is rewritten; None when it is missing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


PATIENCE = 60.0
"""Seconds for a plugin; some ask a service far away, and none may ask a person."""

MARGIN = 60.0
"""Seconds before its end at which a credential is renewed."""

MAX_OUTPUT = 1 << 20
"""Bytes read of a program; certificate and key are some kilobytes."""


_CHILD = """
import sys
sys.path.append(sys.argv.pop(1))
from kdns.cluster.client import main
sys.exit(main(sys.argv[1:]))
"""


class ProcessReactor(Clock, Protocol):
    """A clock that starts processes."""

    def spawnProcess(self, processProtocol: Any, executable: str, args: Any, env: Any, path: str | None = None) -> Any:
        pass


class Answer(msgspec.Struct):
    authorization: str = ""
    certificate: str = ""
    key: str = ""
    expires: float | None = None


class _Run(ProcessProtocol):
    """One run of client.py: fires with its output, fails with its error text."""

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
        self._files.refused(access)
        # Several watches are refused at once when a token ends; only the first of them throws it away.
        if self._answer is not None and access.authorization == self._answer.authorization.encode():
            self._answer = None

    def stop(self) -> None:
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


def find_credentials(
    reactor: Any,
    wanted: AccessOptions,
    environ: Mapping[str, str],
    *,
    service_account: str = SERVICE_ACCOUNT,
    complain: Callable[[str], None] = lambda text: None,
    wall: Callable[[], float] = time,
) -> Credentials:
    """
    The credentials that *wanted* describes, with their files read and certificates checked; a program is not run yet.

    :param reactor: runs programs, if credentials come from one; it needs IReactorProcess and IReactorTime then.
    :param complain: called when a file becomes unreadable later on.
    :param wall: Unix seconds.
    :raises CredentialsError: something is missing or unusable; the text is for the operator.
    """
    if wanted.kubeconfig:
        config = read(wanted.kubeconfig, wanted.context)
        from_file = KubeconfigCredentials(wanted.kubeconfig, wanted.context, complain).load()
        _check(from_file.current(0.0).server.host, from_file.current(0.0).trust)
        if not config.runs_program:
            return from_file

        def run() -> Any:
            return run_client(reactor, wanted.kubeconfig, wanted.context, environ)

        return ExecCredentials(from_file, run, wall)
    files = at_endpoint(wanted.endpoint, wanted.tls) if wanted.endpoint else in_cluster(environ, service_account)
    files.complain = complain
    files.load()
    _check(files.server.host, files.current(0.0).trust)
    return files


def _check(host: str, trust: Trust) -> None:
    """:raises CredentialsError: TLS is impossible with this."""
    connection_creator(host, trust)


__all__ = ["AccessOptions", "Credentials", "CredentialsError", "find_credentials"]
