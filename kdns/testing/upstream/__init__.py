"""A fake upstream resolver: what it answers is data, and it misbehaves on demand, over UDP, TCP and TLS."""

from kdns.testing.upstream.entries import Action, Entry, TcpManners, Truncate, entries_from_json
from kdns.testing.upstream.resolver import FakeUpstream, Received, Step
from kdns.testing.upstream.server import UpstreamDatagrams, UpstreamServer, UpstreamStreams

__all__ = [
    "Action",
    "Entry",
    "FakeUpstream",
    "Received",
    "Step",
    "TcpManners",
    "Truncate",
    "UpstreamDatagrams",
    "UpstreamServer",
    "UpstreamStreams",
    "entries_from_json",
]
