# -*- test-case-name: tests.cli.checking.test_effective -*-
"""
The configuration that a Corefile amounts to, as a Corefile: imports and environment resolved, plugins in the order of the chain, and every
default written out with a comment that says so.

It means the same as the Corefile that it was made from; a test has the plugins read both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdns.cli.checking.syntax import SYNTAX, ZONES, Option
from kdns.corefile.dispenser import Dispenser
from kdns.corefile.keys import Scheme
from kdns.corefile.lexer import Token
from kdns.corefile.printer import format_word
from kdns.corefile.tree import Directive
from kdns.plugin import registry
from kdns.plugin.seam import Block
from kdns.server.assembly import Configuration

INDENT = "    "
DEFAULT = "# default"

REPEATED = frozenset(("bind", "errors", "hosts", "log"))
"""Directives that add up, or whose options are lines of data: nothing is written into them but what stands there."""


def effective(configuration: Configuration) -> str:
    """The text, with a comment before each block that says where it stands in the files."""
    blocks = []
    for builder, tree in zip(configuration.builders, configuration.corefile.blocks, strict=True):
        keys = ", ".join(_key(key.scheme, key.zone_text, key.port) for key in builder.block.keys)
        uses = sorted(
            tree.directives.values(), key=lambda use: registry.order_of(use.name, registry.find(use.name, use.place))
        )
        lines = [f"# {tree.place}", f"{keys} {{"]
        for use in uses:
            lines += [INDENT + line for line in _directive(use, builder.block)]
        blocks.append("\n".join([*lines, "}"]) + "\n")
    return "\n".join(blocks)


def _key(scheme: Scheme, zone: str, port: int) -> str:
    prefix = "" if scheme is Scheme.DNS else f"{scheme.value}://"
    return format_word(f"{prefix}{zone}:{port}")


def _directive(use: Directive, block: Block) -> Iterator[str]:
    """The lines of all uses of a directive in a block."""
    uses = _uses(use.tokens)
    syntax = SYNTAX.get(use.name)
    for head, options in uses:
        added: list[str] = []
        words = [format_word(token.text) for token in head]
        comment = ""
        if syntax is not None:
            if len(head) == 1 and syntax.default:
                words += _zones(syntax.default, block)
                comment = f"  {DEFAULT}"
            if use.name == "forward" or (use.name not in REPEATED and len(uses) == 1):
                added = list(_added(use, {line[0].text for line in options}, syntax.options, block))
        lines = [" ".join(format_word(token.text) for token in line) for line in options]
        lines += [f"{line}  {DEFAULT}" for line in added]
        if lines:
            yield f"{' '.join(words)} {{{comment}"
            yield from (INDENT + line for line in lines)
            yield "}"
        else:
            yield " ".join(words) + comment


def _zones(default: tuple[str, ...], block: Block) -> Iterator[str]:
    for word in default:
        if word == ZONES:
            yield from (format_word(key.zone_text) for key in block.keys)
        else:
            yield format_word(word)


def _uses(tokens: tuple[Token, ...]) -> list[tuple[list[Token], list[list[Token]]]]:
    """Each use of a directive: the words of its first line, and its option lines."""
    found: list[tuple[list[Token], list[list[Token]]]] = []
    inside = False
    for token in tokens:
        if inside:
            if token.text == "}":
                inside = False
            elif token.starts_line or not found[-1][1]:
                found[-1][1].append([token])
            else:
                found[-1][1][-1].append(token)
        elif token.text == "{" and found and not token.starts_line:
            inside = True
        elif token.starts_line or not found:
            found.append(([token], []))
        else:
            found[-1][0].append(token)
    return found


def _added(use: Directive, written: set[str], options: dict[str, Option] | Any, block: Block) -> Iterator[str]:
    """Lines that say what options mean that are not written."""
    if use.name == "cache":
        config = registry.find(use.name, use.place).parse(Dispenser(use), block)
        for kind, limits in (("success", config.success), ("denial", config.denial)):
            if kind not in written:
                yield f"{kind} {limits.entries} {limits.most_ttl} {limits.least_ttl}"
    for name, option in options.items():
        if option.default and name not in written:
            yield option.default
