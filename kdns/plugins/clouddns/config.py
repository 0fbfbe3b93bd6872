# -*- test-case-name: tests.plugins.clouddns.test_clouddns -*-
"""``clouddns`` in a Corefile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import quote
from kdns.plugin.seam import Block
from kdns.plugins.file.config import fallthrough_zones
from kdns.plugins.stores.zones import origin_of

_NAME = re.compile(r"[a-z0-9.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class HostedZoneConfig:
    """One managed zone."""

    origin: bytes
    project: str
    zone: str
    """Its name, as the API has it."""

    file: str = ""
    """Of credentials; empty: application default credentials."""


@dataclass(frozen=True, slots=True)
class CloudDnsConfig:
    """All ``clouddns`` of a block."""

    zones: tuple[HostedZoneConfig, ...]
    fallthrough: tuple[bytes, ...] = ()


def parse(tokens: Dispenser, block: Block) -> CloudDnsConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`."""
    zones: dict[tuple[bytes, str, str], HostedZoneConfig] = {}
    fallthrough: tuple[bytes, ...] = ()
    for _ in tokens.invocations():
        own: list[tuple[bytes, str, str]] = []
        for word in tokens.remaining_args():
            parts = word.split(":", 1)
            project, colon, zone = parts[-1].rpartition(":")
            try:
                valid = len(parts) == 2 and parts[0] and colon and _NAME.fullmatch(project) and _NAME.fullmatch(zone)
                key = (origin_of(parts[0]), project, zone)
            except ValueError:
                valid = False
            if not valid:
                raise tokens.error(f"invalid zone {quote(word)}")
            if key in zones or key in own:
                raise tokens.error(f"conflict zone {quote(word)}")
            own.append(key)
        file = ""
        for option in tokens.block():
            match option:
                case "credentials":
                    file = os.path.abspath(tokens.word())
                case "fallthrough":
                    fallthrough = fallthrough_zones(tokens)
                case "upstream":
                    tokens.remaining_args()
                case _:
                    raise tokens.error(f"unknown property {quote(option)}")
        zones.update({key: HostedZoneConfig(*key, file) for key in own})
    if not zones:
        raise tokens.arg_error()
    return CloudDnsConfig(tuple(zones.values()), fallthrough)
