# -*- test-case-name: tests.node_cache.test_service -*-
"""
node-cache as a resource of the server: interface before the sockets, packet rules once queries are answered, both checked and put right
while it runs, and taken away at the end.

    start ──> interface ──> (sockets open) ──> serving ──> rules ──> checks ... ──> leave ──> (sockets close) ──> stop ──> all removed

A start that fails removes what it made. Nothing is removed with ``-skipteardown``, or when the process is killed: see
:mod:`kdns.node_cache.rules` for what becomes of queries then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.degraded import Fault
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.values import ListenAddress
from kdns.node_cache.config import NodeCacheConfig
from kdns.node_cache.corefile import NodeCorefile
from kdns.node_cache.device import Device, DeviceError
from kdns.node_cache.firewall import Firewall, FirewallError, firewalls_for
from kdns.node_cache.programs import Run
from kdns.node_cache.rules import wanted_rules
from kdns.plugin.http import HttpListener
from kdns.plugin.seam import Resource, ServerContext, Unavailable
from kdns.plugins.prometheus import MetricsPage
from kdns.plugins.prometheus.process import ProcessMetrics

log = Logger(namespace="kdns.node_cache")

DEVICE_INTERVAL = 1.0
"""Seconds between two looks at the interface, which cost 0.1 ms. Without its addresses the node has no DNS."""

FOLDER_INTERVAL = 10.0
"""Seconds between two looks at the template and at the settings of kube-dns."""

ERROR_TYPES = ("configmap", "interface_add", "interface_check", "iptables", "iptables_lock")

T = TypeVar("T")
InThread = Callable[[Callable[[], Any]], Deferred[Any]]


class NodeCache(Resource):
    """
    The node's part of one server.

    :param device: the interface; None when another program makes it.
    :param run: runs programs of the packet filter; None when another program makes the rules.
    :param in_thread: calls a function that waits, without the reactor waiting for it.
    """

    at_parent = True

    def __init__(
        self,
        context: ServerContext,
        config: NodeCacheConfig,
        corefile: NodeCorefile,
        device: Device | None,
        run: Run | None,
        in_thread: InThread | None = None,
    ) -> None:
        self._context = context
        self._config = config
        self._corefile = corefile
        self._device = device
        self._run = run
        self._in_thread = in_thread or self._in_pool
        self._rules = wanted_rules(config.addresses, config.port, config.health_port) if run is not None else ()
        self._firewalls: list[Firewall] = []
        self._lock = DeferredLock()
        self._timers: dict[str, Timer] = {}
        self._serving = self._ending = False
        self._page: MetricsPage | None = None
        self._listener: HttpListener | None = None
        errors = context.registry.counter(
            "coredns_nodecache_setup_errors_total",
            "Errors while the interface, the packet rules or the Corefile of the node's cache were set up.",
            ("errortype",),
        )
        self._errors = {kind: errors.counter(kind) for kind in ERROR_TYPES}
        condition = context.degraded.condition
        self._conditions = {
            name: condition(Fault.NODE_CACHE, f"node-cache {name}")
            for name in ("interface", "packet rules", "settings")
        }
        corefile.fault = self._settings_fault

    # Life

    def start(self) -> None:
        """
        Make the interface, so that the sockets behind it can be bound.

        :raises Unavailable: it cannot be made.
        """
        if self._device is not None:
            try:
                added = self._device.put_right()
            except DeviceError as error:
                self._device_failed(error)
                self._remove_what_was_made()
                raise Unavailable(f"node-cache: {error}") from None
            if added:
                log.info("Interface {name} has the addresses {added} now", name=self._device.name, added=added)
        self._show_metrics()

    def serving(self) -> None:
        """Add the packet rules, and watch over everything from now on."""
        self._serving = True
        self._check_rules()
        if self._device is not None:
            self._later("interface", DEVICE_INTERVAL, self._check_device)
        self._later("files", FOLDER_INTERVAL, self._check_files)

    def leave(self) -> Deferred[None] | None:
        """
        Have queries go to the cluster's DNS from now on.

        Rules that hold only while a socket is open need not be deleted: connections go on through them, and new queries pass by them
        when the sockets close.
        """
        self._end_checks()
        if self._config.skip_teardown or all(firewall.conditional for firewall in self._firewalls):
            return None
        return self._locked(self._remove_incoming)

    def stop(self) -> Deferred[None] | None:
        """Remove rules and interface."""
        self._end_checks()
        for condition in self._conditions.values():
            condition.forget()
        if self._page is not None:
            self._page.stop()
        closed = self._listener.stop() if self._listener is not None else None
        if not self._serving:
            self._remove_what_was_made()
            return closed
        removed = self._locked(self.remove_all)
        return removed if closed is None else removed.addCallback(lambda _: closed)

    def _end_checks(self) -> None:
        self._ending = True
        for timer in self._timers.values():
            stop_timer(timer)
        self._timers.clear()

    def remove_all(self) -> None:
        """Remove rules and interface, unless they are to stay; waits for programs."""
        if self._config.skip_teardown:
            return
        log.info("Removing packet rules and interface")
        try:
            for firewall in self._found_firewalls():
                firewall.remove()
        except FirewallError as error:
            self._count(error)
            log.error("Packet rules stay: {error}", error=str(error))
        if self._device is not None:
            try:
                self._device.remove()
            except DeviceError as error:
                log.error("{error}", error=str(error))

    def _remove_what_was_made(self) -> None:
        """After a start that failed: the addresses must not attract queries that nobody answers."""
        if self._device is not None and self._device.made and not self._config.skip_teardown:
            try:
                self._device.remove()
            except DeviceError as error:
                log.error("{error}", error=str(error))

    def _show_metrics(self) -> None:
        """All metrics on a page of their own, as node-cache has them; a port that is taken does not keep the node from DNS."""
        config = self._config
        self._page = MetricsPage(self._context, ProcessMetrics())
        self._listener = HttpListener(self._context, ListenAddress(config.metrics_host, config.metrics_port))
        try:
            self._listener.serve({"/metrics": self._page})
        except Unavailable as error:
            log.error("No page of metrics: {error}", error=str(error))

    # Packet rules

    def _check_rules(self) -> None:
        if not self._rules or self._ending:
            return
        self._later("rules", self._config.interval, self._check_rules)
        self._locked(self._put_rules_right).addCallbacks(self._rules_right, self._rules_failed)

    def _put_rules_right(self) -> list[str]:
        """In a thread."""
        return [] if self._ending else [line for firewall in self._found_firewalls() for line in firewall.put_right()]

    def _found_firewalls(self) -> list[Firewall]:
        if not self._firewalls and self._run is not None:
            self._firewalls = firewalls_for(self._rules, self._run)
        return self._firewalls

    def _rules_right(self, made: list[str]) -> None:
        for line in made:
            log.info("Added packet rule: {line}", line=line)
        if not self._ending:
            self._conditions["packet rules"].end(self._context.wall(), log)

    def _rules_failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, FirewallError):
            log.failure("Packet rules could not be checked", failure=failure)
            return
        self._count(error)
        if not self._ending:
            self._conditions["packet rules"].begin(str(error), self._context.wall(), log)

    def _remove_incoming(self) -> None:
        """In a thread. Replies to queries that came already stay exempt, or tracking would take them for the beginning of something."""
        for firewall in self._firewalls:
            try:
                firewall.remove(incoming_only=True)
            except FirewallError as error:
                self._count(error)

    def _count(self, error: FirewallError) -> None:
        self._errors["iptables_lock" if error.locked else "iptables"].inc()

    # The interface

    def _check_device(self) -> None:
        assert self._device is not None
        try:
            missing = self._device.missing()
        except DeviceError as error:
            self._device_failed(error)
            missing = None
        if missing is None:
            self._device_right("")
        else:
            self._locked(self._put_device_right).addCallbacks(self._device_right, self._device_not_right)

    def _put_device_right(self) -> str:
        """In a thread."""
        assert self._device is not None
        return "" if self._ending else self._device.put_right()

    def _device_right(self, added: str) -> None:
        if self._ending:
            return
        assert self._device is not None
        self._conditions["interface"].end(self._context.wall(), log)
        if added:
            log.warn("Interface {name} had lost {added}; they are back", name=self._device.name, added=added)
            stop_timer(self._timers.get("rules"))
            self._check_rules()  # what removed the addresses mostly removes the rules, too
        self._later("interface", DEVICE_INTERVAL, self._check_device)

    def _device_not_right(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, DeviceError):
            self._device_failed(error)
        else:
            log.failure("The interface could not be put right", failure=failure)
        self._later("interface", DEVICE_INTERVAL, self._check_device)

    def _device_failed(self, error: DeviceError) -> None:
        for kind in ("interface_check",) if error.looking else ("interface_add", "interface_check"):
            self._errors[kind].inc()
        if not self._ending:
            self._conditions["interface"].begin(str(error), self._context.wall(), log)

    # Template and settings

    def _check_files(self) -> None:
        if self._corefile.changed():
            self._context.check_reload()
        self._later("files", FOLDER_INTERVAL, self._check_files)

    def _settings_fault(self, text: str | None) -> None:
        condition, now = self._conditions["settings"], self._context.wall()
        if text is None:
            condition.end(now, log)
        else:
            self._errors["configmap"].inc()
            condition.begin(text, now, log)

    # Waiting

    def _later(self, name: str, seconds: float, what: Callable[[], None]) -> None:
        if not self._ending:
            self._timers[name] = self._context.reactor.callLater(seconds, what)

    def _locked(self, work: Callable[[], T]) -> Deferred[T]:
        """Do *work* in a thread, one after the other."""
        return self._lock.run(self._in_thread, work)

    def _in_pool(self, work: Callable[[], Any]) -> Deferred[Any]:
        reactor = self._context.reactor
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)
