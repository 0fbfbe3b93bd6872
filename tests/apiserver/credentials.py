# -*- test-case-name: tests.apiserver.test_credentials -*-
"""Files by which clients find the fake API server and prove who they are: kubeconfig, and those mounted into a pod."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from kdns.testing.certificates import Identity
from tests.apiserver.resources import Json

_EXEC_SCRIPT = """#!/bin/sh
echo call >> '{calls}'
cat '{answer}'
"""


@dataclass(frozen=True, slots=True)
class Login:
    """How a client proves who it is; the first thing given counts."""

    token: str = ""
    token_file: Path | None = None
    certificate: Identity | None = None
    basic: tuple[str, str] | None = None
    exec_token: str = ""  # a program prints it


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, as the kubelet does."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.chmod(0o600)
    os.replace(beside, path)


def _user(login: Login, folder: Path) -> Json:
    if login.token:
        return {"token": login.token}
    if login.token_file is not None:
        return {"tokenFile": str(login.token_file)}
    if login.certificate is not None:
        return {
            "client-certificate-data": base64.b64encode(login.certificate.certificate_pem).decode(),
            "client-key-data": base64.b64encode(login.certificate.key_pem).decode(),
        }
    if login.basic is not None:
        return {"username": login.basic[0], "password": login.basic[1]}
    if login.exec_token:
        return {"exec": _exec(login.exec_token, folder)}
    return {}


def _exec(token: str, folder: Path) -> Json:
    """A program that prints a credential and notes each call in ``exec-calls`` beside it."""
    write_exec_token(folder, token)
    program = folder / "print-token"
    program.write_text(_EXEC_SCRIPT.format(calls=folder / "exec-calls", answer=folder / "exec-answer.json"))
    program.chmod(0o700)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(program),
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }


def write_exec_token(folder: Path, token: str) -> None:
    """Change what the exec program in *folder* prints."""
    answer = {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"token": token},
    }
    replace_file(folder / "exec-answer.json", json.dumps(answer).encode())


def write_kubeconfig(path: Path, server: str, authority: bytes | None, login: Login) -> Path:
    """
    Write a kubeconfig with one cluster, one user and one context, and return its path.

    :param authority: PEM of the authority clients shall trust; None: plain HTTP.
    """
    cluster: Json = {"server": server}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": "fake", "user": _user(login, path.parent)}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
        "current-context": "fake",
    }
    replace_file(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path


@dataclass(frozen=True, slots=True)
class InCluster:
    """The files of a service account as mounted into a pod, and the environment that goes with them."""

    folder: Path
    host: str
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a pod finds the API."""
        return {"KUBERNETES_SERVICE_HOST": self.host, "KUBERNETES_SERVICE_PORT": str(self.port)}

    @property
    def token_file(self) -> Path:
        """Where the token is."""
        return self.folder / "token"

    def write(self, token: str, authority: bytes | None, namespace: str = "kube-system") -> None:
        """Write, or change, all three files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_token(token)
        replace_file(self.folder / "namespace", namespace.encode())
        if authority is not None:
            self.write_authority(authority)

    def write_token(self, token: str) -> None:
        """Change the token, as the kubelet does before it expires."""
        replace_file(self.token_file, token.encode())

    def write_authority(self, authority: bytes) -> None:
        """Change the authority to be trusted."""
        replace_file(self.folder / "ca.crt", authority)
