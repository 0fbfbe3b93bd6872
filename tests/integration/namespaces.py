# -*- test-case-name: tests.integration.test_node_cache -*-
"""
A node, a pod on it and the cluster's DNS, each in a network namespace of its own.

    pod 10.244.1.2 ──── 10.244.1.1 node 10.244.9.1 ──── 10.244.9.2 the cluster's DNS

The node translates the addresses of Services as kube-proxy does. ``python -m tests.integration.namespaces NAME WORDS...`` runs Python with
these words in a namespace.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from twisted.trial.unittest import SkipTest

from tests.integration.programs import Program

_CLONE_NEWNET = 0x40000000

SERVICE, UPSTREAM_SERVICE, LOCAL = "10.96.0.10", "10.96.0.11", "169.254.20.10"
CLUSTER_DNS = "10.244.9.2"

T = TypeVar("T")


def enter(name: str) -> None:
    """Move this thread into a namespace."""
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(descriptor)


def inside(name: str, work: Callable[[], T]) -> T:
    """Call a function in a namespace. A socket that it makes belongs there for good."""

    def there() -> T:
        enter(name)
        return work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(there).result()


class Node:
    """The three namespaces, made for one test."""

    def __init__(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can make network namespaces")
        if not shutil.which("ip"):
            raise SkipTest("ip is not installed (Debian: iproute2)")
        self.node, self.pod, self.cluster = (f"kdns-{os.getpid()}-{what}" for what in ("node", "pod", "cluster"))
        self._made: list[str] = []

    def make(self) -> None:
        """Make them. Call :meth:`remove` whatever becomes of it."""
        for name in (self.node, self.pod, self.cluster):
            try:
                command("ip", "netns", "add", name)
            except AssertionError as error:
                raise SkipTest(f"no network namespace can be made here: {error}") from None
            self._made.append(name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        for name, subnet in ((self.pod, "10.244.1"), (self.cluster, "10.244.9")):
            here = f"v{subnet.rpartition('.')[2]}"
            command("ip", "-n", self.node, "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", name)
            for space, device, host in ((self.node, here, 1), (name, "eth0", 2)):
                command("ip", "-n", space, "addr", "add", f"{subnet}.{host}/24", "dev", device)
                command("ip", "-n", space, "link", "set", device, "up")
            command("ip", "-n", name, "route", "add", "default", "via", f"{subnet}.1")
        self.run(
            "ip", "route", "add", "default", "via", CLUSTER_DNS
        )  # translation comes after the first choice of a route
        inside(self.node, lambda: _write("/proc/sys/net/ipv4/ip_forward", "1"))

    def remove(self) -> None:
        """Remove them, with all that is in them."""
        for name in self._made:
            command("ip", "netns", "delete", name)

    def run(self, *words: str) -> str:
        """What a command says on the node."""
        return command("ip", "netns", "exec", self.node, *words)

    def succeeds(self, *words: str) -> bool:
        """Whether a command ends with 0 on the node."""
        done = subprocess.run(["ip", "netns", "exec", self.node, *words], capture_output=True, check=False)
        return done.returncode == 0

    def translate_with_iptables(self) -> None:
        """What kube-proxy does in iptables mode, and the chain that tells which backend the kubelet uses."""
        self.run("iptables", "-t", "mangle", "-N", "KUBE-KUBELET-CANARY")
        for address in (SERVICE, UPSTREAM_SERVICE):
            for chain in ("PREROUTING", "OUTPUT"):
                for protocol in ("udp", "tcp"):
                    to = ("-d", address, "-p", protocol, "--dport", "53", "-j", "DNAT", "--to", CLUSTER_DNS)
                    self.run("iptables", "-t", "nat", "-A", chain, *to)

    def translate_with_nft(self) -> None:
        """What kube-proxy does in nftables mode."""
        to = f"ip daddr {{ {SERVICE}, {UPSTREAM_SERVICE} }} dnat to {CLUSTER_DNS};"
        chains = "".join(
            f"chain nat-{hook} {{ type nat hook {hook} priority -100; {to} }}\n" for hook in ("prerouting", "output")
        )
        self.run("nft", f"table ip kube-proxy {{ {chains} }}")

    def program(self, name: str, words: Sequence[str], environment: dict[str, str] | None = None) -> Program:
        """Run Python in a namespace."""
        return Program(["-m", "tests.integration.namespaces", name, *words], environment)


class ClusterDns:
    """
    The cluster's DNS: every name has the address 10.96.1.1, over UDP and TCP.

    :ivar asked: queries that came.
    """

    ANSWER = bytes.fromhex("c00c 0001 0001 00000005 0004 0a600101")

    def __init__(self, namespace: str) -> None:
        self.asked = 0
        self._end, self._ended = socket.socketpair()
        self._sockets = inside(namespace, self._bound)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and have connections refused."""
        self._end.close()
        self._thread.join()

    def _bound(self) -> list[socket.socket]:
        made = [socket.socket(type=kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for one in made:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((CLUSTER_DNS, 53))
        made[1].listen(100)
        return made

    def _serve(self) -> None:
        datagrams, listening = self._sockets
        connections: dict[int, tuple[socket.socket, bytearray]] = {}
        poll = select.poll()
        for one in (*self._sockets, self._ended):
            poll.register(one, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._ended.fileno():
                    for one in (*self._sockets, self._ended, *(made for made, _ in connections.values())):
                        one.close()
                    return
                if number == datagrams.fileno():
                    query, client = datagrams.recvfrom(4096)
                    datagrams.sendto(self._reply(query), client)
                elif number == listening.fileno():
                    made, _ = listening.accept()
                    connections[made.fileno()] = made, bytearray()
                    poll.register(made, select.POLLIN)
                elif not self._read(*connections[number]):
                    poll.unregister(number)
                    connections.pop(number)[0].close()

    def _read(self, connection: socket.socket, buffer: bytearray) -> bool:
        try:
            data = connection.recv(4096)
        except OSError:
            return False
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= (end := 2 + int.from_bytes(buffer[:2], "big")):
            reply = self._reply(bytes(buffer[2:end]))
            connection.sendall(len(reply).to_bytes(2, "big") + reply)
            del buffer[:end]
        return bool(data)

    def _reply(self, query: bytes) -> bytes:
        self.asked += 1
        end = query.index(0, 12) + 5
        counts = bytes.fromhex("8180 0001 0001 0000 0000")
        return query[:2] + counts + query[12:end] + self.ANSWER


def command(*words: str) -> str:
    """
    What a command says.

    :raises AssertionError: it fails.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    enter(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
