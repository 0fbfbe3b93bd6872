# -*- test-case-name: tests.plugins.tsig.test_config -*-
"""``tsig`` in a Corefile: keys, files of keys, and which queries must be signed."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field

from kdns.core.config_files import read_config_file
from kdns.core.text import reason_of
from kdns.corefile.keys import zones_or_keys
from kdns.corefile.values import BadValue, quote
from kdns.plugin import Block, BlockBuilder, Dispenser, from_text, to_text
from kdns.plugins.tsig.link import TsigLink
from kdns.wire.constants import type_number

OPCODES = {"QUERY": 0, "IQUERY": 1, "STATUS": 2, "NOTIFY": 4, "UPDATE": 5}
"""The opcodes that ``require_opcode`` takes. Only QUERY and NOTIFY are answered at all."""

MOST = 1 << 20
"""Bytes of a file of keys."""

_KEY = re.compile(r"key\s+(\S+?)\s*\{")
_SECRET = re.compile(r"secret\s+(\S+?)\s*;?")


@dataclass(frozen=True, slots=True)
class Required:
    """The record types, or the opcodes, whose queries must be signed."""

    everything: bool = False
    numbers: frozenset[int] = frozenset()

    def __contains__(self, number: int) -> bool:
        return self.everything or number in self.numbers


@dataclass(frozen=True, slots=True)
class TsigConfig:
    """One ``tsig``."""

    zones: tuple[bytes, ...]
    keys: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Names in lower-case wire form, with their secrets."""

    types: Required = Required()
    opcodes: Required = Required()


class BadSecrets(ValueError):
    """A file of keys cannot be read; the text names the line."""


class TsigDirective:
    """See :class:`kdns.plugin.Directive`."""

    name = "tsig"

    def parse(self, tokens: Dispenser, block: Block) -> TsigConfig:
        """See :meth:`kdns.plugin.Directive.parse`."""
        keys: dict[bytes, bytes] = {}
        types = opcodes = Required()
        zones: tuple[bytes, ...] = ()
        for _ in tokens.invocations(once=True):
            try:
                zones = tuple(zone.name for zone in zones_or_keys(tokens.remaining_args(), block.keys))
            except BadValue as error:
                raise tokens.error(str(error)) from None
            for option in tokens.block():
                if option == "secret":
                    name, text = tokens.args(2)
                    self._add(tokens, keys, name, text)
                elif option == "secrets":
                    for name, text in self._file(tokens, tokens.word()):
                        self._add(tokens, keys, name, text)
                elif option == "require":
                    types = self._required(tokens, types, "query type", type_number)
                elif option == "require_opcode":
                    opcodes = self._required(tokens, opcodes, "opcode", OPCODES.get)
                else:
                    raise tokens.unknown_property("secret", "secrets", "require", "require_opcode")
        return TsigConfig(zones, tuple(keys.items()), types, opcodes)

    def _add(self, tokens: Dispenser, keys: dict[bytes, bytes], name: str, text: str) -> None:
        try:
            key = from_text(name)
        except ValueError:
            raise tokens.error(f"key {quote(name)} is no name") from None
        if key in keys:
            raise tokens.error(f"key {quote(to_text(key))} redefined")
        try:
            keys[key] = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise tokens.error(f"secret of key {quote(to_text(key))} is not base64") from None

    def _file(self, tokens: Dispenser, path: str) -> list[tuple[str, str]]:
        try:
            content = read_config_file(path, MOST).decode("utf-8", "replace")
        except OSError as error:
            raise tokens.error(f"open {path}: {reason_of(error)}") from None
        try:
            return read_secrets(content)
        except BadSecrets as error:
            raise tokens.error(f"{path}: {error}") from None

    def _required(
        self, tokens: Dispenser, before: Required, what: str, number_of: Callable[[str], int | None]
    ) -> Required:
        words = tokens.args(1, None)
        if words[0] == "all":
            return Required(everything=True)
        numbers = set()
        for word in () if words[0] == "none" else words:
            number = number_of(word) if word.isupper() else None
            if number is None:
                raise tokens.error(f"unknown {what} {quote(word)}")
            numbers.add(number)
        # A later line replaces the list, but an "all" stays in force, as in CoreDNS.
        return Required(before.everything, frozenset(numbers))

    def build(self, config: TsigConfig, builder: BlockBuilder) -> None:
        """Add the link."""
        builder.link(TsigLink(config, builder.context))


def read_secrets(content: str) -> list[tuple[str, str]]:
    """
    Names and secrets in a file of keys as BIND's ``tsig-keygen`` writes it, one item a line. The algorithm is the client's choice.

    :raises BadSecrets: something else is in it.
    """
    found: list[tuple[str, str]] = []
    name = secret = ""
    for number, line in enumerate(content.splitlines(), 1):
        text = line.replace('"', "").strip()
        if not text or text.startswith(("#", "//")):
            continue
        begin, inside = _KEY.fullmatch(text), _SECRET.fullmatch(text)
        if begin is not None and not name:
            name, secret = begin[1], ""
        elif name and inside is not None:
            secret = inside[1]
        elif name and text in ("}", "};"):
            if not secret:
                raise BadSecrets(f"line {number}: expected secret for key {quote(name)}")
            found.append((name, secret))
            name = ""
        elif not (name and text.startswith("algorithm")):
            raise BadSecrets(f"line {number}: unexpected token {quote(text)}")
    if name:
        raise BadSecrets(f"key {quote(name)} has no end")
    return found


directive = TsigDirective()
