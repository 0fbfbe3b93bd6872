# -*- test-case-name: tests.cluster.test_api -*-
"""
Ask the Kubernetes client package for the credentials of a kubeconfig: the one module that imports it, run as a program of its own.

    python -m kdns.cluster.client KUBECONFIG [CONTEXT]

:func:`kdns.cluster.kubeconfig.run_client` starts it. It runs ``exec`` plugins and the older auth providers, and prints a JSON object:
``authorization`` (the value of the header), or ``certificate`` and ``key`` (PEM), and ``expires`` in Unix seconds when that is known. The
package takes 35 MB and blocks while a plugin runs; in a process of its own neither matters. On failure it prints the reason to standard
error and exits with 1.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

from kdns.core.config_files import read_config_file


def find(kubeconfig: str, context: str) -> dict[str, Any]:
    from kubernetes.client import Configuration
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

    # Without a base path the loader runs plugins where the kubeconfig is, as kubectl does.
    merged = KubeConfigMerger(kubeconfig)
    loader = KubeConfigLoader(config_dict=merged.config, active_context=context or None, config_base_path=None)
    configuration = Configuration()
    loader.load_and_set(configuration)
    found: dict[str, Any] = {}
    if configuration.api_key.get("BearerToken"):
        found["authorization"] = configuration.api_key["BearerToken"]
    for name, path in (("certificate", configuration.cert_file), ("key", configuration.key_file)):
        if path and os.path.isfile(path):
            found[name] = read_config_file(path).decode()
    expires = getattr(loader, "expiry", None)
    if expires is not None:
        found["expires"] = expires.timestamp()
    return found


class _Heard(logging.Handler):
    """Collects what the package logs; it reports failures of plugins in no other way."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main(arguments: list[str]) -> int:
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    try:
        found = find(arguments[0], arguments[1] if len(arguments) > 1 else "")
    except Exception as problem:  # whatever it is, the daemon reads the text
        heard.texts.append(str(problem) or type(problem).__name__)
        found = {}
    if not found.get("authorization") and not found.get("certificate"):
        sys.stderr.write("; ".join(heard.texts) or "the kubeconfig has no credentials for this context")
        return 1
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
