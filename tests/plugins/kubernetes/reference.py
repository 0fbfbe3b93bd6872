# -*- test-case-name: tests.plugins.kubernetes.test_reference -*-
"""
A slow, obvious resolver for cluster zones, written from the rules alone: what the plugin is compared with.

It knows nothing of kdns: objects are the API's JSON, names and records are text in lower case with their last dot, and every question goes
through all objects from the beginning. Serials, which no rule gives a value, are written ``SERIAL``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = Mapping[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
IMPORTED_NAME = "multicluster.kubernetes.io/service-name"
SOURCE_CLUSTER = "multicluster.kubernetes.io/source-cluster"

MOST_LINKS = 10


class Said(NamedTuple):
    """A reply, its sections as sets of ``owner ttl TYPE rdata``."""

    rcode: str
    aa: bool
    answer: frozenset[str] = frozenset()
    authority: frozenset[str] = frozenset()
    additional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rules:
    """The options of the directive."""

    zones: tuple[str, ...]
    multicluster: tuple[str, ...] = ()
    pods: str = "disabled"
    ttl: int = 5
    namespaces: tuple[str, ...] = ()
    endpoint_pod_names: bool = False
    endpoints: bool = True
    fallthrough: tuple[str, ...] = ()
    ignore_empty: bool = False
    zonal: bool = False
    own: tuple[str, ...] = ()
    """The server's own addresses."""


class Thing(NamedTuple):
    """One address of a name for one port; without a port where there is none."""

    address: str
    target: str
    port: int | None


class Behind(NamedTuple):
    """What stands behind a name that exists."""

    things: tuple[Thing, ...] = ()
    alias: str = ""


Elsewhere: TypeAlias = Callable[[str, str], Said]
"""What the next plugin says to a name and type."""


