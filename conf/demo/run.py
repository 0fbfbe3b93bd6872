"""
The demo in the foreground: ``make run``, or ``python conf/demo/run.py``.

``PORT``, ``HEALTH_PORT``, ``READY_PORT`` and ``METRICS_PORT`` in the environment change where it listens, all on loopback.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

PORTS = {"PORT": "1053", "HEALTH_PORT": "8080", "READY_PORT": "8181", "METRICS_PORT": "9153"}
"""Variables of the Corefile, with their defaults."""

NEXT = """\

The demo answers on 127.0.0.1, port {PORT}, over UDP and TCP. In another terminal:

    dig @127.0.0.1 -p {PORT} web.shop.svc.cluster.local                     # a Service
    dig @127.0.0.1 -p {PORT} db.shop.svc.cluster.local                      # a headless Service: its ready pods
    dig @127.0.0.1 -p {PORT} db-0.db.shop.svc.cluster.local                 # a pod of a StatefulSet by name
    dig @127.0.0.1 -p {PORT} _postgres._tcp.db.shop.svc.cluster.local SRV   # hosts and ports
    dig @127.0.0.1 -p {PORT} 10-244-1-17.shop.pod.cluster.local             # a pod by address
    dig @127.0.0.1 -p {PORT} -x 10.96.20.30                                 # from an address to a name
    dig @127.0.0.1 -p {PORT} payments.shop.svc.cluster.local                # an ExternalName
    dig @127.0.0.1 -p {PORT} nothing.shop.svc.cluster.local                 # NXDOMAIN, with an SOA
    dig @127.0.0.1 -p {PORT} www.example.org                                # forwarded, then cached

    http://127.0.0.1:{METRICS_PORT}/                                        # a page for the browser: plots, what is wrong, explain

    curl http://127.0.0.1:{READY_PORT}/ready
    curl -s http://127.0.0.1:{METRICS_PORT}/metrics | grep coredns_dns_requests_total

    .venv/bin/kdns status                                                   # what it does, live; q ends it
    .venv/bin/kdns explain nothing.shop.svc.cluster.local                   # why a name answers as it does

Edit {CLUSTER}/web.yaml and ask again after two seconds. Ctrl-C ends it.
"""


def take_terminal() -> None:
    """
    Have Ctrl-C reach the demo alone.

    The terminal sends it to everything in the foreground, ``make`` too, which would then report an error although the demo ended well.
    So the demo becomes the foreground by itself, and hands it back at the end. Without a terminal nothing is changed.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        before = os.tcgetpgrp(terminal)
    except OSError:
        return
    if before != os.getpgrp() or before == os.getpid():
        return  # in the background, or in the foreground alone
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # the shell would not see that it was stopped
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    atexit.register(os.tcsetpgrp, terminal, before)


def main() -> int:
    """Serve until Ctrl-C."""
    for name, default in PORTS.items():
        if not os.environ.get(name):
            os.environ[name] = default
    folder = os.path.relpath(HERE)
    os.environ["DEMO"] = folder
    take_terminal()
    from kdns.cli.flags import Flags
    from kdns.cli.main import serve

    greeting = NEXT.format(CLUSTER=f"{folder}/cluster", **{name: os.environ[name] for name in PORTS})
    return serve(Flags(conf=f"{folder}/Corefile"), greeting)


if __name__ == "__main__":
    sys.exit(main())
