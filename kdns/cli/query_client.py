# -*- test-case-name: tests.cli.test_query_client -*-
"""Shared by the commands that ask a running server: flags, help, and the message when no server answers. No Twisted in here."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from kdns.admin.client import AdminError, ask

NO_SERVER = 3
"""Exit status when no server could be asked."""

PATIENCE = 40.0
"""Seconds: a search path of five names, each of which may wait for upstreams."""


class Parser(argparse.ArgumentParser):
    """A parser that knows the flags of all these commands, and shows its description as it was written."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.common(self)

    @staticmethod
    def common(parser: argparse.ArgumentParser) -> None:
        """Add the flags that every command has."""
        parser.add_argument(
            "--socket", metavar="PATH", help="the server's admin socket (-admin.socket); found by itself"
        )
        parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")


class Asked(Exception):
    """Nothing more to do; the exit status is given."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def asked(program: str, parsed: argparse.Namespace, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """
    The server's answer.

    :raises Asked: there is none; why was said on standard error.
    """
    try:
        return ask(parsed.socket, command, arguments, patience=PATIENCE)
    except AdminError as error:
        print(f"{program}: {error}", file=sys.stderr)
        raise Asked(NO_SERVER) from None


def show_json(result: dict[str, Any]) -> None:
    """Print an answer for machines."""
    say([json.dumps(result, indent=2, ensure_ascii=False)])


def say(lines: Iterable[str]) -> None:
    """Print lines."""
    for line in lines:
        print(line)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """
    Read a command line.

    :raises Asked: it cannot be, or help was wanted.
    """
    try:
        return parser.parse_args(arguments)
    except SystemExit as error:
        raise Asked(int(error.code or 0)) from None


def never(parser: argparse.ArgumentParser, text: str) -> NoReturn:
    """
    Say what is wrong with a command line.

    :raises Asked: always.
    """
    parser.print_usage(sys.stderr)
    print(f"{parser.prog}: {text}", file=sys.stderr)
    raise Asked(2)
