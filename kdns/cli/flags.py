# -*- test-case-name: tests.cli.test_flags -*-
"""
Go's flag syntax: one or two dashes, ``-conf=X`` or ``-conf X``, and the first word that is no flag ends them.

So a command line written for CoreDNS means the same to kdns. Decides what a command line says; doing it is :mod:`kdns.cli.main`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdns.core.text import names_of

MOST_PORT = 65535

FORMATS = ("text", "json")
"""What ``-log.format`` knows."""

MOST_WORKERS = 256
"""More are a mistake."""

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))

TEXTS = {
    "admin.socket": "admin",
    "allow-missing": "may_miss",
    "conf": "conf",
    "dns.port": "port",
    "log.format": "log_format",
    "p": "port",
    "pidfile": "pidfile",
    "workers": "workers",
}
"""Flags with a value, and the field that it goes to."""

SWITCHES = {
    "allow-programs": "programs",
    "plugins": "plugins",
    "quiet": "quiet",
    "takeover": "takeover",
    "version": "version",
}
"""Flags that are on or off."""

HELP = """\
Usage of kdns:
  -admin.socket PATH
    \twhere kdns explain, status and cache reach this server; "off" for nowhere (default: found by both by themselves)
  -allow-missing NAME,...
    \tleave these directives out of the Corefile where kdns does not have them
  -allow-programs
    \tlet the Corefile have programs started (on)
  -conf FILE
    \tCorefile to load; "stdin" reads standard input (default "Corefile")
  -dns.port PORT, -p PORT
    \tport of server blocks that name none (default "53")
  -log.format FORMAT
    \thow lines are printed: text or json (default "text")
  -pidfile FILE
    \tfile to write the process id to
  -plugins
    \tlist the plugins there are
  -quiet
    \tsay nothing at the start
  -takeover
    \tshare the ports of a running kdns, which is ended afterwards
  -version
    \tshow the version
  -workers N
    \tprocesses that answer queries, or "auto" for one a core (default: as multisocket says, else one process for everything)
Commands, each with a -h of its own:
  kdns cache      what a running server holds in memory, and to flush it
  kdns check      what is wrong with a Corefile, and what surprises; serves nothing
  kdns explain    how a running server answers a name, and why
  kdns help       this, or the help of a command
  kdns node-cache the cache of one node, in the place of NodeLocal DNSCache
  kdns plan       replicas and memory for a cluster of a size
  kdns status     what a running server does, live
  kdns translate  a Corefile for the ConfigMap of kube-dns
  kdns version    as -version
"""


class BadFlags(Exception):
    """
    A command line that cannot be understood.

    :ivar usage: whether the usage should be shown with the text, and the exit status be Go's 2.
    """

    def __init__(self, text: str, *, usage: bool = True) -> None:
        super().__init__(text)
        self.usage = usage


@dataclass(frozen=True, slots=True)
class Flags:
    """What a command line says."""

    conf: str | None = None
    """The Corefile as it was named; None when it was not."""

    admin: str | None = None
    """Path of the admin socket as it was given, empty or ``off`` for none; None when nothing was said."""

    port: int = 53
    log_format: str = "text"
    """``text`` or ``json``."""

    pidfile: str = ""
    workers: int | None = None
    """Worker processes, 0 for one a core; None when nothing was said."""

    may_miss: tuple[str, ...] = ()
    """Directives that are left out where nobody has them."""

    plugins: bool = False
    programs: bool = False
    quiet: bool = False
    takeover: bool = False
    version: bool = False
    help: bool = False


def parse_flags(arguments: Sequence[str]) -> Flags:
    """
    Read a command line without the name of the program.

    :raises BadFlags: an unknown flag, a value that is missing or none of its kind, or words behind the flags.
    """
    values: dict[str, str | bool] = {}
    words = list(arguments)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise BadFlags(f"bad flag syntax: {word}")
        if name in TEXTS:
            if not equals:
                if not words:
                    raise BadFlags(f"flag needs an argument: -{name}")
                value = words.pop(0)
            values[TEXTS[name]] = value
        elif name in SWITCHES:
            values[SWITCHES[name]] = switch(name, value) if equals else True
        elif name in ("h", "help"):
            return Flags(help=True)
        else:
            raise BadFlags(f"flag provided but not defined: -{name}")
    if words:
        raise BadFlags(f"extra command line arguments: [{' '.join(words)}]", usage=False)
    log_format = str(values.get("log_format", "text"))
    if log_format not in FORMATS:
        raise BadFlags(f'invalid value "{log_format}" for flag -log.format: must be {" or ".join(FORMATS)}')
    workers = None
    if "workers" in values:
        try:
            workers = parse_workers(str(values["workers"]))
        except ValueError as error:
            raise BadFlags(f'invalid value "{values["workers"]}" for flag -workers: {error}') from error
    port = parse_port(str(values.pop("port", "53")))
    return Flags(
        conf=str(values["conf"]) if "conf" in values else None,
        admin=str(values["admin"]) if "admin" in values else None,
        port=port,
        log_format=log_format,
        pidfile=str(values.get("pidfile", "")),
        workers=workers,
        may_miss=names_of(str(values.get("may_miss", ""))),
        **{switch: bool(values.get(switch, False)) for switch in SWITCHES.values()},
    )


def parse_port(text: str) -> int:
    """
    A port number from 0 (the system chooses one) to 65535.

    :raises BadFlags: it is none.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > MOST_PORT:
        raise BadFlags(f"address {text}: invalid port", usage=False)
    return int(text)


def parse_workers(text: str) -> int:
    """
    A number of worker processes, 0 for ``auto``.

    :raises ValueError: it is neither.
    """
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f"it is a number from 1 to {MOST_WORKERS}, or auto")
    return int(text)


def switch(name: str, value: str) -> bool:
    """
    The value of a flag that is on or off.

    :raises BadFlags: it is neither.
    """
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise BadFlags(f'invalid boolean value "{value}" for -{name}: parse error')
