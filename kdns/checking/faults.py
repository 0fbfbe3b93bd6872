# -*- test-case-name: tests.checking.test_faults -*-
"""
What is wrong with a Corefile: everything that can be found in one go, the first fault being the one that ends a start.

The Corefile is read and put together as for a start (:mod:`kdns.server.assembly`), but each fault is forgiven and noted. Nothing is
started: there is no reactor, and what would need one has only a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from kdns.checking.coredns_support import KEEP, PAGE, ROWS
from kdns.checking.findings import Finding, Severity
from kdns.checking.rules import SPELLINGS, unset_in
from kdns.checking.source import Source
from kdns.checking.syntax import SYNTAX
from kdns.cluster.credentials import CredentialsError
from kdns.core.text import checkout_path, printable
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError, ExpectedToken, ParseError, Place, SetupError
from kdns.corefile.files import DiskFiles
from kdns.corefile.guesses import OBSOLETE_ARGUMENTS, option_hint
from kdns.corefile.lexer import Token
from kdns.corefile.loader import DEFAULT_NAME, Corefile, load_text
from kdns.plugin import registry
from kdns.plugin.registry import BUILT_IN, MissingPlugin
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import Configuration, assemble, surroundings

MAX_FAULTS = 200
"""Faults that are listed."""

MAX_OF_DIRECTIVE = 20
"""Further faults of one directive."""

MAX_OF_START = 10
"""Faults that a start prints after the one that ends it."""

MAX_SHOWN = 160
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


def look(
    source: Source,
    environment: Mapping[str, str],
    *,
    dns_port: int = 53,
    elsewhere: bool = False,
    may_miss: Collection[str] | None = (),
) -> Read:
    """
    Read a Corefile and put it together without starting it.

    :param elsewhere: it will run on another machine: what depends on the machine is a warning.
    :param may_miss: directives that a start leaves out where nobody has them: a warning; None stands for all.
    """
    read = Read()
    faults: list[tuple[CorefileError, Severity]] = []

    def forgive(error: CorefileError, of_machine: bool = False) -> bool:
        pod = of_machine and _needs_pod(error, read.corefile)
        if pod and elsewhere:
            return True
        missing_file = isinstance(error, ParseError) and error.text.startswith(("File to import", "Could not import"))
        severity = Severity.WARNING if elsewhere and (of_machine or missing_file) else Severity.FAULT
        severity = Severity.NOTE if pod else severity
        missing = error.plugin if isinstance(error, MissingPlugin) else _unknown(error)
        if missing and (may_miss is None or missing in may_miss):
            severity = Severity.WARNING
        if severity is Severity.FAULT and read.first is None:
            read.first = error
        faults.append((error, severity))
        return len(faults) < MAX_FAULTS

    context = ServerContext(Clock(), environ=environment, dns_port=dns_port, kernel_sockets=False)
    with _logged() as events:
        try:
            known = replace(surroundings(environment, forgive), files=source.files)
            read.corefile = load_text(source.text, known, source.name)
            read.configuration = assemble(read.corefile, context, forgive=forgive)
        except CorefileError as last:
            if last not in [error for error, _ in faults]:
                forgive(last)
    describe = _Describer(read.corefile, source, environment)
    unknown: set[tuple[Place | None, str]] = set()
    for error, severity in faults:
        if _unknown(error):
            unknown.add((error.place, _unknown(error)))
        elif (error.place, error.plugin or "") in unknown:
            continue  # the same, from the search for the plugin
        read.findings.append(describe.fault(error, severity))
        if read.configuration is not None and severity is Severity.FAULT and len(read.findings) < MAX_FAULTS:
            read.findings += [describe.fault(other, severity) for other in _further(read.configuration, error)]
    read.findings += [*describe.built_in(), *(describe.event(event) for event in events)]
    return read


def _unknown(error: CorefileError) -> str:
    """The directive that nobody knows; empty for other errors."""
    return _quoted(error.text) if error.text.startswith("Unknown directive") else ""


def why_no_start(
    error: CorefileError,
    conf: str | None,
    environment: Mapping[str, str],
    *,
    dns_port: int = 53,
    text: str = "",
    may_miss: Collection[str] = (),
) -> list[str]:
    """
    The lines that a start prints when a Corefile ends it: the error as CoreDNS says it, what was wanted, found and can be done about it,
    and the other faults, as ``kdns check`` prints them.

    :param error: what the start ended with.
    :param conf: the Corefile as it was named; None is ``Corefile``.
    :param text: the Corefile's, where it came from no file.
    :param may_miss: see :func:`look`.
    """
    name = conf or DEFAULT_NAME
    if not text:
        try:
            text = DiskFiles().read(name)
        except OSError:
            return [printable(error.advice())]
    findings = look(Source(name, text), environment, dns_port=dns_port, may_miss=may_miss).findings
    faults = [one for one in findings if one.severity is Severity.FAULT]
    at = (error.place.file, error.place.line) if error.place else None
    first = next((one for one in faults if (one.file, one.line) == at and one.text in error.text), None)
    lines = [printable(error.advice())]
    if first is not None:
        lines += replace(first, suggestion="" if first.suggestion == error.hint else first.suggestion).details()
    others = [one for one in faults if one is not first]
    for one in others[:MAX_OF_START]:
        lines += one.lines()
    more = len(others) - MAX_OF_START
    if more > 0:
        lines.append(f"and {more} more: kdns check {name}")
    return lines


def _needs_pod(error: CorefileError, corefile: Corefile | None) -> bool:
    """Whether only the pod is missing that the Corefile is for."""
    name = error.plugin or ""
    if not isinstance(error.__cause__, CredentialsError) or corefile is None:
        return False
    uses = [tree.directives[name] for tree in corefile.blocks if name in tree.directives]
    return all(AWAY.isdisjoint(token.text for token in use.tokens) for use in uses if use.place == error.place)


@contextmanager
def _logged() -> Iterator[list[Any]]:
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


# Further faults of a directive: its plugin reads it again without the option at fault, and again.


def _further(configuration: Configuration, error: CorefileError) -> Iterator[CorefileError]:
    """
    The faults after *error* in the same directive of the same block, of option lines alone.

    A fault after the last line, such as an option that needs another, may be there only because a line was left out.
    """
    name = error.plugin or ""
    for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True):
        use = tree.directives.get(name)
        if use is None or name not in BUILT_IN or error.place not in {token.place for token in use.tokens}:
            continue
        directive = registry.find(name, use.place)
        tokens = _without(use.tokens, error.place)
        for _ in range(MAX_OF_DIRECTIVE):
            if tokens is None:
                break
            try:
                directive.parse(Dispenser(replace(use, tokens=tuple(tokens))), builder.block)
                break
            except CorefileError as following:
                tokens = _without(tokens, following.place)
                if tokens is not None:
                    yield following


def _without(tokens: Sequence[Token], place: Place | None) -> list[Token] | None:
    """The tokens without the option lines at a place; None when there is no option line."""
    kept: list[Token] = []
    inside = False
    for token in tokens:
        brace = token.text in ("{", "}")
        if token.place == place and (brace or not inside):
            return None
        if token.place != place:
            kept.append(token)
        if brace:
            inside = token.text == "{"
    return kept if len(kept) < len(tokens) else None


class _Describer:
    """Makes findings out of errors: the line, what was wanted there, what to do."""

    def __init__(self, corefile: Corefile | None, source: Source, environment: Mapping[str, str]) -> None:
        self._corefile = corefile
        self._source = source
        self._environment = environment
        self._told: set[tuple[Place, str | None]] = set()
        """What plugins logged, by place: the same again is about the next block that says so."""

    def fault(self, error: CorefileError, severity: Severity) -> Finding:
        """What a start says, and more."""
        place = error.place or Place(self._source.name, 0)
        directive = error.plugin or ""
        line = self._line(place)
        finding = Finding(severity, place.file, place.line, directive, error.text, suggestion=error.hint or "")
        if directive == SERVER:
            return replace(finding, directive="", found=line)
        if isinstance(error, ExpectedToken):
            return replace(finding, wanted=error.expected, found=error.found)
        if error.text.startswith("Unknown directive"):
            name = _quoted(error.text)
            return replace(finding, directive=name, wanted="the name of a directive", found=name)
        if directive in ROWS and directive not in BUILT_IN:
            return _missing(finding, directive)
        if isinstance(error, SetupError) and directive in SYNTAX:
            finding = self._of_plugin(finding, place)
        elif error.place is not None:
            finding = replace(finding, found=line)
        if severity is not Severity.FAULT:
            where = (
                "on this machine a start would end with"
                if error.plugin
                else "it is not on this machine, where a start would end with"
            )
            finding = replace(finding, text=f"{where}: {finding.text}")
        unset = (
            [] if finding.suggestion else [one for one in unset_in(line, self._environment) if not SPELLINGS & set(one)]
        )
        return replace(finding, suggestion=f"set {unset[0]}, which the line refers to") if unset else finding

    def event(self, event: Any) -> Finding:
        """What a plugin logged while it was read or built."""
        name = event["log_namespace"].removeprefix("plugin/")
        values = {value for value in event.values() if isinstance(value, str)}
        place = Place(self._source.name, 0)
        for use in self._uses(name):
            near = [token for token in use if token.text in values]
            if near or not place.line:
                place = (near or use)[0].place
            if near and (place, formatEvent(event)) not in self._told:
                break
        self._told.add((place, formatEvent(event)))
        return Finding(Severity.WARNING, place.file, place.line, name, formatEvent(event), found=self._line(place))

    def built_in(self) -> list[Finding]:
        """A warning where there is no server block."""
        if self._corefile is None or not self._corefile.built_in:
            return []
        text = "there is no server block: the built-in Corefile would be served, whoami and log on every address"
        return [Finding(Severity.WARNING, self._source.name, 0, "", text, wanted="a server block")]

    def _uses(self, name: str) -> list[tuple[Token, ...]]:
        trees = self._corefile.blocks if self._corefile is not None else ()
        return [tree.directives[name].tokens for tree in trees if name in tree.directives]

    def _line(self, place: Place) -> str:
        """A line from its first word to its last; empty where there is no such line."""
        lines = self._source.content(place.file).split("\n")
        return lines[place.line - 1].strip()[:MAX_SHOWN] if 0 < place.line <= len(lines) else ""

    def _of_plugin(self, finding: Finding, place: Place) -> Finding:
        """A directive that kdns has: the syntax of its line, and the nearest word where the word is not known."""
        syntax = SYNTAX[finding.directive]
        use = next((use for use in self._uses(finding.directive) if any(token.place == place for token in use)), ())
        words = [token.text for token in use if token.place == place]
        option = words[0] if words else ""
        advice: str | None = ""
        if option in (finding.directive, "{", "}", ""):
            wanted = syntax.usage
            advice = OBSOLETE_ARGUMENTS.get(finding.directive) if len(words) > 1 else ""
            if "only be used once" in finding.text:
                advice = "put everything into one, and its opening brace on the same line"
        elif option in syntax.options:
            wanted = "\n".join(syntax.options[option].usage)
        else:
            wanted = "one of: " + ", ".join(syntax.options) if syntax.options else syntax.usage
            advice = option_hint(finding.directive, option, syntax.options)
        return replace(finding, wanted=wanted, found=self._line(place), suggestion=advice or finding.suggestion)


def _missing(finding: Finding, directive: str) -> Finding:
    """A directive that CoreDNS has and kdns has not."""
    see = f" See {PAGE}." if checkout_path(PAGE) else ""
    return replace(
        finding,
        text=finding.text.partition(";")[0],
        wanted="a directive that kdns has",
        found=directive,
        suggestion=f"{KEEP}{see}",
    )
