# -*- test-case-name: tests.cli.test_check -*-
"""
``kdns check``: what is wrong with a Corefile, what will surprise, and what differs from CoreDNS, without serving anything.

Reads the command line and the file, and prints; :mod:`kdns.checking` decides what is found.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from kdns.cli.flags import BadFlags, parse_port
from kdns.core.text import names_of, printable, reason_of

if TYPE_CHECKING:
    from kdns.checking.faults import Read
    from kdns.checking.findings import Finding

HELP = """\
Usage of kdns check:
  kdns check [FILE] [--json] [--notes] [--strict] [--elsewhere] [--lenient] [--print] [-dns.port N]

Looks at a Corefile without serving it. FILE is "Corefile" by default; "-" or "stdin" reads standard input.
It may also be a manifest: a ConfigMap with a key "Corefile" and, in the same file, the Deployment
(kubectl -n kube-system get deployment,configmap coredns -o yaml), or the values of CoreDNS's Helm chart.

  --notes         show what differs from CoreDNS, too
  --json          all findings as a JSON list
  --strict        exit status 1 for warnings, too
  --elsewhere     it will run on another machine: what is missing on this one (files, interfaces) is a warning
  --lenient       a directive that kdns does not have is a warning
  --allow-missing NAME,...
                  these directives are; "kdns -allow-missing NAME,..." leaves them out
  --quiet         no notes in JSON, and no count of them
  --print         print the configuration with imports, environment and defaults filled in
  -dns.port N, -p N
                  port of server blocks that name none (default 53)

Exit status: 0 nothing is wrong, 1 something is, 2 the command line cannot be understood.
"""

FINE, FAULTY, BAD_USAGE = 0, 1, 2

STANDARD_INPUT = ("-", "stdin")

MAX_FILE = 8 * 1024 * 1024
"""Characters; as large as a file with a Corefile may be."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadFlags(message)


def parse_words(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Read a command line; flags may stand before and after the file, with one dash or two.

    :raises BadFlags: it cannot be understood.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("file", nargs="?", default="")
    for switch in ("json", "notes", "strict", "elsewhere", "lenient", "quiet", "print", "help"):
        short = ("-h",) if switch == "help" else ()
        parser.add_argument(f"-{switch}", f"--{switch}", *short, action="store_true", dest=switch)
    parser.add_argument("-conf", "--conf", dest="conf", default="")
    parser.add_argument("-allow-missing", "--allow-missing", dest="may_miss", type=names_of, default=())
    parser.add_argument("-dns.port", "--dns.port", "-p", "--p", dest="port", type=parse_port, default=53)
    parsed = parser.parse_args(arguments)
    if parsed.conf and parsed.file:
        raise BadFlags(f"one file at a time: {parsed.conf}, {parsed.file}")
    parsed.file = parsed.conf or parsed.file
    return parsed


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
        stderr.write(f"{printable(str(error))}\n{HELP}")
        return BAD_USAGE
    if wanted.help:
        stderr.write(HELP)
        return FINE
    from kdns.checking.findings import Finding, Severity, as_json, summary

    name = "stdin" if wanted.file in STANDARD_INPUT else wanted.file or "Corefile"
    environment = os.environ if environment is None else environment
    findings, read = _look(wanted, name, environment, stdin or sys.stdin)
    shown = stdout
    if wanted.print and not _any(findings, Severity.FAULT) and read is not None and read.configuration is not None:
        from kdns.checking.syntax import effective

        shown = stderr  # what is printed can be taken for a Corefile
        try:
            text = effective(read.configuration)
        except ValueError as error:  # values of the environment may hold what no Corefile can
            findings.append(Finding(Severity.FAULT, name, 0, "", f"the configuration cannot be printed: {error}"))
        else:
            stdout.write("".join(map(_shown, text.splitlines(keepends=True))) if stdout.isatty() else text)
    if wanted.json:
        shown.write(as_json(findings))
    else:
        notes = [one for one in findings if one.severity is Severity.NOTE]
        for finding in findings:
            if wanted.notes or finding.severity is not Severity.NOTE:
                shown.write("\n".join(finding.lines()) + "\n")
        shown.write(f"{printable(name)}: {summary(findings, Severity.FAULT, Severity.WARNING)}\n")
        if notes and not wanted.notes:
            shown.write(f"{summary(notes, Severity.NOTE)}, such as differences from CoreDNS; --notes shows them\n")
    wrong = _any(findings, Severity.FAULT) or (wanted.strict and _any(findings, Severity.WARNING))
    return FAULTY if wrong else FINE


def _shown(line: str) -> str:
    return printable(line.rstrip("\n")) + "\n"


def _any(findings: Sequence[Finding], severity: object) -> bool:
    return any(finding.severity is severity for finding in findings)


def _look(
    wanted: argparse.Namespace, name: str, environment: Mapping[str, str], stdin: TextIO
) -> tuple[list[Finding], Read | None]:
    """All findings, faults first in the order of a start."""
    from kdns.checking.faults import look
    from kdns.checking.findings import Finding, Severity
    from kdns.checking.rules import find_differences, find_slow_probes, find_surprises
    from kdns.checking.source import CannotRead, source_of
    from kdns.corefile.files import DiskFiles

    try:
        try:
            text = stdin.read(MAX_FILE) if wanted.file in STANDARD_INPUT else DiskFiles().read(name)
        except OSError as error:
            raise CannotRead(f"open {name}: {reason_of(error)}", suggestion="name the file") from None
        source = source_of(text, name)
    except CannotRead as error:
        return [Finding(Severity.FAULT, name, error.line, "", str(error), suggestion=error.suggestion)], None
    elsewhere = wanted.elsewhere or source.embedded
    read = look(
        source,
        environment,
        dns_port=wanted.port,
        elsewhere=elsewhere,
        may_miss=None if wanted.lenient else wanted.may_miss,
    )
    findings = list(read.findings)
    if read.configuration is not None:
        whole = read.first is None
        findings += find_surprises(read.configuration, source, environment, whole=whole, elsewhere=elsewhere)
    if read.corefile is not None:
        findings += find_differences(read.corefile)
    findings = [source.placed(one) for one in findings]
    if read.configuration is not None:
        findings += find_slow_probes(source.probes, read.configuration, name)
    findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    return [one for one in findings if not (wanted.quiet and one.severity is Severity.NOTE)], read
