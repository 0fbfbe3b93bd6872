# -*- test-case-name: tests.plugins.azure.test_azure -*-
"""``azure`` in a Corefile."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.values import quote
from kdns.plugin.seam import Block
from kdns.plugins.file.config import fallthrough_zones
from kdns.plugins.stores.zones import origin_of

OPTIONS = ("tenant", "client", "secret", "subscription", "environment", "access", "fallthrough")

_GROUP = re.compile(r"[\w().-]{1,90}")


@dataclass(frozen=True, slots=True)
class Cloud:
    """The servers of one of Azure's clouds."""

    login: str
    api: str


CLOUDS = {
    "AZUREPUBLICCLOUD": Cloud("https://login.microsoftonline.com", "https://management.azure.com"),
    "AZUREUSGOVERNMENTCLOUD": Cloud("https://login.microsoftonline.us", "https://management.usgovcloudapi.net"),
    "AZURECHINACLOUD": Cloud("https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
}


@dataclass(frozen=True, slots=True)
class Access:
    """How Azure is asked. Without client and secret it is the identity of the machine or pod."""

    tenant: str = ""
    client: str = ""
    secret: str = field(default="", repr=False)
    subscription: str = ""
    cloud: Cloud = CLOUDS["AZUREPUBLICCLOUD"]


@dataclass(frozen=True, slots=True)
class HostedZoneConfig:
    """One hosted zone."""

    origin: bytes
    group: str
    zone: str
    """Its name, as the API has it."""

    private: bool
    access: Access


@dataclass(frozen=True, slots=True)
class AzureConfig:
    """All ``azure`` of a block."""

    zones: tuple[HostedZoneConfig, ...]
    fallthrough: tuple[bytes, ...] = ()


def parse(tokens: Dispenser, block: Block) -> AzureConfig:
    """See :meth:`kdns.plugin.seam.Directive.parse`; one client asks for all zones, as in CoreDNS, with what was said last."""
    zones: dict[tuple[str, str], bool] = {}
    fallthrough: tuple[bytes, ...] = ()
    words: dict[str, str] = {}
    cloud = Access().cloud
    for _ in tokens.invocations():
        own: list[tuple[str, str]] = []
        for word in tokens.remaining_args():
            group, _colon, zone = word.partition(":")
            try:
                valid = bool(_GROUP.fullmatch(group) and zone and origin_of(zone))
            except ValueError:
                valid = False
            if not valid:
                raise tokens.error(f"invalid resource group/zone: {quote(word)}")
            key = (group, zone.rstrip(".").lower())
            if key in zones or key in own:
                raise tokens.error(f"conflicting zone: {quote(word)}")
            own.append(key)
        private = False
        for option in tokens.block():
            match option:
                case "tenant" | "client" | "secret" | "subscription":
                    words[option] = tokens.word()
                case "environment":
                    word = tokens.word()
                    if word.upper() not in CLOUDS:
                        raise tokens.error(f"cannot set azure environment: {quote(word)}")
                    cloud = CLOUDS[word.upper()]
                case "access":
                    word = tokens.word()
                    if word not in ("public", "private"):
                        raise tokens.error(f"invalid access value: can be public/private, found: {word}")
                    private = word == "private"
                case "fallthrough":
                    fallthrough = fallthrough_zones(tokens)
                case _:
                    raise tokens.error(f"unknown property: {quote(option)}")
        zones.update(dict.fromkeys(own, private))
    if not zones:
        raise tokens.arg_error()
    if not words.get("subscription"):
        raise tokens.plain_error("subscription is missing: without it no zone can be found")
    access = Access(cloud=cloud, **words)
    found = [
        HostedZoneConfig(origin_of(zone), group, zone, private, access) for (group, zone), private in zones.items()
    ]
    return AzureConfig(tuple(found), fallthrough)
