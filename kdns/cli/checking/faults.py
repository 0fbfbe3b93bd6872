# -*- test-case-name: tests.cli.checking.test_faults -*-
"""
What is wrong with a Corefile: everything that can be found in one go, the first of it what a start would end with.

The Corefile is read and put together as for a start (:mod:`kdns.server.assembly`), by who forgives each fault and notes it. Nothing is
started: there is no reactor, and what would need one has only a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from kdns.cli.checking.coredns_support import ENCRYPTED, PAGE, ROWS, Standing
from kdns.cli.checking.findings import Finding, Severity
from kdns.cli.checking.more_faults import further
from kdns.cli.checking.obsolete import ARGUMENTS, DIRECTIVES, OPTIONS
from kdns.cli.checking.source import Source
from kdns.cli.checking.syntax import SYNTAX
from kdns.cluster.credentials import CredentialsError
from kdns.corefile.errors import CorefileError, ExpectedToken, Place, SetupError, nearest_hint
from kdns.corefile.lexer import Token
from kdns.corefile.loader import Corefile, load_text
from kdns.plugin.registry import BUILT_IN
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import Configuration, assemble, surroundings

MOST = 200
"""Faults that are listed; who has more looks at the first ones first."""

LONGEST = 160
"""Characters of a line that are shown."""

SERVER = "server"
"""What errors about keys have in place of a plugin's name."""

AWAY = frozenset(("kubeconfig", "endpoint", "manifests"))
"""Options of ``kubernetes`` with which credentials do not come from the pod."""


@dataclass(slots=True)
class Read:
    """A Corefile that was looked at, as far as it could be put together."""

    findings: list[Finding] = field(default_factory=list)
    corefile: Corefile | None = None
    configuration: Configuration | None = None
    first: CorefileError | None = None
    """What a start would end with; None when it would not end, or only where there is no cluster."""


def look(source: Source, environment: Mapping[str, str], *, dns_port: int = 53, elsewhere: bool = False) -> Read:
    """
    Read a Corefile and put it together without starting it.

    :param elsewhere: it will run on another machine: what depends on the machine is a warning.
    """
    read = Read()
    faults: list[tuple[CorefileError, Severity]] = []

    def forgive(error: CorefileError, of_machine: bool = False) -> bool:
        pod = of_machine and _needs_pod(error, read.corefile)
        if pod and elsewhere:
            return True  # it is for a pod, and there it finds one
        severity = Severity.WARNING if pod or (of_machine and elsewhere) else Severity.FAULT
        if severity is Severity.FAULT and read.first is None:
            read.first = error
        faults.append((error, severity))
        return len(faults) < MOST

    context = ServerContext(Clock(), environ=environment, dns_port=dns_port, kernel_sockets=False)
    with _said() as events:
        try:
            known = replace(surroundings(environment, forgive), files=source.files)
            read.corefile = load_text(source.text, known, source.name)
            read.configuration = assemble(read.corefile, context, forgive=forgive)
        except CorefileError as last:
            if last not in [error for error, _ in faults]:
                forgive(last)
    said = _Sayer(read.corefile, source)
    unknown: set[tuple[Place | None, str]] = set()
    for error, severity in faults:
        if error.text.startswith("Unknown directive"):
            unknown.add((error.place, _quoted(error.text)))
        elif (error.place, error.plugin or "") in unknown:
            continue  # the same, said by who looked for the plugin
        read.findings.append(said.fault(error, severity))
        if read.configuration is not None and severity is Severity.FAULT and len(read.findings) < MOST:
            read.findings += [said.fault(other, severity) for other in further(read.configuration, error)]
    read.findings += [*said.built_in(), *(said.event(event) for event in events)]
    return read


def _needs_pod(error: CorefileError, corefile: Corefile | None) -> bool:
    """Whether all that is missing is the pod that the Corefile is for."""
    name = error.plugin or ""
    if not isinstance(error.__cause__, CredentialsError) or corefile is None:
        return False
    uses = [tree.directives[name] for tree in corefile.blocks if name in tree.directives]
    return all(AWAY.isdisjoint(token.text for token in use.tokens) for use in uses if use.place == error.place)


@contextmanager
def _said() -> Iterator[list[Any]]:
    """Collects what plugins log meanwhile."""
    events: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_level") in (LogLevel.warn, LogLevel.error) and event["log_namespace"].startswith("plugin/"):
            events.append(event)

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # the stubs want a class that says so
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]  # see above


def _quoted(text: str) -> str:
    return text.split("'")[1] if text.count("'") >= 2 else ""


