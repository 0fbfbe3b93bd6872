# -*- test-case-name: tests.tap.test_options -*-
"""The command line of ``twistd kdns`` and the service made from it."""

from __future__ import annotations

import os
from typing import Any

from twisted.python import usage
from twisted.python.logfile import LogFile

from kdns.core.text import names_of
from kdns.server.logs import FORMATS
from kdns.tap.daemon import FAILED, CorefileSource, Daemon, exit_with

MOST_PORT = 65535
MOST_WORKERS = 256

ELSEWHERE = ("logfile", "logger", "syslog")
"""Options of twistd that say where its log goes."""

TWISTD_LOG = "twistd.log"
"""The log of twistd in the background, where no option names another."""


def port_number(text: str) -> int:
    """
    A port, 0 for one that the system chooses.

    :raises ValueError: it is none.
    """
    port = int(text)
    if not 0 <= port <= MOST_PORT:
        raise ValueError(f"a port is a number from 0 to {MOST_PORT}")
    return port


def log_format(text: str) -> str:
    """
    A format of log lines.

    :raises ValueError: it is none.
    """
    if text not in FORMATS:
        raise ValueError(f"it is {' or '.join(FORMATS)}")
    return text


def workers(text: str) -> int:
    """
    A number of worker processes, 0 for ``auto``.

    :raises ValueError: it is neither.
    """
    if text == "auto":
        return 0
    number = int(text)
    if not 1 <= number <= MOST_WORKERS:
        raise ValueError(f"it is a number from 1 to {MOST_WORKERS}, or auto")
    return number


class Options(usage.Options):
    """What ``twistd kdns --help`` shows."""

    synopsis = "[options]"
    longdesc = "Cluster DNS for Kubernetes, configured by a Corefile."
    optParameters = [
        ["conf", "c", None, "Corefile to load; 'stdin' reads standard input. [default: Corefile]"],
        ["admin-socket", None, None, "Where kdns explain, status and cache reach it; 'off' for nowhere."],
        ["log-format", None, "text", "How lines are printed: text or json.", log_format],
        ["allow-missing", None, (), "Directives to leave out where kdns does not have them: NAME,...", names_of],
        ["workers", None, None, "Processes that answer queries, or 'auto' for one a core.", workers],
        ["dns-port", "p", 53, "Port of server blocks that name none.", port_number],
    ]
    optFlags = [
        ["allow-programs", None, "Let the Corefile have programs started (on)."],
        ["quiet", "q", "Say nothing at the start."],
        ["takeover", None, "Share the ports of a running kdns, which is ended afterwards."],
    ]


def makeService(options: Options) -> Daemon:
    """
    The daemon as a service: it reads the Corefile when it starts, handles signals, and ends the process when it cannot serve.

    In the foreground it writes its log to standard output as ``kdns`` does, unless an option of twistd names another place. When twistd
    goes into the background it ends with 0 before this starts. So whether it can start is checked here, before the fork.

    :raises SystemExit: it cannot start; the reason is on standard error and in twistd's log.
    """
    from twisted.internet import reactor  # an edge: the program has chosen the reactor

    corefile = CorefileSource(options["conf"], os.environ, options["dns-port"], options["allow-missing"])
    daemon = Daemon(
        reactor,
        corefile.load,
        explain=corefile.explain,
        dns_port=options["dns-port"],
        quiet=bool(options["quiet"]),
        admin=options["admin-socket"],
        log_format=options["log-format"],
        own_log=_in_foreground(options.parent),
        log_file=_log_file(options.parent),
        take_over=bool(options["takeover"]),
        programs=bool(options["allow-programs"]),
        workers=options["workers"],
        ended=exit_with,
    )
    twistd = options.parent
    if twistd is not None and not twistd.get("nodaemon") and not daemon.check():
        from twisted.application.service import Application
        from twisted.scripts._twistd_unix import UnixAppLogger  # twistd's own; it has no public name

        # twistd opens its log after the service was made; what was logged until then is written when it is opened.
        logger = UnixAppLogger(twistd)
        logger.start(Application("kdns"))
        logger.stop()
        raise SystemExit(FAILED)
    return daemon


def _in_foreground(twistd: Any) -> bool:
    """Whether the log belongs on standard output; *twistd* holds its options, None for an application file."""
    if twistd is None:
        return True
    return bool(twistd.get("nodaemon")) and not any(twistd.get(option) for option in ELSEWHERE)


def _log_file(twistd: Any) -> LogFile | None:
    """
    The file that twistd would log to: it is rotated when it is full, and can be opened again.

    twistd's own handler for that is the one of SIGUSR1, which means a reload here.
    """
    if twistd is None or _in_foreground(twistd) or twistd.get("logger") or twistd.get("syslog"):
        return None
    path = twistd.get("logfile") or TWISTD_LOG
    return None if path == "-" else LogFile.fromFullPath(path)
