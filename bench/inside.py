"""
kdns as its command runs it, with a stopwatch inside: how long each turn of the reactor takes, and each garbage collection.

A turn is the time between two polls. Twisted's epoll reactor keeps its poll object in an attribute; that object is wrapped, so what is
measured is everything that kdns and Twisted do between being woken and waiting again, and nothing is added but looks at two clocks: a turn
is long for a client by the wall clock, but when other processes compete for the cores only its processor time is kdns's own.
A profile is a sample of the stack at each tick of the processor time that is used: unlike cProfile it makes small functions no slower.
Commands come over a socket that the benchmark hands down; each is answered with a line of JSON.
"""

from __future__ import annotations

import gc
import json
import signal
import socket
import sys
import time
from collections import Counter
from types import FrameType
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor as running

from kdns.cluster.index import ClusterIndex
from kdns.cluster.objects import Upsert
from kdns.cluster.projection import Projector
from kdns.cluster.resources import Needs, watched_for

LONG = 0.005
"""Seconds: longer turns are counted."""

TICK = 0.001
"""Seconds of processor time from one sample to the next; the system may make it some more."""

COLLECTING = "(collecting garbage)"
"""A place for what no function does."""

reactor: Any = running  # to mypy it is a module


class Stopwatch:
    """The poll object of the reactor, and the time between its polls."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self.register = poller.register
        self.modify = poller.modify
        self.unregister = poller.unregister
        self.close = poller.close
        self._woken = time.perf_counter()
        self._worked = time.thread_time()
        self._collecting = 0.0
        self._collected = 0.0
        self._counting = True
        self.forget()
        gc.callbacks.append(self._collection)

    def forget(self) -> None:
        """Begin anew; the turn under way does not count."""
        self.turns = 0
        self.busy = 0.0
        self.longest: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self.most_work = 0.0
        self.long = 0
        self.long_work = 0
        self.collections: dict[int, list[float]] = {0: [], 1: [], 2: []}
        self._counting = False

    def poll(self, timeout: float, most: int) -> Any:
        """Wait, and note the turn that ends here."""
        took = time.perf_counter() - self._woken
        if self._counting:
            self.turns += 1
            self.busy += took
            work = time.thread_time() - self._worked
            self.longest = max(self.longest, (took, work, self._collected))
            self.most_work = max(self.most_work, work)
            self.long += took > LONG
            self.long_work += work > LONG
        self._counting = True
        found = self._poller.poll(timeout, most)
        self._collected = 0.0
        self._woken = time.perf_counter()
        self._worked = time.thread_time()
        return found

    def _collection(self, phase: str, about: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        else:
            self._collected += now - self._collecting
            self.collections[about["generation"]].append(now - self._collecting)

    def figures(self) -> dict[str, Any]:
        """What was noted, in seconds."""
        return {
            "turns": self.turns,
            "busy": self.busy,
            "longest": self.longest,
            "most_work": self.most_work,
            "long": self.long,
            "long_work": self.long_work,
            "collections": {
                generation: [len(times), max(times, default=0.0)] for generation, times in self.collections.items()
            },
        }


class Sampler:
    """Where the processor time goes: which function runs at each tick, and which are above it on the stack."""

    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._with_callees: Counter[str] = Counter()
        self._samples = 0

    def start(self) -> None:
        """Sample from now on."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)

    def stop(self) -> dict[str, Any]:
        """Sample no more; how many samples there are in all, in each function, in each line, and in each with what it calls."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        return {
            "samples": self._samples,
            "own": self._own,
            "lines": self._lines,
            "with callees": self._with_callees,
        }

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._samples += 1
        place = _place(frame)
        self._own[place] += 1
        self._lines[f"{place} {frame.f_lineno}"] += 1
        above = set()
        while frame is not None:
            above.add(_place(frame))
            frame = frame.f_back
        self._with_callees.update(above)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    if code is Stopwatch._collection.__code__:
        return COLLECTING  # a signal that comes in a collection is seen at its end, which is there
    return f"{code.co_filename} {code.co_qualname}"


class Control:
    """The benchmark's end of the socket, as a reader of the reactor."""

    def __init__(self, sock: socket.socket, stopwatch: Stopwatch) -> None:
        self._socket = sock
        self._stopwatch = stopwatch
        self._sampler = Sampler()
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "benchmark"

    def connectionLost(self, reason: Any) -> None:
        """The benchmark has gone."""
        reactor.removeReader(self)

    def doRead(self) -> Exception | None:
        """One command at a time; nobody sends two before the first is answered."""
        words = self._socket.recv(4096).decode().split()
        if not words:
            return EOFError()
        answer: object = None
        if words[0] == "figures":
            answer = self._stopwatch.figures()
        elif words[0] == "compare":
            answer = compare(words[1])
        elif words[0] == "collect":
            began = time.perf_counter()
            gc.collect()
            answer = {"seconds": time.perf_counter() - began, "objects": len(gc.get_objects())}
        elif words[0] == "sample":
            self._sampler.start()
        elif words[0] == "samples":
            answer = self._sampler.stop()
            self._sampler = Sampler()
        elif words[0] == "freeze":
            gc.collect()
            gc.freeze()
        self._socket.sendall(json.dumps(answer).encode() + b"\n")
        self._stopwatch.forget()
        return None


def compare(url: str) -> dict[str, Any]:
    """Whether the index holds what an index made from a fresh list of everything holds; stops everything else meanwhile."""
    gc.unfreeze()  # the daemon freezes what it has when it begins to serve, and what is frozen is not among the objects
    (index,) = (thing for thing in gc.get_objects() if isinstance(thing, ClusterIndex))
    gc.freeze()
    fresh, projector = ClusterIndex(), Projector()
    count = 0
    for watched in watched_for(Needs()):
        with urlopen(url + watched.uri({}), timeout=60) as response:
            listed = projector.page(watched.kind, response.read())
        for change in projector.changes(watched.kind, listed.items):
            assert isinstance(change, Upsert), change
            fresh.apply(change, 1.0)
            count += 1
    return {"equal": index.same_as(fresh), "objects": count}


def main(arguments: list[str]) -> int:
    """``DESCRIPTOR WORDS...``: run ``kdns WORDS``."""
    poller = getattr(reactor, "_poller", None)
    if poller is None:
        print("the stopwatch needs the epoll reactor", file=sys.stderr)
        return 1
    stopwatch = reactor._poller = Stopwatch(poller)
    Control(socket.socket(fileno=int(arguments[0])), stopwatch)
    from kdns.cli.main import main as kdns

    return kdns(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
