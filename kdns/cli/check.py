# -*- test-case-name: tests.cli.test_check -*-
"""
``kdns check``: what is wrong with a Corefile, what will surprise, and what differs from CoreDNS, without serving anything.

Reads the command line and the file, and prints; what is found is decided in :mod:`kdns.cli.checking`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

from kdns.cli.flags import BadFlags, parse_port

HELP = """\
Usage of kdns check:
  kdns check [FILE] [--json] [--strict] [--elsewhere] [--quiet] [--print] [-dns.port N]

Looks at a Corefile without serving it. FILE is "Corefile" by default; "-" or "stdin" reads standard input.
A ConfigMap with a key "Corefile" (kubectl -n kube-system get configmap coredns -o yaml) is taken, too.

  --json          findings as a JSON list
  --strict        exit status 1 for warnings, too
  --elsewhere     it will run on another machine: what is missing on this one (files, interfaces) is a warning
  --quiet         no notes
  --print         print the configuration with imports, environment and defaults filled in
  -dns.port N, -p N
                  port of server blocks that name none (default 53)

Exit status: 0 nothing is wrong, 1 something is, 2 the command line cannot be understood.
"""

FINE, FAULTY, BAD_USAGE = 0, 1, 2

STANDARD_INPUT = ("-", "stdin")

SWITCHES = ("json", "strict", "elsewhere", "quiet", "print")

MAX_FILE = 8 * 1024 * 1024
"""Characters; as large as a file with a Corefile may be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line asks for."""

    file: str = ""
    """Empty when none is named."""

    port: int = 53
    json: bool = False
    strict: bool = False
    elsewhere: bool = False
    quiet: bool = False
    print: bool = False
    help: bool = False


def parse_words(arguments: Sequence[str]) -> Wanted:
    """
    Read a command line; flags may stand before and behind the file, with one dash or two.

    :raises BadFlags: it cannot be understood.
    """
    wanted = Wanted()
    switches: set[str] = set()
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in STANDARD_INPUT or not word.startswith("-"):
            if wanted.file:
                raise BadFlags(f"one file at a time: {wanted.file}, {word}")
            wanted = replace(wanted, file=word)
            continue
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", "help"):
            return Wanted(help=True)
        if name in SWITCHES and not equals:
            switches.add(name)
        elif name in ("dns.port", "p", "conf"):
            if not equals:
                if not words:
                    raise BadFlags(f"flag needs an argument: {word}")
                value = words.pop(0)
            wanted = replace(wanted, file=value) if name == "conf" else replace(wanted, port=parse_port(value))
        else:
            raise BadFlags(f"flag provided but not defined: {word}")
    return replace(
        wanted,
        json="json" in switches,
        strict="strict" in switches,
        elsewhere="elsewhere" in switches,
        quiet="quiet" in switches,
        print="print" in switches,
    )


def main(
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """
    Run the command.

    :return: the exit status.
    """
    stdout, stderr = stdout or sys.stdout, stderr or sys.stderr
    try:
        wanted = parse_words(arguments)
    except BadFlags as error:
        stderr.write(f"{error}\n{HELP}")
        return BAD_USAGE
    if wanted.help:
        stderr.write(HELP)
        return FINE
    return _Check(wanted, os.environ if environment is None else environment, stdin or sys.stdin, stdout, stderr).run()


class _Check:
    """One run of the command."""

    def __init__(
        self, wanted: Wanted, environment: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO
    ) -> None:
        self._wanted = wanted
        self._environment = environment
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr

    def run(self) -> int:
        """Look, print, and the exit status."""
        from kdns.cli.checking.faults import look
        from kdns.cli.checking.findings import Finding, Severity, as_json, summary
        from kdns.cli.checking.notes import notes
        from kdns.cli.checking.source import CannotRead, source_of
        from kdns.cli.checking.surprises import surprises

        wanted = self._wanted
        name = "stdin" if wanted.file in STANDARD_INPUT else wanted.file or "Corefile"
        try:
            source = source_of(self._text(name), name)
        except CannotRead as error:
            findings = [Finding(Severity.FAULT, name, error.line, "", str(error), suggestion=error.suggestion)]
            read = None
        else:
            elsewhere = wanted.elsewhere or source.embedded
            read = look(source, self._environment, dns_port=wanted.port, elsewhere=elsewhere)
            findings = list(read.findings)
            if read.configuration is not None:
                whole = read.first is None
                findings += surprises(read.configuration, source, self._environment, whole=whole, elsewhere=elsewhere)
            if read.corefile is not None:
                findings += notes(read.corefile)
            findings = [source.placed(one) for one in findings if not (wanted.quiet and one.severity is Severity.NOTE)]
            # The order of faults is that of a start, the first of them what it would end with.
            findings.sort(key=lambda finding: list(Severity).index(finding.severity))
        faulty = any(finding.severity is Severity.FAULT for finding in findings)
        shown = self._stdout
        if wanted.print and not faulty and read is not None and read.configuration is not None:
            from kdns.cli.checking.effective import effective

            shown = self._stderr  # what is printed can be taken for a Corefile
            try:
                self._stdout.write(effective(read.configuration))
            except ValueError as error:  # values of the environment may hold what no Corefile can
                findings.append(Finding(Severity.FAULT, name, 0, "", f"the configuration cannot be printed: {error}"))
                faulty = True
        if wanted.json:
            shown.write(as_json(findings))
        else:
            for finding in findings:
                shown.write("\n".join(finding.lines()) + "\n")
            shown.write(f"{name}: {summary(findings)}\n")
        warned = any(finding.severity is Severity.WARNING for finding in findings)
        return FAULTY if faulty or (wanted.strict and warned) else FINE

    def _text(self, name: str) -> str:
        """
        The text of the file.

        :raises CannotRead: there is none.
        """
        from kdns.cli.checking.source import CannotRead
        from kdns.corefile.files import DiskFiles
        from kdns.corefile.imports import reason_of

        if self._wanted.file in STANDARD_INPUT:
            return self._stdin.read(MAX_FILE)
        try:
            return DiskFiles().read(name)
        except OSError as error:
            raise CannotRead(f"open {name}: {reason_of(error)}", suggestion="name the file") from None
