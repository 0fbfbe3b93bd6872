# -*- test-case-name: tests.cluster.test_credentials -*-
"""Which credentials a configuration means: kubeconfig before ``endpoint`` before those of the pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from kdns.cluster.credentials import (
    SERVICE_ACCOUNT,
    Credentials,
    CredentialsError,
    Trust,
    Wanted,
    at_endpoint,
    in_cluster,
)
from kdns.cluster.exec_credentials import ExecCredentials, run_client
from kdns.cluster.kubeconfig import KubeconfigCredentials, read
from kdns.cluster.tls import connection_creator


def find_credentials(
    reactor: Any,
    wanted: Wanted,
    environ: Mapping[str, str],
    *,
    service_account: str = SERVICE_ACCOUNT,
    complain: Callable[[str], None] = lambda text: None,
    wall: Callable[[], float] = time,
) -> Credentials:
    """
    The credentials that are wanted, with their files read and their certificates looked at; a program is not run yet.

    :param reactor: runs programs, if credentials come from one; it needs IReactorProcess and IReactorTime then.
    :param complain: is told of trouble with files later on.
    :param wall: Unix seconds.
    :raises CredentialsError: something is missing or unusable, told as the operator is to read it.
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
    """:raises CredentialsError: TLS could not be spoken with this."""
    connection_creator(host, trust)


__all__ = ["Credentials", "CredentialsError", "Wanted", "find_credentials"]