class _Sayer:
    """Makes findings out of errors: which line it is, what was wanted there, what to do."""

    def __init__(self, corefile: Corefile | None, source: Source) -> None:
        self._corefile = corefile
        self._source = source

    def fault(self, error: CorefileError, severity: Severity) -> Finding:
        """What a start would say, and more."""
        place = error.place or Place(self._source.name, 0)
        directive = error.plugin or ""
        finding = Finding(severity, place.file, place.line, directive, error.text, suggestion=error.hint or "")
        if directive == SERVER:
            return replace(
                finding, directive="", wanted="dns://, or no scheme", found=self._line(place), suggestion=ENCRYPTED
            )
        if isinstance(error, ExpectedToken):
            return replace(finding, wanted=error.expected, found=error.found)
        if error.text.startswith("Unknown directive"):
            return self._unknown_directive(finding, _quoted(error.text))
        if directive in ROWS and directive not in BUILT_IN:
            return _missing(finding, directive)
        if isinstance(error, SetupError) and directive in SYNTAX:
            finding = self._of_plugin(finding, place)
        elif error.place is not None:
            finding = replace(finding, found=self._line(place))
        if severity is Severity.WARNING:
            finding = replace(finding, text=f"on this machine a start would end with: {finding.text}")
        return finding

    def event(self, event: Any) -> Finding:
        """What a plugin logged while it was read or built."""
        from twisted.logger import formatEvent

        name = event["log_namespace"].removeprefix("plugin/")
        values = {value for value in event.values() if isinstance(value, str)}
        place = Place(self._source.name, 0)
        for use in self._uses(name):
            near = [token for token in use if token.text in values]
            if near or not place.line:
                place = (near or use)[0].place
            if near:
                break
        return Finding(Severity.WARNING, place.file, place.line, name, formatEvent(event), found=self._line(place))

    def built_in(self) -> list[Finding]:
        """That it says nothing, if it does not."""
        if self._corefile is None or not self._corefile.built_in:
            return []
        text = "there is no server block: the built-in Corefile would be served, whoami and log on every address"
        return [Finding(Severity.WARNING, self._source.name, 0, "", text, wanted="a server block")]

    def _uses(self, name: str) -> list[tuple[Token, ...]]:
        trees = self._corefile.blocks if self._corefile is not None else ()
        return [tree.directives[name].tokens for tree in trees if name in tree.directives]

    def _line(self, place: Place) -> str:
        """What stands in a line, from its first word to its last; empty where there is no such line."""
        lines = self._source.content(place.file).split("\n")
        return lines[place.line - 1].strip()[:LONGEST] if 0 < place.line <= len(lines) else ""

    def _unknown_directive(self, finding: Finding, name: str) -> Finding:
        wanted = "the name of a directive"
        finding = replace(finding, directive=name, wanted=wanted, found=name)
        if name in DIRECTIVES:
            return replace(finding, suggestion=DIRECTIVES[name])
        if name.endswith("{") and name != "{":
            return replace(finding, suggestion="put a blank before '{'")
        near = nearest_hint(name, BUILT_IN)  # rather one that kdns has than one that it refuses
        return replace(finding, suggestion=near or finding.suggestion)

    def _of_plugin(self, finding: Finding, place: Place) -> Finding:
        """A directive that kdns has: the syntax of its line, and the nearest word where the word is not known."""
        syntax = SYNTAX[finding.directive]
        use = next((use for use in self._uses(finding.directive) if any(token.place == place for token in use)), ())
        words = [token.text for token in use if token.place == place]
        finding = replace(finding, found=self._line(place))
        option = words[0] if words else ""
        head = option == finding.directive or not words or words[0] in "{}"
        if head:
            wanted, advice = syntax.usage, ARGUMENTS.get(finding.directive, "") if len(words) > 1 else ""
            if "only be used once" in finding.text:
                advice = "put everything into one, and its opening brace on the same line"
        elif option in syntax.options:
            wanted, advice = "\n".join(syntax.options[option].usage), ""
        else:
            wanted = "one of: " + ", ".join(syntax.options) if syntax.options else syntax.usage
            advice = OPTIONS.get((finding.directive, option)) or nearest_hint(option, syntax.options) or ""
        return replace(finding, wanted=wanted, suggestion=advice or finding.suggestion)


def _missing(finding: Finding, directive: str) -> Finding:
    """A directive that CoreDNS has and kdns has not."""
    row = ROWS[directive]
    return replace(
        finding,
        text=finding.text.partition(";")[0],
        wanted="a directive that kdns has",
        found=directive,
        suggestion=f"{row.reason + ' ' if row.standing is Standing.NEVER else ''}{row.instead} See {PAGE}.",
    )
