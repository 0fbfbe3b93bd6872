# -*- test-case-name: tests.plugins.auto.test_config -*-
"""``auto`` in a Corefile: which folder, and how a file's name becomes a zone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from kdns.core.regexp import Regexp, RegexpTooLong
from kdns.corefile.dispenser import Dispenser
from kdns.plugin.seam import Block
from kdns.plugins.file.config import DEFAULT_RELOAD, origins, reload_seconds
from kdns.wire.names import BadName, from_text

DEFAULT_PATTERN, DEFAULT_TEMPLATE = r"db\.(.*)", "{1}"

_GROUP = re.compile(r"\{(\d{1,3})\}")


@dataclass(frozen=True, slots=True)
class AutoConfig:
    """All settings of ``auto``."""

    zones: tuple[bytes, ...]
    """Names are answered only below these."""

    directory: str = ""
    """Empty for none."""

    pattern: str = DEFAULT_PATTERN
    template: str = DEFAULT_TEMPLATE
    reload: float = DEFAULT_RELOAD
    """Seconds between two looks at the folder; 0 is never again."""

    def origin_of(self, name: str, pattern: Regexp) -> bytes | None:
        """The zone in a file of that name; None when it is no zone file."""
        groups = pattern.search(name)
        if groups is None:
            return None

        def group(found: re.Match[str]) -> str:
            number = int(found[1])
            return groups[number] if number < len(groups) else found[0]

        try:
            return from_text(_GROUP.sub(group, self.template))
        except BadName:
            return None


def parse(tokens: Dispenser, block: Block) -> AutoConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`; the last ``auto`` of a block counts."""
    config: AutoConfig | None = None
    for _ in tokens.invocations():
        zones = origins(tokens.remaining_args(), block)
        directory, pattern, template, reload = "", DEFAULT_PATTERN, DEFAULT_TEMPLATE, DEFAULT_RELOAD
        for option in tokens.block():
            match option:
                case "directory":
                    folder, *words = tokens.args(1, 3)
                    directory = os.path.join(block.root, folder)
                    if len(words) == 1:
                        raise tokens.arg_error()
                    if words:
                        pattern, template = words
                        _check(pattern, tokens)
                case "reload":
                    reload = reload_seconds(tokens)
                case "upstream":
                    tokens.remaining_args()
                case _:
                    raise tokens.unknown_property("directory", "reload")
        config = AutoConfig(zones, directory, pattern, template, reload)
    assert config is not None
    return config


def _check(pattern: str, tokens: Dispenser) -> None:
    try:
        compiled = Regexp(pattern)
    except RegexpTooLong:
        raise tokens.error("regexp too large") from None
    except ValueError as error:
        raise tokens.plain_error(str(error)) from None
    if not compiled.group_count:
        raise tokens.error("Need at least one sub expression")