@dataclass
class Reference:
    """Answers questions about objects by rules."""

    rules: Rules
    elsewhere: Elsewhere
    services: Sequence[Json] = ()
    slices: Sequence[Json] = ()
    namespaces: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    imports: Sequence[Json] = ()
    _asked: int = field(default=0, init=False)

    # Section 2 and 7: which zone, and what becomes of it.

    def resolve(self, name: str, qtype: str) -> Said:
        """The reply to a question of class IN."""
        inside = [zone for zone in self.rules.zones if _within(name, zone)]
        if not inside:
            return self.elsewhere(name, qtype)
        zone = max(inside, key=len)
        if name == zone:
            return self._apex(zone, qtype)
        if qtype == "SOA":
            return self._nodata(zone)
        if _within(name, "in-addr.arpa.") or _within(name, "ip6.arpa."):
            targets = self._pointers(name) if qtype == "PTR" else []
            if targets:
                return self._said(f"{name} {self.rules.ttl} PTR {target}" for target in targets)
            return self._name_error(name, qtype, zone)
        left = name.removesuffix(zone if zone != "." else ".").removesuffix(".").split(".")
        return self._forward(name, qtype, zone, left)

    def _forward(self, name: str, qtype: str, zone: str, left: list[str]) -> Said:
        if left in (["svc"], ["pod"]):
            return self._nodata(zone)
        if left == ["dns-version"] and qtype == "TXT":
            return self._said([f'{name} 28800 TXT "1.1.0"'])
        if left == ["ns", "dns"]:
            _, glue = self._name_servers(zone)
            return self._said(_address_records(name, qtype, self.rules.ttl, glue)) or self._nodata(zone)
        behind = self._behind(left, zone)
        if behind is None:
            return self._name_error(name, qtype, zone)
        if behind.alias:
            return self._alias(name, qtype, zone, behind.alias)
        if qtype in ("A", "AAAA"):
            addresses = [thing.address for thing in behind.things]
            return self._said(_address_records(name, qtype, self.rules.ttl, addresses)) or self._nodata(zone)
        if qtype == "SRV":
            return self._srv(name, behind.things) or self._nodata(zone)
        return self._nodata(zone)

    def _name_error(self, name: str, qtype: str, zone: str) -> Said:
        if any(_within(name, allowed) for allowed in self.rules.fallthrough):
            return self.elsewhere(name, qtype)
        return Said("NXDOMAIN", True, authority=frozenset([self._soa(zone)]))

    def _nodata(self, zone: str) -> Said:
        return Said("NOERROR", True, authority=frozenset([self._soa(zone)]))

    def _said(self, answer: Iterable[str], additional: Iterable[str] = ()) -> Said | Any:
        """A positive reply; None when there is nothing to say."""
        records = frozenset(answer)
        return Said("NOERROR", True, records, additional=frozenset(additional)) if records else None

    def _soa(self, zone: str) -> str:
        ttl = self.rules.ttl
        below = "" if zone == "." else zone
        return f"{zone} {min(ttl, 300)} SOA ns.dns.{below} hostmaster.{below} SERIAL 7200 1800 86400 {ttl}"

    # Section 5: the apex.

    def _apex(self, zone: str, qtype: str) -> Said:
        if qtype == "SOA":
            return Said("NOERROR", True, frozenset([self._soa(zone)]))
        if qtype == "NS":
            names, _ = self._name_servers(zone)
            records = [f"{zone} {self.rules.ttl} NS {name}" for name in names]
            glue = [
                record
                for name, addresses in names.items()
                for qtype in ("A", "AAAA")
                for record in _address_records(name, qtype, self.rules.ttl, addresses)
            ]
            return self._said(records, glue) or self._nodata(zone)
        return self._nodata(zone)

    def _name_servers(self, zone: str) -> tuple[dict[str, list[str]], list[str]]:
        """The names of the NS records with their addresses, and all addresses."""
        below = "" if zone == "." else zone
        names: dict[str, list[str]] = {}
        for own in self.rules.own:
            for part in self._all_slices():
                service = self._service(_namespace(part), part["metadata"].get("labels", {}).get(SERVICE_NAME, ""))
                if service is None or own not in [address for address, _ in self._endpoints(part)]:
                    continue
                place = f"{_name(service)}.{_namespace(service)}.svc.{below}"
                if _headless(service):
                    for address, label in self._endpoints(part):
                        names.setdefault(f"{label}.{place}", []).append(address)
                elif service["spec"].get("type") != "ExternalName":
                    for address in _cluster_ips(service):
                        names.setdefault(place, []).append(address)
        if not names:
            names = {f"ns.dns.{below}": list(self.rules.own)}
        return names, [address for addresses in names.values() for address in addresses]

    # Section 3: what a name means.

    def _behind(self, left: list[str], zone: str) -> Behind | None:
        """What stands behind the labels left of the zone; None when the name does not exist."""
        if len(left) < 2 or left[-1] not in ("svc", "pod"):
            return None
        kind, namespace, front = left[-1], left[-2], left[:-2]
        if kind == "pod" and self.rules.pods == "disabled":
            return None
        if not self._exposed(namespace):
            return None
        if not front:
            return Behind()
        if kind == "pod":
            return self._pod(front, namespace, zone)
        service, front = front[-1], front[:-1]
        if zone in self.rules.multicluster:
            return self._imported(front, service, namespace, zone)
        return self._service_name(front, service, namespace, zone)

    def _exposed(self, namespace: str) -> bool:
        if self.rules.namespaces and namespace not in self.rules.namespaces:
            return False
        return any(_name(one) == namespace for one in self.namespaces)

    # Section 6: pods and addresses.

    def _pod(self, front: list[str], namespace: str, zone: str) -> Behind | None:
        if len(front) > 3:
            return None
        label = front[-1]
        if label.count("-") == 3 and "--" not in label:
            text = label.replace("-", ".")
        else:
            text = label.replace("-", ":")
        try:
            address = ip_address(text)
        except ValueError:
            return None
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if self.rules.pods == "verified" and not self._is_pod(text, namespace):
            return None
        below = "" if zone == "." else zone
        return Behind((Thing(str(address), f"{label}.{namespace}.pod.{below}", 0),))

    def _is_pod(self, text: str, namespace: str) -> bool:
        for pod in self.pods:
            status = pod.get("status") or {}
            known = [status.get("podIP"), *(entry.get("ip") for entry in status.get("podIPs") or ())]
            gone = status.get("phase") in ("Succeeded", "Failed", "Unknown")
            if _namespace(pod) == namespace and not gone and text in known:
                return True
        return False

    def _pointers(self, name: str) -> list[str]:
        labels = name.removesuffix(".").split(".")
        try:
            if labels[-2:] == ["in-addr", "arpa"]:
                address = str(IPv4Address(".".join(reversed(labels[:-2]))))
            elif labels[-2:] == ["ip6", "arpa"] and all(len(label) == 1 for label in labels[:-2]):
                nibbles = "".join(reversed(labels[:-2]))
                if len(nibbles) != 32:
                    return []
                address = str(IPv6Address(bytes.fromhex(nibbles)))
            else:
                return []
        except ValueError:
            return []
        primary = next(zone for zone in self.rules.zones if not zone.endswith("arpa."))
        below = "" if primary == "." else primary
        allowed = self.rules.namespaces
        for service in self.services:
            if address in _cluster_ips(service) and (not allowed or _namespace(service) in allowed):
                return [f"{_name(service)}.{_namespace(service)}.svc.{below}"]
        found = []
        for part in self._all_slices():
            service_name = part["metadata"].get("labels", {}).get(SERVICE_NAME)
            if not service_name or (allowed and _namespace(part) not in allowed):
                continue
            for known, label in self._endpoints(part):
                if known == address:
                    found.append(f"{label}.{service_name}.{_namespace(part)}.svc.{below}")
        return found

    # Section 4: services.

    def _service(self, namespace: str, name: str) -> Json | None:
        return next((one for one in self.services if (_namespace(one), _name(one)) == (namespace, name)), None)

    def _all_slices(self) -> list[Json]:
        if not self.rules.endpoints:
            return []
        return [part for part in self.slices if part.get("addressType") != "FQDN"]

    def _slices_of(self, namespace: str, service: str, label: str = SERVICE_NAME) -> list[Json]:
        slices = [part for part in self.slices if part.get("addressType") != "FQDN"]
        if label == SERVICE_NAME:
            slices = self._all_slices()
        return [
            part
            for part in slices
            if _namespace(part) == namespace and part["metadata"].get("labels", {}).get(label) == service
        ]

    def _endpoints(self, part: Json) -> list[tuple[str, str]]:
        """The ready addresses of a slice with their labels."""
        return [(address, label) for address, label, _ in self._zoned_endpoints(part)]

    def _zoned_endpoints(self, part: Json) -> list[tuple[str, str, str]]:
        found = []
        for endpoint in part.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for text in endpoint["addresses"]:
                found.append((text, self._label(endpoint, text), endpoint.get("zone") or ""))
        return found

    def _label(self, endpoint: Json, address: str) -> str:
        if endpoint.get("hostname"):
            return str(endpoint["hostname"])
        pod = (endpoint.get("targetRef") or {}).get("name", "")
        if self.rules.endpoint_pod_names and pod and len(pod) < 64:
            return str(pod)
        label = address.replace(".", "-").replace(":", "-")
        return label + "0" if label.endswith("-") else label

    def _service_name(self, front: list[str], name: str, namespace: str, zone: str) -> Behind | None:
        service = self._service(namespace, name)
        if service is None:
            return None
        below = "" if zone == "." else zone
        place = f"{name}.{namespace}.svc.{below}"
        slices = self._slices_of(namespace, name)
        if service["spec"].get("type") == "ExternalName":
            target = str(service["spec"]["externalName"]).lower().removesuffix(".")
            return None if front or _is_address(target) else Behind(alias=f"{target}.")
        ready = any(self._endpoints(part) for part in slices)
        if self.rules.ignore_empty and not _headless(service) and not ready:
            return None
        if len(front) >= 3 and self.rules.zonal and front[-1] == "_zone" and front[-2] in ("pin", "prefer"):
            if not _headless(service):
                return None
            return self._zonal(".".join(front[:-2]), front[-2], slices, place)
        if len(front) > 2:
            return None
        port = tuple(label.removeprefix("_") for label in front) if len(front) == 2 else None
        endpoint = front[0] if len(front) == 1 else ""
        if not endpoint and not _headless(service):
            things = _served(_cluster_ips(service), place, service["spec"].get("ports"), port)
            return None if things is None else Behind(tuple(things))
        return self._of_slices(slices, place, endpoint, port)

    def _of_slices(
        self, slices: Iterable[Json], place: str, endpoint: str, port: tuple[str, ...] | None
    ) -> Behind | None:
        found: list[Thing] = []
        exists = False
        for part in slices:
            for address, label in self._endpoints(part):
                if endpoint and label != endpoint:
                    continue
                things = _served([address], f"{label}.{place}", part.get("ports"), port)
                exists = exists or things is not None
                found += things or ()
        return Behind(tuple(found)) if exists else None

    def _zonal(self, topology: str, word: str, slices: Iterable[Json], place: str) -> Behind:
        near: list[Thing] = []
        every: list[Thing] = []
        for part in slices:
            for address, label, zone in self._zoned_endpoints(part):
                things = _served([address], f"{label}.{place}", part.get("ports"), None) or []
                every += things
                near += things if zone.lower() == topology else []
        return Behind(tuple(near or (every if word == "prefer" else ())))

    def _imported(self, front: list[str], name: str, namespace: str, zone: str) -> Behind | None:
        """Section 4.7."""
        service = next((one for one in self.imports if (_namespace(one), _name(one)) == (namespace, name)), None)
        if service is None or len(front) in (1,) or len(front) > 2:
            return None
        below = "" if zone == "." else zone
        place = f"{name}.{namespace}.svc.{below}"
        slices = self._slices_of(namespace, name, IMPORTED_NAME)
        if self.rules.ignore_empty and not any(self._endpoints(part) for part in slices):
            return None
        cluster = endpoint = ""
        port: tuple[str, ...] | None = None
        if front and any(label.startswith("_") for label in front):
            port = tuple(label.removeprefix("_") for label in front)
        elif front:
            endpoint, cluster = front
        if service["spec"].get("type") != "Headless" and not endpoint:
            things = _served(service["spec"].get("ips") or (), place, service["spec"].get("ports"), port)
            return None if things is None else Behind(tuple(things))
        found: list[Thing] = []
        exists = False
        for part in slices:
            source = part["metadata"]["labels"].get(SOURCE_CLUSTER, "")
            if cluster and source != cluster:
                continue
            some = self._of_slices([part], f"{source}.{place}" if source else place, endpoint, port)
            exists = exists or some is not None
            found += some.things if some else ()
        return Behind(tuple(found)) if exists else None

    # Section 4.4: external names.

    def _alias(self, name: str, qtype: str, zone: str, target: str, before: tuple[str, ...] = ()) -> Said:
        link = f"{name} {self.rules.ttl} CNAME {target}"
        if qtype == "CNAME":
            return Said("NOERROR", True, frozenset([link]))
        if qtype not in ("A", "AAAA"):
            return self._nodata(zone)
        records = self._follow(name, qtype, zone, target, ())
        return Said("NOERROR", True, frozenset(records)) if records else self._nodata(zone)

    def _follow(self, name: str, qtype: str, zone: str, target: str, before: tuple[str, ...]) -> list[str]:
        """The link from *name* to *target* and all that comes behind it; nothing when it leads to nothing."""
        if _within(target, name) or target in before or len(before) > MOST_LINKS:
            return []
        link = f"{name} {self.rules.ttl} CNAME {target}"
        inside = [one for one in self.rules.zones if _within(target, one)]
        if not inside or max(inside, key=len) != zone:
            return [link, *self.resolve(target, qtype).answer]
        behind = self._behind(target.removesuffix(zone).removesuffix(".").split("."), zone)
        if behind is None:
            return []
        if behind.alias:
            more = self._follow(target, qtype, zone, behind.alias, (*before, name))
        else:
            more = list(_address_records(target, qtype, self.rules.ttl, [thing.address for thing in behind.things]))
        return [link, *more] if more else []

    # Section 4.5: SRV.

    def _srv(self, name: str, things: Sequence[Thing]) -> Said | Any:
        weight = max(1, 100 // len(things)) if things else 1
        ttl = self.rules.ttl
        records = [f"{name} {ttl} SRV 0 {weight} {port} {target}" for _, target, port in things if port is not None]
        glue = [
            record
            for address, target, port in things
            if port is not None
            for qtype in ("A", "AAAA")
            for record in _address_records(target, qtype, ttl, [address])
        ]
        return self._said(records, glue)


def _served(
    addresses: Iterable[str], target: str, ports: Sequence[Json] | None, wanted: tuple[str, ...] | None
) -> list[Thing] | None:
    """Each address for each port that is wanted; None when a port is wanted that is not there."""
    if wanted is None:
        numbers = [port.get("port") for port in ports or ()] or [None]
    else:
        numbers = [
            port.get("port")
            for port in ports or ()
            if wanted[0] in ("", port.get("name") or "")
            and wanted[1] in ("", str(port.get("protocol") or "TCP").lower())
        ]
        if not numbers:
            return None
    return [Thing(address, target, number) for address in addresses for number in numbers]


def _address_records(name: str, qtype: str, ttl: int, addresses: Iterable[str]) -> list[str]:
    return [
        f"{name} {ttl} {qtype} {address}"
        for address in addresses
        if qtype == ("AAAA" if ":" in address else "A" if address else "")
    ]


def _within(name: str, zone: str) -> bool:
    return zone == "." or name == zone or name.endswith(f".{zone}")


def _name(one: Json) -> str:
    return str(one["metadata"]["name"])


def _namespace(one: Json) -> str:
    return str(one["metadata"].get("namespace", ""))


def _headless(service: Json) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def _cluster_ips(service: Json) -> list[str]:
    if service["spec"].get("type") == "ExternalName":
        return []
    texts = service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP") or ""]
    return list(dict.fromkeys(text for text in texts if text not in ("", "None")))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
