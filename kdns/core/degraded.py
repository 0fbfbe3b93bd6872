# -*- test-case-name: tests.core.test_degraded -*-
"""
What is degraded at present, and since when: a file that cannot be read, a watch that fails, an upstream that is down.

The code that notices a fault holds a :class:`Condition`. It calls :meth:`Condition.begin` while the fault lasts and :meth:`Condition.end`
when it is over; both log the change. :class:`DegradedStates` is the one list of these states: ``kdns status``, ``kdns explain``,
``/ready/why``, the web page and the metric ``kdns_degraded`` show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple

from twisted.logger import Logger

ANY = "*"
"""Stands for all plugins in :class:`Explained`."""


class Explained(NamedTuple):
    """What a kind of fault means to an operator."""

    label: str
    """Value of the label ``what`` of ``kdns_degraded``."""

    means: str
    do: str
    plugin: str = ""
    """The plugin whose answers suffer, :data:`ANY` for all; empty when answers stay as they are."""


class Fault(Enum):
    """The kinds of faults."""

    CLUSTER_DATA = Explained(
        "cluster_data",
        "The cluster has not been read whole since the start. Unknown names get SERVFAIL, or answers come from a snapshot.",
        "Make the API server reachable and allow kdns to list and watch; `kdns status` shows each watch.",
        "kubernetes",
    )
    WATCH = Explained(
        "watch",
        "Changes of these objects do not arrive. Names are answered from the last known state.",
        "Check the API server, the network to it, and the ClusterRole of kdns. kdns retries by itself.",
        "kubernetes",
    )
    WATCH_FROZEN = Explained(
        "watch_frozen",
        "The connection of a watch stays open and passes nothing, so changes came late. kdns opens another one.",
        "Look for a proxy or load balancer between kdns and the API server that keeps dead connections.",
        "kubernetes",
    )
    MANIFESTS = Explained(
        "manifests",
        "Part of the manifests cannot be read. What they said before is still served.",
        "Correct the file; kdns reads it again within seconds.",
        "kubernetes",
    )
    SNAPSHOT = Explained(
        "snapshot",
        "Answers are right, but a restart without an API server could not answer names of the cluster.",
        "Make the folder writable and give it space; a damaged snapshot is replaced at the next write.",
    )
    COREFILE = Explained(
        "corefile",
        "The Corefile on disk cannot be used. The configuration before it is still served.",
        "Run `kdns check` on the file, correct it, and kdns takes it over at its next check.",
        ANY,
    )
    MISSING_PLUGIN = Explained(
        "missing_plugin",
        "A directive of the Corefile was left out, as -allow-missing permits. What it would do is not done.",
        "Remove the directive, or use a server that has it.",
        ANY,
    )
    HOSTS_FILE = Explained(
        "hosts_file",
        "The hosts file cannot be read. Its last known content is served.",
        "Restore the file and its permissions; kdns reads it again by itself.",
        "hosts",
    )
    GEOIP_DATABASE = Explained(
        "geoip_database",
        "The database of geoip cannot be read again, or is damaged. What was read before is used.",
        "Replace the file by a whole one, under another name first and then renamed; kdns reads it again by itself.",
        "geoip",
    )
    WEIGHT_FILE = Explained(
        "weight_file",
        "The weights cannot be read again. The last known weights are used.",
        "Correct the file; kdns reads it again by itself.",
        "loadbalance",
    )
    DNSTAP = Explained(
        "dnstap",
        "The reader of dnstap is not there. Answers are right; messages wait, and are dropped when there are too many.",
        "Start the program that reads them, or correct the endpoint; kdns connects by itself.",
    )
    ZONE_FILE = Explained(
        "zone_file",
        "The file of a zone cannot be used. What was read before is served; if nothing was, the zone is answered with SERVFAIL.",
        "Correct or restore the file; kdns reads it again by itself.",
        "file",
    )
    ZONE_TRANSFER = Explained(
        "zone_transfer",
        "No primary sends the zone. The version before is served until it expires; then, or without one, the zone is SERVFAIL.",
        "Check the primaries, the network to them, and whether they allow transfers to this host.",
        "secondary",
    )
    RESOLV_CONF = Explained(
        "resolv_conf",
        "The file that names the upstreams cannot be used. The upstreams that it named before are asked.",
        "Restore the file; it needs at least one `nameserver` line.",
        "forward",
    )
    TRACE = Explained(
        "trace",
        "The collector takes no spans. Answers are right; spans are dropped.",
        "Start the collector, or correct the endpoint of trace; kdns tries again with each batch.",
    )
    UPSTREAM = Explained(
        "upstream",
        "The upstream answers no health checks. Others are asked in its place, or names get SERVFAIL when there is no other.",
        "Ask it with dig from this host; check the network, port 53 and NetworkPolicies.",
        "forward",
    )
    UPSTREAM_LOOP = Explained(
        "upstream_loop",
        "The upstream sends queries back to kdns, so it is not asked.",
        "Forward to a resolver that does not use the cluster DNS itself; see docs/plugins/loop.md.",
        "forward",
    )
    ETCD = Explained(
        "etcd",
        "Changes of etcd do not arrive. Names are answered from the last known state, or with SERVFAIL if there is none.",
        "Make etcd reachable, and check `endpoint`, `credentials` and `tls`; kdns retries by itself.",
        "etcd",
    )
    ETCD_RECORDS = Explained(
        "etcd_records",
        "Values in etcd are not in SkyDNS's form. Their names get SERVFAIL; other names are answered without them.",
        "Correct or delete the keys.",
        "etcd",
    )
    NOMAD = Explained(
        "nomad",
        "Nomad does not say what changes. It is asked for each query, and where it does not answer its last answer is given.",
        "Make Nomad reachable, and check `address` and `token`; kdns retries by itself.",
        "nomad",
    )
    ROUTE53 = Explained(
        "route53",
        "A hosted zone cannot be read, or not all of it. The last version is served, or SERVFAIL if there is none.",
        "Check the credentials of AWS, and that they allow route53:ListResourceRecordSets; kdns retries by itself.",
        "route53",
    )
    AZURE = Explained(
        "azure",
        "A zone cannot be read, or not all of it. The last version is served, or SERVFAIL if there is none.",
        "Check the credentials of Azure, and that they may read the zone; kdns retries by itself.",
        "azure",
    )
    CLOUDDNS = Explained(
        "clouddns",
        "A managed zone cannot be read, or not all of it. The last version is served, or SERVFAIL if there is none.",
        "Check the credentials of Google Cloud, and that they have the role DNS Reader; kdns retries by itself.",
        "clouddns",
    )
    CERTIFICATE = Explained(
        "certificate",
        "The certificate of encrypted listeners has expired, or its files cannot be used. The one read before stays in use.",
        "Renew the certificate, or correct its files; kdns reads them again by itself.",
    )
    SIGNING = Explained(
        "signing",
        "A zone is not signed again: the old one is served until its signatures expire. Or new answers are not: they are SERVFAIL.",
        "Correct what the message names: the zone file, the keys or the folder. A process that signs answers is started again.",
    )
    LOG = Explained(
        "log",
        "Log lines are lost because the output takes them too slowly. Answers are not delayed.",
        "Log less (`class`, `sample` and `budget` of log), or find out why the reader of the output is slow.",
    )
    CACHE = Explained(
        "cache",
        "One client asks so many different names that answers for others are evicted from the cache.",
        "Find out what the client does; `kdns status` shows its names. A larger cache helps only for a while.",
        "cache",
    )
    CLIENT = Explained(
        "client",
        "One client asks so much that some of its queries are refused, so that others get their answers.",
        "Find out what the client does; `kdns status` shows its names. More servers give it a larger share.",
    )
    NODE_CACHE = Explained(
        "node_cache",
        "The interface, the packet rules or the settings of the node's cache are not as wanted, so queries may bypass it or get no answer.",
        "Read what the system or the file says; the container needs NET_ADMIN and iptables or nft. kdns retries by itself.",
    )
    MEMORY = Explained(
        "memory",
        "The process may soon be killed for its memory.",
        "Raise the memory limit; `kdns plan` computes what a cluster needs. Or make cache and table smaller.",
    )


class DegradedState(NamedTuple):
    """Something that does not work as configured."""

    name: str
    """What it is about, as an operator calls it: ``snapshot /var/lib/kdns/snapshot``."""

    since: float
    """Unix seconds."""

    text: str
    """What is wrong."""

    kind: Fault

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        explained = self.kind.value
        return {
            "what": explained.label,
            "name": self.name,
            "since": self.since,
            "text": self.text,
            "means": explained.means,
            "do": explained.do,
        }


class Condition:
    """
    One thing that may be degraded, as its owner sees it.

    The owner forgets the condition when it stops. Two conditions may have the same name: that of an old configuration and that of its
    successor.
    """

    def __init__(self, states: DegradedStates, kind: Fault, name: str) -> None:
        self.kind = kind
        self.name = name
        self._states = states.by_condition

    def begin(self, text: str, now: float, log: Logger | None = None, kind: Fault | None = None) -> bool:
        """
        Something is wrong. Calling it again while that lasts is fine.

        :param now: Unix seconds.
        :param log: gets a line when this is news; None when the caller logs it in other words.
        :param kind: the kind of the fault where it is not that of the condition.
        :return: whether that is news: it worked before, or something else was wrong with it.
        """
        before = self._states.get(self)
        since = now if before is None else before.since
        self._states[self] = DegradedState(self.name, since, text, kind or self.kind)
        news = before is None or before.text != text
        if news and log is not None:
            log.warn("{name}: {text}", name=self.name, text=text)
        return news

    @property
    def text(self) -> str:
        """What is wrong now; empty when nothing is."""
        state = self._states.get(self)
        return "" if state is None else state.text

    def end(self, now: float, log: Logger) -> None:
        """It works; logged if it did not before."""
        state = self._states.pop(self, None)
        if state is not None:
            seconds = max(0.0, now - state.since)
            log.info("{name}: in order again after {seconds:.0f} s", name=self.name, seconds=seconds)

    def forget(self) -> None:
        """It does not exist any more, so nothing is wrong with it."""
        self._states.pop(self, None)


class DegradedStates:
    """The degraded states of a process."""

    def __init__(self) -> None:
        self.by_condition: dict[Condition, DegradedState] = {}

    def condition(self, kind: Fault, name: str) -> Condition:
        """A condition that is in order so far."""
        return Condition(self, kind, name)

    def __iter__(self) -> Iterator[DegradedState]:
        """All states, the longest first; of several with one name and text, the oldest."""
        seen: set[tuple[str, str]] = set()
        for state in sorted(self.by_condition.values(), key=lambda state: state.since):
            if (state.name, state.text) not in seen:
                seen.add((state.name, state.text))
                yield state

    def count(self, kind: Fault) -> int:
        """How many states there are of a kind."""
        return sum(state.kind is kind for state in self)

    def spoiling(self, plugins: set[str]) -> list[DegradedState]:
        """The states that matter to an answer in which these plugins took part."""
        return [state for state in self if state.kind.value.plugin == ANY or state.kind.value.plugin in plugins]
