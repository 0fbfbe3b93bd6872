# -*- test-case-name: tests.integration.test_workers -*-
"""
The process that workers are forked from.

A worker that is started as a program of its own takes 45 MB, most of it Python, Twisted and kdns. Forked from a process that has
imported them it shares their pages. The parent itself must not be forked once it has a running reactor, sockets and threads. So it forks
this process before it has any of them. This process forks workers when the parent says so, and says when one has ended.

When the parent dies, however it dies, the kernel kills the fork server, and thereby its workers (``PR_SET_PDEATHSIG``).

A command is a datagram: ``fork NUMBER`` with the worker's end of its channel, or ``kill NUMBER``. A message to the parent is
``ended NUMBER STATUS``, with the status as ``waitpid`` gives it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15

LARGEST = 256
"""Bytes of a command or message."""

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The parent takes the signals; a terminal or a service manager sends them to all processes of a group."""

Run = Callable[[int, socket.socket], None]
"""What a worker does, given its number and its end of the channel; the process ends when it returns."""


def die_with_parent(parent: int, name: str) -> None:
    """Have the kernel kill this process when its parent, process *parent*, ends; *name* is what ``ps`` and ``top`` show."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        library.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the kernel was told


class ForkServer:
    """
    The parent's side.

    :param run: what a worker does.
    :param ended: called with the number and the status of each worker that has ended, and with 0 when the fork server itself has.
    """

    def __init__(self, reactor: Any, run: Run, ended: Callable[[int, int], None]) -> None:
        self._reactor = reactor
        self._run = run
        self._ended = ended
        self._control: socket.socket | None = None
        self._reader: _Reader | None = None

    def start(self) -> None:
        """Fork it. The process must have one thread, and nothing open that workers must not have."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.freeze()  # a collection in a worker would write to every object, and so copy its page
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        if os.fork() == 0:
            ours.close()
            _serve(theirs, parent, self._run)
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        self._reader = _Reader(self._reactor, ours, self._received)
        self._reader.startReading()

    def fork(self, number: int) -> socket.socket:
        """Fork a worker; returns the parent's end of its channel."""
        assert self._control is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            socket.send_fds(self._control, [b"fork %d" % number], [theirs.fileno()])
        ours.setblocking(False)
        return ours

    def kill(self, number: int) -> None:
        """Kill a worker, if it has not ended."""
        if self._control is not None:
            self._control.send(b"kill %d" % number)

    def stop(self) -> None:
        """End the fork server, and with it all workers."""
        if self._reader is not None:
            self._reader.stopReading()
        if self._control is not None:
            self._control.close()
        self._reader = self._control = None

    def _received(self, message: bytes) -> None:
        if not message:
            self.stop()
            self._ended(0, 0)
            return
        _, number, status = message.split()
        self._ended(int(number), int(status))


class _Reader(FileDescriptor):
    """Reads messages of the fork server."""

    def __init__(self, reactor: Any, control: socket.socket, received: Callable[[bytes], None]) -> None:
        super().__init__(reactor)
        self.fileno = control.fileno  # type: ignore[method-assign]  # Twisted's way to delegate it
        self._control = control
        self._received = received

    def logPrefix(self) -> str:
        """The name in Twisted's log."""
        return "kdns.workers"

    def doRead(self) -> None:
        """Hand on what is there."""
        try:
            message = self._control.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        self._received(message)

    def connectionLost(self, reason: Failure) -> None:
        """The fork server is gone."""
        self.stopReading()


# In the fork server


def _serve(control: socket.socket, parent: int, run: Run) -> NoReturn:
    """Fork workers until the parent is gone."""
    try:
        die_with_parent(parent, "kdns-fork")
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        workers: dict[int, int] = {}  # number by process
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == woken:
                    os.read(woken, LARGEST)
                    _reap(control, workers)
                elif not _obey(control, workers, (woken, waker), run):
                    os._exit(0)
    finally:
        os._exit(1)


def _obey(control: socket.socket, workers: dict[int, int], wakers: tuple[int, int], run: Run) -> bool:
    """Carry out a command; whether there was one."""
    message, descriptors, _, _ = socket.recv_fds(control, LARGEST, 1)
    if not message:
        return False
    command, text = message.split()
    number = int(text)
    if command == b"kill":
        for process, of in workers.items():
            if of == number:
                os.kill(process, signal.SIGKILL)
        return True
    server = os.getpid()
    process = os.fork()
    if process == 0:
        _become_worker(control, server, wakers, number, descriptors[0], run)
    workers[process] = number
    os.close(descriptors[0])
    return True


def _become_worker(
    control: socket.socket, server: int, wakers: tuple[int, int], number: int, descriptor: int, run: Run
) -> NoReturn:
    status = 1
    try:
        die_with_parent(server, f"kdns-worker-{number}")
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for waker in wakers:
            os.close(waker)
        control.close()
        run(number, socket.socket(fileno=descriptor))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reap(control: socket.socket, workers: dict[int, int]) -> None:
    while workers:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not process:
            return
        control.send(b"ended %d %d" % (workers.pop(process), status))
