# -*- test-case-name: tests.node_cache.test_firewall -*-
"""
Bring the packet rules of a node to what is wanted, through ``iptables`` or ``nft``, and take them away.

Everything here waits for programs to end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from kdns.node_cache.programs import MISSING, Outcome, Run
from kdns.node_cache.rules import Backend, FoundFilters, Rule, backend_of

log = Logger(namespace="kdns.node_cache")

LOCK_WAIT = ("-w", "5")
"""Seconds to wait for the lock of the tables, which kube-proxy may hold."""

MOST_COPIES = 10
"""How often one rule is deleted: other programs may have made it more than once."""

TABLE = "nodelocaldns"
"""Name of the table in nftables."""

_HELD = "holding the xtables lock"


class FirewallError(Exception):
    """
    A rule could not be looked at, made or deleted.

    :ivar locked: whether another program held the lock.
    """

    def __init__(self, text: str, *, locked: bool = False) -> None:
        super().__init__(text)
        self.locked = locked


class Firewall(Protocol):
    """The rules in one packet filter."""

    name: str
    """The program, for operators."""

    conditional: bool
    """Whether rules that hold only while a socket is open do so; when false, they hold always."""

    def put_right(self) -> list[str]:
        """
        Make what is missing.

        :return: a line for each rule that was.
        :raises FirewallError: some could not be made; the others have been.
        """

    def remove(self, *, incoming_only: bool = False) -> None:
        """
        Delete the rules, all or those that exempt queries.

        :raises FirewallError: some could not be deleted.
        """


def firewalls_for(rules: Sequence[Rule], run: Run) -> list[Firewall]:
    """
    The packet filter that the node uses for each address family of *rules*.

    :raises FirewallError: there is no program for any.
    """
    found: list[Firewall] = []
    for version in (4, 6):
        mine = [rule for rule in rules if rule.address.version == version]
        if not mine:
            continue
        family = "ip" if version == 4 else "ip6"
        backend = backend_of(_filters(family, run))
        if backend is None:
            raise FirewallError(
                f"packet rules: wanted {family}tables or nft, found neither; install one, or set -setupiptables=false"
            )
        found.append(Nft(family, mine, run) if backend is Backend.NFT else Iptables(family + backend.value, mine, run))
    return found


def _filters(family: str, run: Run) -> FoundFilters:
    programs = set()
    mangle: dict[Backend, str] = {}
    tables = run(["nft", "list", "tables"], "")
    if tables.status != MISSING:
        programs.add(Backend.NFT)
    for backend in (Backend.IPTABLES, Backend.IPTABLES_NFT, Backend.IPTABLES_LEGACY):
        program = family + backend.value
        if run([program, "--version"], "").status:
            continue
        programs.add(backend)
        if backend is not Backend.IPTABLES:
            mangle[backend] = run([program, *LOCK_WAIT, "-t", "mangle", "-S"], "").output
            if backend_of(FoundFilters(frozenset(programs), tables.output, mangle)) is backend:
                break  # do not touch the older one where it is not used: looking makes the kernel load its modules
    return FoundFilters(frozenset(programs), tables.output, mangle)


class Iptables:
    """Rules in the tables of ``iptables`` or ``ip6tables``, one by one, as node-cache keeps them."""

    def __init__(self, program: str, rules: Sequence[Rule], run: Run) -> None:
        self.name = program
        self.conditional = True
        self._rules = rules
        self._run = run

    def put_right(self) -> list[str]:
        made, faults = [], []
        for rule in self._rules:
            try:
                made += self._add_missing(rule)
            except FirewallError as error:
                faults.append(error)
        _raise(faults)
        return made

    def remove(self, *, incoming_only: bool = False) -> None:
        faults = []
        for rule in self._rules:
            if incoming_only and not rule.exempts_queries:
                continue
            for form in _forms(rule):
                try:
                    self._delete(form)
                except FirewallError as error:
                    faults.append(error)
        _raise(faults)

    def _add_missing(self, rule: Rule) -> list[str]:
        if rule.while_open and self.conditional:
            try:
                made = self._add_if_missing(rule)
            except FirewallError as error:
                if error.locked:
                    raise
                log.warn(
                    "{program} does not know the match socket ({error}): packet rules hold while nobody listens, too",
                    program=self.name,
                    error=str(error),
                )
                self.conditional = False
            else:
                self._delete(rule.unconditional())  # node-cache left it
                return made
        return self._add_if_missing(rule.unconditional())

    def _add_if_missing(self, rule: Rule) -> list[str]:
        if self._exists(rule):
            return []
        self._do("-I", rule)
        return [" ".join((self.name, "-t", rule.table, rule.chain, *rule.words()))]

    def _exists(self, rule: Rule) -> bool:
        outcome = self._command("-C", rule)
        if outcome.status > 1 or outcome.status < 0:
            raise _error(self.name, outcome)
        return outcome.status == 0

    def _delete(self, rule: Rule) -> None:
        for _ in range(MOST_COPIES):
            outcome = self._command("-D", rule)
            if outcome.status:
                break
        if _HELD in outcome.errors:
            raise _error(self.name, outcome)

    def _do(self, what: str, rule: Rule) -> None:
        outcome = self._command(what, rule)
        if outcome.status:
            raise _error(self.name, outcome)

    def _command(self, what: str, rule: Rule) -> Outcome:
        return self._run([self.name, *LOCK_WAIT, what, rule.chain, "-t", rule.table, *rule.words()], "")


class Nft:
    """
    Rules in a table of nftables, which is replaced as a whole.

    It has no rules that accept: in nftables a packet passes when no table drops it, and accepting in one decides nothing for others.

    :param family: ``ip`` or ``ip6``.
    """

    def __init__(self, family: str, rules: Sequence[Rule], run: Run) -> None:
        self.name = "nft"
        self.conditional = True
        self._family = family
        self._rules = [rule for rule in rules if not rule.accept]
        self._run = run

    def put_right(self) -> list[str]:
        if self._found() == self._wanted():
            return []
        self._replace()
        return [f"nft table {self._family} {TABLE}"]

    def remove(self, *, incoming_only: bool = False) -> None:
        if incoming_only:
            self._rules = [rule for rule in self._rules if not rule.exempts_queries]
            self._replace()
            return
        outcome = self._run(["nft", "delete", "table", self._family, TABLE], "")
        if outcome.status and "No such file" not in outcome.errors:
            raise _error("nft", outcome)

    def _wanted(self) -> list[str]:
        return sorted(_text(_expressions(self._family, rule, self.conditional), rule.chain) for rule in self._rules)

    def _found(self) -> list[str]:
        outcome = self._run(["nft", "-j", "list", "table", self._family, TABLE], "")
        try:
            items = json.loads(outcome.output)["nftables"] if outcome.status == 0 else []
            rules = [item["rule"] for item in items if "rule" in item]
            return sorted(_text(rule["expr"], rule["chain"]) for rule in rules)
        except (ValueError, KeyError, TypeError):
            return []

    def _replace(self) -> None:
        outcome = self._run(["nft", "-j", "-f", "-"], self._script())
        if outcome.status and self.conditional:
            log.warn(
                "nft does not take the expression socket ({error}): packet rules hold while nobody listens, too",
                error=outcome.reason,
            )
            self.conditional = False
            outcome = self._run(["nft", "-j", "-f", "-"], self._script())
        if outcome.status:
            raise _error("nft", outcome)

    def _script(self) -> str:
        """The commands that replace the table in one step, whether it is there or not."""
        table = {"family": self._family, "name": TABLE}
        commands: list[Any] = [{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}]
        for chain in ("PREROUTING", "OUTPUT"):
            # The priority of iptables' table raw: before connection tracking, which has -200.
            hook = {"type": "filter", "hook": chain.lower(), "prio": -300, "policy": "accept"}
            commands.append({"add": {"chain": {"family": self._family, "table": TABLE, "name": chain, **hook}}})
        for rule in self._rules:
            expressions = _expressions(self._family, rule, self.conditional)
            place = {"family": self._family, "table": TABLE, "chain": rule.chain, "comment": rule.comment}
            commands.append({"add": {"rule": {**place, "expr": expressions}}})
        return json.dumps({"nftables": commands})


def _expressions(family: str, rule: Rule, conditional: bool) -> list[Any]:
    end = "s" if rule.outgoing else "d"

    def equal(left: Any, right: Any) -> Any:
        return {"match": {"op": "==", "left": left, "right": right}}

    found = [
        equal({"payload": {"protocol": family, "field": f"{end}addr"}}, str(rule.address)),
        equal({"payload": {"protocol": rule.protocol, "field": f"{end}port"}}, rule.port),
    ]
    if rule.while_open and conditional:
        found.append(equal({"socket": {"key": "wildcard"}}, 0))
    return [*found, {"notrack": None}]


def _text(expressions: Any, chain: str) -> str:
    """For comparison; counters and the like of newer programs are no difference."""
    known = [one for one in expressions if "match" in one or "notrack" in one]
    return f"{chain} {json.dumps(known, sort_keys=True)}"


def _forms(rule: Rule) -> tuple[Rule, ...]:
    return (rule, rule.unconditional()) if rule.while_open else (rule,)


def _error(program: str, outcome: Outcome) -> FirewallError:
    return FirewallError(f"{program}: {outcome.reason}", locked=_HELD in outcome.errors)


def _raise(faults: list[FirewallError]) -> None:
    if faults:
        text = "; ".join(dict.fromkeys(map(str, faults)))
        raise FirewallError(text, locked=any(fault.locked for fault in faults))
