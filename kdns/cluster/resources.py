# -*- test-case-name: tests.cluster.test_resources -*-
"""
What is watched: which resources a configuration needs, and the paths and options of their lists and watches. A core module.

All namespaces are watched at once, and with the verbs list and watch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from kdns.cluster.objects import Kind

LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"
"""Field selector: pods that are done have no name any more, and there may be very many of them."""

IMPORTED = "multicluster.kubernetes.io/service-name"
"""Label of slices from other clusters; as a selector: that it exists."""


@dataclass(frozen=True, slots=True)
class Watched:
    kind: Kind
    root: str
    """``/api/v1`` or ``/apis/GROUP/VERSION``."""
    plural: str
    labels: str = ""
    """Label selector; empty: all."""
    fields: str = ""
    """Field selector; empty: all."""

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.root.split("/")[2] if self.root.startswith("/apis/") else ""

    @property
    def type_name(self) -> str:
        """The name in log lines: ``*v1.Service``."""
        return f"*{self.root.rsplit('/', 1)[-1]}.{self.kind.value}"

    def uri(self, options: Mapping[str, str], fields: str = "") -> str:
        """
        The path with its query.

        :param fields: a further field selector.
        """
        query = dict(options)
        if self.labels:
            query["labelSelector"] = self.labels
        selectors = ",".join(filter(None, (self.fields, fields)))
        if selectors:
            query["fieldSelector"] = selectors
        pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return f"{self.root}/{self.plural}{'?' if pairs else ''}{pairs}"


CORE = "/api/v1"
DISCOVERY = "/apis/discovery.k8s.io/v1"
MULTICLUSTER = "/apis/multicluster.x-k8s.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Needs:
    """The parts of the cluster that a configuration needs."""

    labels: str = ""
    """Label selector for services, slices and pods."""
    namespace_labels: str = ""
    endpoints: bool = True
    pods: bool = False
    multicluster: bool = False


def watched_for(needs: Needs) -> tuple[Watched, ...]:
    """
    The resources to watch.

    Slices of other clusters are slices like any other, so the watch of all slices brings them along; they have a watch of their own only
    where there is no other (``noendpoints``).
    """
    found = [
        Watched(Kind.NAMESPACE, CORE, "namespaces", needs.namespace_labels),
        Watched(Kind.SERVICE, CORE, "services", needs.labels),
    ]
    if needs.endpoints:
        found.append(Watched(Kind.ENDPOINT_SLICE, DISCOVERY, "endpointslices", needs.labels))
    elif needs.multicluster:
        labels = ",".join(filter(None, (needs.labels, IMPORTED)))
        found.append(Watched(Kind.ENDPOINT_SLICE, DISCOVERY, "endpointslices", labels))
    if needs.pods:
        found.append(Watched(Kind.POD, CORE, "pods", needs.labels, LIVE_PODS))
    if needs.multicluster:
        found.append(Watched(Kind.SERVICE_IMPORT, MULTICLUSTER, "serviceimports"))
    return tuple(found)


def list_options(limit: int, continue_token: str = "") -> dict[str, str]:
    """
    A page of a list.

    There is no ``resourceVersion=0``: the server would answer that from its cache and ignore the limit, so one unpaged list would come, and
    it could be older than what is known already.
    """
    options = {"limit": str(limit)}
    if continue_token:
        options["continue"] = continue_token
    return options


def watch_options(version: str, timeout: int) -> dict[str, str]:
    """Watch from a version on; *timeout* is whole seconds."""
    return {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(timeout),
    }


def stream_options(timeout: int) -> dict[str, str]:
    """Watch that begins with the whole state (WatchList)."""
    return {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": str(timeout),
    }


def probe_options(version: str) -> dict[str, str]:
    """Watch that ends after a second: the changes since a version, if any."""
    return {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1"}


FIRST_PAGE = 100
"""Items of the first page of a list, before anything is known about their size."""

LARGEST_PAGE = 500
"""Items of a page at most."""

PAGE_BYTES = 2 << 20
"""Target size of a page in bytes: finding its items takes 1 ms a MiB, in one turn."""


def next_limit(size: int, items: int) -> int:
    """Items to ask for after a page of *size* bytes."""
    if items <= 0:
        return LARGEST_PAGE
    return max(10, min(LARGEST_PAGE, PAGE_BYTES * items // max(size, 1)))
