# -*- test-case-name: tests.apiserver.test_credentials -*-
"""The fake API server as a program: the edge where arguments become objects."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.apiserver.access import ADMIN
from tests.apiserver.credentials import Login
from tests.apiserver.server import ApiServer, ServerOptions
from tests.apiserver.status import ApiError


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.apiserver", description="A Kubernetes API server for tests, on loopback."
    )
    parser.add_argument("--manifests", metavar="FILE", type=Path, nargs="+", default=[], help="YAML to load")
    parser.add_argument("--port", metavar="N", type=int, default=0, help="port to listen on; 0: any free one")
    parser.add_argument("--interface", metavar="ADDRESS", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--tls", action="store_true", help="HTTPS, with an authority made on the fly")
    parser.add_argument("--token", default="", help="admit only this bearer token")
    parser.add_argument("--kubeconfig-out", metavar="FILE", type=Path, help="where to write a kubeconfig")
    parser.add_argument("--populate", metavar="N", type=int, default=0, help="make N Services and N EndpointSlices")
    return parser.parse_args(arguments)


def serve(options: argparse.Namespace, reactor: Any) -> ApiServer:
    """
    Make the server, fill it and let it listen.

    :raises OSError: a manifest cannot be read.
    :raises ApiError: a manifest is refused.
    """
    api = ApiServer(reactor, ServerOptions())
    for path in options.manifests:
        api.load(path.read_text())
    if options.populate:
        api.populate(options.populate, options.populate)
    if options.token:
        api.access.tokens[options.token] = ADMIN
    api.start(options.port, options.tls, options.interface)
    if options.kubeconfig_out:
        api.kubeconfig(options.kubeconfig_out, Login(token=options.token))
    return api


def main(arguments: Sequence[str]) -> int:
    """Run until interrupted. Prints the address once it listens."""
    from twisted.internet import reactor
    from twisted.internet.error import CannotListenError

    options = parse(arguments)
    try:
        api = serve(options, reactor)
    except (OSError, ApiError, CannotListenError, yaml.YAMLError) as problem:
        print(f"apiserver: {problem}", file=sys.stderr)
        return 1
    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", api.stop)
    running.callWhenRunning(print, f"listening at {api.url}", flush=True)
    running.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
