# -*- test-case-name: tests.plugins.log.test_observer -*-
"""The observer of *log*: find the rule for a reply, and write its line if the rule wants one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from kdns.core.observe import EachRepeat, Exchange, Observer, Repeat
from kdns.plugin.line_budget import LineBudget
from kdns.plugin.replies import DROPPED, reply_class
from kdns.plugin.seam import Output
from kdns.plugins.log.lines import Form
from kdns.plugins.log.policy import Choice, Clients, Judge, Lot, judge
from kdns.wire.names import is_subdomain


@dataclass(frozen=True, slots=True)
class Ruling:
    """One rule: a use of the directive in a Corefile."""

    names: tuple[bytes, ...]
    classes: frozenset[str]
    form: Form
    choice: Choice
    slower: float = 0.0
    clients: Clients | None = None
    lot: Lot | None = None
    slow: float = inf
    budget: LineBudget | None = None

    def wants(self, exchange: Exchange, kind: str) -> bool:
        """Whether class, name and response code of a reply are wanted."""
        return kind in self.classes and self.choice.fits(exchange)

    def ignores_denials(self, zone: bytes) -> bool:
        """Whether NXDOMAIN is not logged for any name below *zone*."""
        return "denial" not in self.classes or self.choice.denials_below(zone) is False

    def judge(self, exchange: Exchange, kind: str) -> Judge | None:
        """The decision for a reply and each repetition; None when all are logged."""
        return judge(
            kind == "error" or exchange.failure is not None,
            slower=self.slower,
            clients=self.clients,
            lot=self.lot,
            slow=self.slow,
            admit=None if self.budget is None else self.budget.admit,
        )


class QueryLog(Observer):
    """The observer of one server block."""

    repeats = True

    def __init__(self, rulings: Sequence[Ruling], output: Output) -> None:
        self._rulings = [(name, ruling) for ruling in rulings for name in ruling.names]
        self._output = output

    def alike(self, zone: bytes) -> bool:
        """Whether no name below *zone* has a line."""
        return not any(is_subdomain(zone, name) or is_subdomain(name, zone) for name, _ in self._rulings)

    def alike_below(self, zone: bytes) -> bool:
        """
        Whether NXDOMAIN is not logged for any name below *zone*.

        If it is logged for all of them they are alike, too, but each needs a line, so nothing would be gained.
        """
        for name, ruling in self._rulings:
            if is_subdomain(zone, name):
                return ruling.ignores_denials(zone)
            if is_subdomain(name, zone) and not ruling.ignores_denials(name):
                return False
        return True

    def finished(self, exchange: Exchange) -> None:
        """Write the line of a reply if a rule wants it."""
        each = self._each(exchange)
        if each is not None:
            request = exchange.request
            each(request.client, request.client_port, request.ident, exchange.seconds)

    def repeat(self, exchange: Exchange) -> Repeat:
        """The line of a repetition, prepared but for what differs from client to client."""
        return Repeat(each=self._each(exchange))

    def _each(self, exchange: Exchange) -> EachRepeat | None:
        """The first rule whose name fits decides, even if it does not want the reply. Queries that no block took are not logged."""
        if exchange.zone == DROPPED:
            return None
        qname = exchange.request.qname
        for name, ruling in self._rulings:
            if is_subdomain(qname, name):
                kind = reply_class(exchange)
                if not ruling.wants(exchange, kind):
                    return None
                has_line = ruling.judge(exchange, kind)
                writer = ruling.form.writer(exchange, self._output)
                return writer if has_line is None else _judged(has_line, writer)
        return None


def _judged(has_line: Judge, writer: EachRepeat) -> EachRepeat:
    def each(client: str, port: int, ident: int, seconds: float, reply: bytes = b"", /) -> None:
        if has_line(client, seconds):
            writer(client, port, ident, seconds)

    return each
