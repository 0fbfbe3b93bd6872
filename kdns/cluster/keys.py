# -*- test-case-name: tests.cluster.test_index -*-
"""
Keys of the stamps that the index bumps: what an answer made from cluster data can depend on.

A key may be noted for things that do not exist, too: that there is no such service is something that changes when it appears.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum


class Serial(Enum):
    """The serials of the index, and the keys of their stamps: bumped when the number changes."""

    CLUSTER = "cluster"
    """Of the zones with this cluster's services."""
    MULTICLUSTER = "multicluster"
    """Of the zones with the services of several clusters."""
    EXTERNAL = "external"
    """Of the zones with external addresses of services."""


def namespace_key(namespace: bytes) -> Hashable:
    """Whether the namespace exists."""
    return ("namespace", namespace)


def service_key(namespace: bytes, name: bytes) -> Hashable:
    """The service, its ready endpoints and the ports of both; not its external addresses, see :func:`external_key`."""
    return ("service", namespace, name)


def external_key(namespace: bytes, name: bytes) -> Hashable:
    """The service itself with its external addresses; its endpoints are not in it."""
    return ("external", namespace, name)


def import_key(namespace: bytes, name: bytes) -> Hashable:
    """The service import, and the ready endpoints and ports of the slices imported for it."""
    return ("import", namespace, name)


def address_key(address: bytes) -> Hashable:
    """Which services have the address as cluster IP, and which endpoints of which services it is, by what names."""
    return ("address", address)


def external_address_key(address: bytes) -> Hashable:
    """Which services have the address as an external one."""
    return ("external address", address)


def pod_key(address: bytes) -> Hashable:
    """Which pods have the address."""
    return ("pod", address)
