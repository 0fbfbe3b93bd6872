"""
The fake API server under the orders of a benchmark: a process that reads commands from its standard input and answers with JSON lines.

``relist`` ends all watches with a 410, ``churn RATE SECONDS SAMPLES`` changes slices at a rate, ``flood COUNT`` as fast as they are taken,
``mark`` changes one. A change that somebody wants to see arrive is told before (``soon``) and after (``done``), with the monotonic clock of
the machine, which all processes share: when the change began, and when the socket had taken the event.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineOnlyReceiver

from tests.apiserver import ApiServer, FaultKind, WatchListSupport
from tests.apiserver.bulk import Bulk, endpoint_slice, namespace_of
from tests.apiserver.objects import managed_fields, timestamp
from tests.apiserver.resources import ENDPOINT_SLICES, Json
from tests.apiserver.server import ServerOptions

SAMPLED = 64
"""Headless services whose slices change only when somebody looks."""

WARNING = 0.02
"""Seconds between ``soon`` and the change."""

FLOOD = 32
"""Changes in one turn of a flood."""


class Driver(LineOnlyReceiver):
    """Carries the commands out."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, api: ApiServer, bulk: Bulk) -> None:
        self._reactor = reactor
        self._api = api
        self._bulk = bulk
        self._round = 0
        self._sample = 0
        self._left = 0

    def tell(self, **fields: object) -> None:
        """Say something."""
        print(json.dumps(fields), flush=True)

    def lineReceived(self, line: bytes) -> None:
        """One command."""
        words = line.decode().split()
        if words[0] == "relist":
            struck = self._api.disturb(FaultKind.STATUS, code=410, message="too old resource version")
            self.tell(relist=struck)
        elif words[0] == "churn":
            self._churn(int(words[1]), float(words[2]), int(words[3]))
        elif words[0] == "flood":
            self._left = int(words[1])
            self._flood()
        elif words[0] == "mark":
            self._announce()

    def connectionLost(self, reason: Any = None) -> None:
        """Nobody gives orders any more."""
        if self._reactor.running:
            self._reactor.stop()

    def _next(self, index: int) -> Json:
        """The next state of a slice: endpoints that it never had."""
        self._round += 1
        stamp = timestamp(self._reactor.seconds())
        obj = endpoint_slice(self._api.cluster, index, self._bulk, stamp, self._round)
        obj["metadata"]["managedFields"] = managed_fields(
            obj, ENDPOINT_SLICES.api_version, "kube-controller-manager", stamp
        )
        return obj

    def _change(self, index: int) -> None:
        self._api.cluster.store.replace(ENDPOINT_SLICES, self._next(index))

    def _any(self) -> int:
        """A slice that is not sampled."""
        while True:
            index = self._api.rng.randrange(self._bulk.slices)
            if index % 10 != 9 or index // 10 >= SAMPLED:
                return index

    def _announce(self) -> None:
        self._sample += 1
        index = (self._sample % min(SAMPLED, self._bulk.services // 10)) * 10 + 9
        obj = self._next(index)
        self.tell(
            soon=self._sample,
            name=f"service-{index:05d}.{namespace_of(index, self._bulk)}.svc.cluster.local",
            addresses=[endpoint["addresses"][0] for endpoint in obj["endpoints"]],
        )
        self._reactor.callLater(WARNING, self._sampled, self._sample, obj)

    def _sampled(self, sample: int, obj: Json) -> None:
        began = time.monotonic()
        self._api.cluster.store.replace(ENDPOINT_SLICES, obj)
        # The event leaves when this turn of the reactor ends; the clock is read again when the socket has it.
        self._reactor.callLater(0, self._told, sample, began)

    def _told(self, sample: int, began: float) -> None:
        self.tell(done=sample, began=began, sent=time.monotonic())

    def _churn(self, rate: int, seconds: float, samples: int) -> None:
        every = max(1, rate // samples) if samples else 0
        left = round(rate * seconds)
        ticks = 0

        def tick(times: int) -> None:
            nonlocal ticks
            for _ in range(times):
                ticks += 1
                if ticks > left:
                    if ticking.running:
                        ticking.stop()
                        self._reactor.callLater(2 * WARNING, self.tell, churned=left)
                    return
                if every and ticks % every == 0:
                    self._announce()
                else:
                    self._change(self._any())

        ticking = LoopingCall.withCount(tick)
        ticking.clock = self._reactor
        ticking.start(1.0 / rate, now=False)

    def _flood(self) -> None:
        """Change on, as long as the watch is not behind."""
        if self._api.lag("endpointslices") < 4 * FLOOD:
            for _ in range(min(FLOOD, self._left)):
                self._change(self._any())
                self._left -= 1
        if self._left:
            self._reactor.callLater(0, self._flood)
        else:
            self.tell(flooded=True)


def main(arguments: list[str]) -> None:
    """``KUBECONFIG SERVICES SLICES PODS STREAMED``: serve, and obey."""
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO

    running: Any = reactor  # to mypy it is a module
    kubeconfig, services, slices, pods, streamed = Path(arguments[0]), *map(int, arguments[1:])
    support = WatchListSupport.SERVED if streamed else WatchListSupport.REFUSED_422
    api = ApiServer(running, ServerOptions(watch_list=support))
    bulk = Bulk(services, slices, pods=pods)
    api.populate(services, slices, bulk.endpoints, bulk.namespaces, pods)
    api.start()
    api.kubeconfig(kubeconfig)
    driver = Driver(running, api, bulk)
    StandardIO(driver)
    running.callWhenRunning(driver.tell, url=api.url)
    running.run()


if __name__ == "__main__":
    main(sys.argv[1:])
