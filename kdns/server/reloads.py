# -*- test-case-name: tests.server.test_reloads -*-
"""
Outcomes of reloads: the last one, whether the configuration that runs is the Corefile's, and the metrics and log lines about it.

The service reads, builds and swaps configurations, and reports here.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.logger import Logger

from kdns.core.degraded import Fault
from kdns.corefile.errors import CorefileError, Place
from kdns.corefile.values import format_duration
from kdns.plugin.seam import ServerContext

log = Logger(namespace="kdns.server")
reload_log = Logger(namespace="plugin/reload")


COREFILE = "Corefile"
"""The name of the degraded state in which the Corefile cannot be used."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a reload."""

    at: float
    """Seconds since 1970."""

    taken_over: bool
    error: str = ""
    """What was wrong, with file and line where they are known; empty on success."""


class Reloads:
    """
    The record of one service.

    :ivar last: the last reload; None before the first. A check that finds the file unchanged is no reload.
    :ivar refused: the fingerprint of a configuration that failed, until the file changes; checks do not try it again.
    """

    def __init__(self, context: ServerContext) -> None:
        self.last: Outcome | None = None
        self.refused = ""
        self._wall = context.wall
        self._bad_since = 0.0
        self._degraded = context.degraded.condition(Fault.COREFILE, COREFILE)
        registry = context.registry
        self._failures = registry.counter("coredns_reload_failed_total", "Reloads that failed.").counter()
        self._version = registry.gauge(
            "coredns_reload_version_info", "The configuration that was loaded last.", ["hash", "value"], greatest=True
        )
        self._bad = registry.gauge(
            "kdns_reload_config_bad",
            "1 while the Corefile cannot be used and an older configuration runs.",
            greatest=True,
        ).gauge()
        self._at = registry.gauge(
            "kdns_reload_last_success_timestamp_seconds",
            "When the running configuration was taken over.",
            greatest=True,
        ).gauge()

    @property
    def config_bad(self) -> bool:
        """Whether an older configuration runs because the Corefile cannot be used."""
        return bool(self._bad.value)

    def started(self, fingerprint: str, *, watched: bool) -> None:
        """
        The first configuration runs.

        :param watched: whether it has *reload*, which logs and shows the fingerprint.
        """
        self._good()
        if watched:
            self._running(fingerprint)

    def taken_over(self, fingerprint: str) -> None:
        """A new configuration runs."""
        self._good()
        self.last = Outcome(self._at.value, True)
        self._running(fingerprint)
        log.info("Reloading complete")

    def unchanged(self) -> None:
        """The Corefile holds the running configuration again; if it could not be used before, that is logged."""
        if self.config_bad:
            since = format_duration(round(self._wall() - self._bad_since))
            reload_log.info("The Corefile can be used again, after {since}", since=since)
        self._bad.set(0)
        self.refused = ""
        self._degraded.forget()  # the lines of reloads tell that it is over

    def unreadable(self, error: CorefileError) -> None:
        """A check could not read the Corefile."""
        text = located(error)
        self._failed(text)
        self.refused = ""
        reload_log.warn("Corefile parse failed: {error}", error=text)

    def failed(self, error: BaseException, place: Place | None, fingerprint: str, *, looked: bool) -> None:
        """
        A reload failed.

        :param place: the place in the Corefile of what failed, where *error* does not name it.
        :param fingerprint: of the configuration that failed; empty when it could not be read.
        :param looked: whether a check of the file caused the reload; otherwise a signal or the operator did.
        """
        text = located(error, place)
        self._failed(text)
        self.refused = fingerprint
        where = getattr(error, "place", None) or place
        log.error("Restart failed: {text}", text=text, place=where)
        if looked:
            self._shows(fingerprint)
            reload_log.error(
                "Corefile changed but reload failed: starting with listener file descriptors: {text}",
                text=text,
                place=where,
            )

    def _good(self) -> None:
        self.unchanged()
        self._at.set(self._wall())

    def _failed(self, text: str) -> None:
        self._failures.inc()
        if not self.config_bad:
            self._bad_since = self._wall()
        self._bad.set(1)
        self._degraded.begin(f"cannot be used, so the one before it stays: {text}", self._wall())
        self.last = Outcome(self._wall(), False, text)

    def _running(self, fingerprint: str) -> None:
        reload_log.info("Running configuration SHA512 = {hash}", hash=fingerprint)
        self._shows(fingerprint)

    def _shows(self, fingerprint: str) -> None:
        self._version.cells.clear()
        self._version.gauge("sha512", fingerprint).set(1)


def located(error: BaseException, place: Place | None = None) -> str:
    """The text of an error, with file and line in front unless they are part of it."""
    text = error.advice() if isinstance(error, CorefileError) else str(error)
    where = getattr(error, "place", None) or place
    if where is None or not where.line or str(where) in text:
        return text
    return f"{where} - {text}"
