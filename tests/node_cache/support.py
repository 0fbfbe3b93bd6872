# -*- test-case-name: tests.node_cache -*-
"""Fakes of what a node has: packet filters and network interfaces."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from typing import Any

from kdns.node_cache.config import Address
from kdns.node_cache.programs import MISSING, Outcome


class FakeIptables:
    """
    The tables of one backend of iptables, with the commands that kdns uses.

    :param socket: whether the match ``socket`` is known.
    """

    def __init__(self, *, socket: bool = True, mangle: str = "") -> None:
        self.socket = socket
        self.mangle = mangle
        self.locked = False
        self.rules: list[str] = []
        """Each as table, chain and arguments; the first is the newest."""

    def __call__(self, words: Sequence[str]) -> Outcome:
        if words == ["--version"]:
            return Outcome(0, "iptables v1.8.9 (nf_tables)\n")
        assert list(words[:2]) == ["-w", "5"], words
        if "-S" in words:
            return Outcome(0, self.mangle)
        if self.locked:
            return Outcome(4, errors="Another app is currently holding the xtables lock.\n")
        command, chain, table, name, *rest = words[2:]
        assert table == "-t"
        if "socket" in rest and not self.socket:
            return Outcome(2, errors="Couldn't load match `socket': No such file or directory\n")
        rule = " ".join((name, chain, *rest))
        if command == "-I":
            self.rules.insert(0, rule)
            return Outcome(0)
        if rule not in self.rules:
            return Outcome(1, errors="Bad rule (does a matching rule exist in that chain?).\n")
        if command == "-D":
            self.rules.remove(rule)
        return Outcome(0)


class FakeNft:
    """
    nftables, as far as ``nft`` is asked to list, replace and delete tables.

    :param socket: whether the expression ``socket`` is known.
    """

    def __init__(self, *tables: str, socket: bool = True) -> None:
        self.others = tables
        self.socket = socket
        self.tables: dict[str, list[Any]] = {}

    def __call__(self, words: Sequence[str], text: str) -> Outcome:
        if list(words) == ["list", "tables"]:
            return Outcome(0, "".join(f"table {table}\n" for table in (*self.others, *self.tables)))
        if words[:3] == ["-j", "list", "table"]:
            found = self.tables.get(" ".join(words[3:]))
            if found is None:
                return Outcome(1, errors="Error: No such file or directory\n")
            rules = [{"rule": {"handle": number, **rule}} for number, rule in enumerate(found)]
            return Outcome(0, json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *rules]}))
        if words[:2] == ["delete", "table"]:
            if self.tables.pop(" ".join(words[2:]), None) is None:
                return Outcome(1, errors="Error: Could not process rule: No such file or directory\n")
            return Outcome(0)
        assert list(words) == ["-j", "-f", "-"], words
        if '"socket"' in text and not self.socket:
            return Outcome(1, errors="Error: Could not process rule: Operation not supported\n")
        self._follow(json.loads(text)["nftables"])
        return Outcome(0)

    def _follow(self, commands: list[Any]) -> None:
        for command in commands:
            ((what, item),) = command.items()
            ((kind, about),) = item.items()
            name = f"{about['family']} {about.get('table', about['name'] if kind == 'table' else '')}"
            if kind == "table" and what == "add":
                self.tables.setdefault(name, [])
            elif kind == "table":
                del self.tables[name]
            elif kind == "rule":
                self.tables[name].append({key: about[key] for key in ("chain", "expr", "comment")})


class FakePrograms:
    """The programs of a node by name; others are not installed."""

    def __init__(self, nft: FakeNft | None = None, **tables: FakeIptables) -> None:
        self.nft = nft
        self.tables = {name.replace("_", "-"): fake for name, fake in tables.items()}
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], text: str = "") -> Outcome:
        program, *words = command
        self.asked.append(program)
        if program == "nft" and self.nft is not None:
            return self.nft(words, text)
        if program in self.tables:
            return self.tables[program](words)
        return Outcome(MISSING, errors=f"{program}: not installed")


class FakeNetlink:
    """The interfaces of a node."""

    def __init__(self) -> None:
        self.devices: dict[str, list[str]] = {"lo": ["127.0.0.1"]}
        self.refuses = 0
        """Error number of everything that is tried."""

    def look(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(addresses) for name, addresses in self.devices.items()}

    def create(self, name: str) -> None:
        self._may()
        self.devices.setdefault(name, [])

    def add(self, name: str, addresses: Sequence[Address]) -> None:
        self._may()
        self.devices[name] += [str(address) for address in addresses if str(address) not in self.devices[name]]

    def delete(self, name: str) -> None:
        self._may()
        self.devices.pop(name, None)

    def _may(self) -> None:
        if self.refuses:
            raise OSError(self.refuses, errno.errorcode[self.refuses])
