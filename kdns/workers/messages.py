# -*- test-case-name: tests.workers.test_supervisor -*-
"""
What the parent and its workers say to each other: MessagePack values over a socket pair.

The channel keeps the order of messages. So a worker that has acknowledged a number of bytes has applied every change in them.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from kdns.cluster.objects import Change
from kdns.core.metrics import FamilyReport

# From the parent to a worker


class Prepare(Struct, frozen=True, tag="prepare"):
    """Build a configuration, start its resources and open its sockets; serve it only after :class:`Commit`."""

    number: int
    corefile: bytes
    """A pickled :class:`kdns.corefile.loader.Corefile`: all processes build from the same tree, whatever the files say by now."""

    ports: list[tuple[str, str, int, int]]
    """Scheme, address and port of each endpoint, and the port that was reserved for it."""


class Commit(Struct, frozen=True, tag="commit"):
    """Serve the configuration that was prepared."""

    number: int


class Abandon(Struct, frozen=True, tag="abandon"):
    """Forget the configuration that was prepared: it failed elsewhere."""

    number: int


class Changes(Struct, frozen=True, tag="changes"):
    """What changed in a cluster, or a part of its first copy."""

    cluster: str
    changes: list[Change]


class Copied(Struct, frozen=True, tag="copied"):
    """The first copy of a cluster is complete."""

    cluster: str


class ClusterState(Struct, frozen=True, tag="state"):
    """How well the parent knows a cluster."""

    cluster: str
    synced: bool = False
    from_snapshot: float | None = None
    """When the snapshot was written (Unix seconds) that answers come from; None when they come from the cluster itself."""

    why: str = "the parent process has not told yet"
    """Why it is not synced."""

    pods_are_current: bool = False
    freshness: list[str] = []
    """For the operator."""


class Ask(Struct, frozen=True, tag="ask"):
    """Carry out a line of the admin socket."""

    number: int
    line: bytes


class Collect(Struct, frozen=True, tag="collect"):
    """Tell what was counted."""

    number: int


class Ping(Struct, frozen=True, tag="ping"):
    """Acknowledge what came until now."""


class Leave(Struct, frozen=True, tag="leave"):
    """End in good order."""


# From a worker to the parent


class Hello(Struct, frozen=True, tag="hello"):
    """The first message of a worker."""

    pid: int


class Prepared(Struct, frozen=True, tag="prepared"):
    """The configuration waits for :class:`Commit`, or cannot be served."""

    number: int
    error: str = ""


class Follow(Struct, frozen=True, tag="follow"):
    """Send a copy of a cluster, and then its changes."""

    cluster: str


class Unfollow(Struct, frozen=True, tag="unfollow"):
    """Send no more changes of a cluster."""

    cluster: str


class Acknowledged(Struct, frozen=True, tag="acknowledged"):
    """The first so many bytes of the channel have been applied."""

    received: int


class Told(Struct, frozen=True, tag="told"):
    """The reply to :class:`Ask`."""

    number: int
    reply: bytes


class CheckReport(Struct, frozen=True):
    """A check of readiness."""

    name: str
    zones: str
    ready: bool
    why: str


class Wrong(Struct, frozen=True):
    """Something of a worker that is degraded; see :class:`kdns.core.degraded.DegradedState`."""

    label: str
    name: str
    since: float
    text: str


class Report(Struct, frozen=True, tag="report"):
    """What was counted since the start of the worker, and what its process uses."""

    number: int
    """Of the :class:`Collect`; 0 for a report that nobody asked for."""

    families: list[FamilyReport]


class Checks(Struct, frozen=True, tag="checks"):
    """The readiness of the plugins, and what is degraded, whenever that changes."""

    checks: list[CheckReport]
    degraded: list[Wrong]


class Fatal(Struct, frozen=True, tag="fatal"):
    """A plugin wants the server to end."""

    text: str


ToWorker: TypeAlias = Prepare | Commit | Abandon | Changes | Copied | ClusterState | Ask | Collect | Ping | Leave
ToParent: TypeAlias = Hello | Prepared | Follow | Unfollow | Acknowledged | Told | Report | Checks | Fatal

encode = msgspec.msgpack.Encoder().encode
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
to_parent: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)
