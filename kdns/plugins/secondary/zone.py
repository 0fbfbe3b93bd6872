# -*- test-case-name: tests.plugins.secondary.test_zone -*-
"""A zone that is transferred from primaries, and kept up to date."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kdns.core.degraded import Fault
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.values import format_duration
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.file.served import ServedZone
from kdns.plugins.secondary.config import SecondaryZoneConfig
from kdns.plugins.secondary.primary import ask_soa, transfer_in
from kdns.plugins.transfer.config import Peer
from kdns.zones.incoming import TransferFailed
from kdns.zones.refresh import Refresh, State
from kdns.zones.zone import is_newer, serial_of, timers_of

log = Logger(namespace="plugin/secondary")


class SecondaryZone(Resource):
    """One zone of *secondary*."""

    def __init__(self, config: SecondaryZoneConfig, context: ServerContext) -> None:
        self.config = config
        self.served = ServedZone(config.origin, "secondary", context.registry)
        self.served.why = "the zone has not been transferred yet"
        self._context = context
        self._refresh = Refresh(context.random, context.clock())
        self._timer: Timer | None = None
        self._work: Deferred[None] | None = None
        self._again = False
        self._stopped = False
        self._errors: dict[Peer, str] = {}
        """What was logged about each primary since the last success."""

        self._complained: tuple[float, str] | None = None
        self._degraded = context.degraded.condition(Fault.ZONE_TRANSFER, f"zone {self.served.name}")

    # Life

    def start(self) -> None:
        """Transfer the zone at once; nobody waits for it, because a primary that is away must not keep the server from starting."""
        self._stopped = False
        self._attempt()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        stop_timer(self._timer)
        if self._work is not None:
            self._work.cancel()
        self._degraded.forget()
        self.served.stamp.bump()
        old, self.served.zone = self.served.zone, None
        if old is not None:
            self._context.deferred_free.take(old.index)

    def is_primary(self, client: str) -> bool:
        """Whether a NOTIFY from this address is taken."""
        return any(peer.host == client for peer in self.config.primaries)

    def notified(self) -> None:
        """A primary says that there may be a new version."""
        if self._work is not None:
            self._again = True  # the one that is being transferred may be older
        else:
            self._attempt()

    def _plan(self) -> None:
        if not self._stopped:
            pause = max(0.0, self._refresh.next_deadline() - self._context.clock())
            self._timer = self._context.reactor.callLater(pause, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._context.clock()
        if self._refresh.expire(now):
            self._expired()
        if now >= self._refresh.due:
            self._attempt()
        else:
            self._plan()

    def _expired(self) -> None:
        log.warn("Zone {zone} is expired", zone=self.served.name)
        self.served.expire()

    def _attempt(self) -> None:
        stop_timer(self._timer)
        self._timer = None
        self._again = False
        self._work = work = Deferred.fromCoroutine(self._update())
        work.addErrback(self._panicked).addCallback(self._ended)

    def _panicked(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("transferring {zone}", failure, zone=self.served.name)
            self._refresh.failed(self._context.clock())

    def _ended(self, _: None) -> None:
        self._work = None
        if self._again and not self._stopped:
            self._attempt()
        else:
            self._plan()

    # Work

    async def _update(self) -> None:
        """Ask the primaries in their order until one has a new version, or says that there is none."""
        served = self.served
        unchanged = False
        error = ""
        for peer in self.config.primaries:
            try:
                if served.zone is None or await self._has_newer(peer):
                    await self._transfer(peer)
                    return
                unchanged = True
            except TransferFailed as failed:
                error = str(failed)
                served.failed.value += 1
                if self._errors.get(peer) != error:  # once, however often it is tried
                    self._errors[peer] = error
                    log.warn(
                        "Failed to transfer `{zone}' from {peer}: {error}",
                        zone=served.name,
                        peer=str(peer),
                        error=error,
                    )
        now = self._context.clock()
        if unchanged:
            self._well()
            self._refresh.unchanged(now)
            return
        before = self._refresh.state
        pause = self._refresh.failed(now)
        if served.zone is None:
            served.why = f"no primary has sent the zone yet: {error}"
        if self._complained != (pause, error):
            self._complained = (pause, error)
            log.warn(
                "All '{zone}' masters failed to transfer, retrying in {pause}: {error}",
                zone=served.name,
                pause=format_duration(pause),
                error=error,
            )
        if self._refresh.state is State.EXPIRED and before is not State.EXPIRED:
            self._expired()
        self._degraded.begin(f"it has expired; {error}" if served.expired else error, self._context.wall())

    def _well(self) -> None:
        """A primary had an answer: what fails from now on is logged again."""
        self._errors.clear()
        self._complained = None
        self._degraded.end(self._context.wall(), log)
        self.served.confirm()

    async def _has_newer(self, peer: Peer) -> bool:
        zone = self.served.zone
        assert zone is not None
        soa = await ask_soa(self._context, peer, self.config.origin)
        return is_newer(serial_of(soa.rdata), zone.serial)

    async def _transfer(self, peer: Peer) -> None:
        served = self.served
        transfer = await transfer_in(self._context, peer, self.config.origin, served.zone)
        now = self._context.clock()
        self._well()
        if transfer.zone is None:
            self._refresh.unchanged(now)
            return
        old = served.put(transfer.zone, transfer.deltas or (None,))
        self._refresh.transferred(timers_of(transfer.zone.soa.rdata), now)
        if old is not None:
            self._context.deferred_free.take(old.index)
        log.info("Transferred: {zone} from {peer}", zone=served.name, peer=str(peer))
