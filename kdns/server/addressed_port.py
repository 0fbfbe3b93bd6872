# -*- test-case-name: tests.server.test_addressed_port -*-
"""
A UDP port on a wildcard address that answers from the address it was asked at.

Twisted's own port leaves the choice to the kernel, which takes the address of the interface that leads to the client. On a host with
several addresses that may be another one than the client asked, and clients of QUIC take no answer from there.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from twisted.internet import udp

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50
"""Linux's numbers, for which not every Python has names."""

MOST_READ = 64
"""Datagrams that are read in one turn of the reactor."""

_SPACE = socket.CMSG_SPACE(20)


class Asked(NamedTuple):
    """The address at which a datagram came in, in the form in which the kernel gives and takes it."""

    level: int
    kind: int
    data: bytes

    @property
    def host(self) -> str:
        """The address as text."""
        if self.level == socket.IPPROTO_IP:
            return socket.inet_ntop(socket.AF_INET, self.data[4:8])
        return socket.inet_ntop(socket.AF_INET6, self.data[:16])


class AddressedPort(udp.Port):
    """Its protocol has a method ``asked(data, addr, asked)`` in place of ``datagramReceived``."""

    protocol: Any

    @classmethod
    def adopt(cls, reactor: Any, bound: socket.socket, protocol: Any, most: int) -> AddressedPort:
        """
        Listen on a socket; the port works on a copy of its descriptor.

        :param most: bytes of a datagram that are read.
        """
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        made = cls._fromListeningDescriptor(reactor, bound.fileno(), bound.family, protocol, most)
        made.startListening()
        assert isinstance(made, AddressedPort), "that is what it makes"
        return made

    def doRead(self) -> None:
        """Read datagrams, and others in the next turn."""
        for _ in range(MOST_READ):
            try:
                data, ancillary, _, addr = self.socket.recvmsg(self.maxPacketSize, _SPACE)
            except OSError:
                return  # there is none, or an error of an earlier one
            asked = next((Asked(*one) for one in ancillary if one[1] in (IP_PKTINFO, IPV6_PKTINFO)), None)
            self.protocol.asked(data, addr, asked)

    def send_from(self, asked: Asked, data: bytes, addr: Any) -> None:
        """
        Send a datagram from the address that was asked.

        :raises OSError: the kernel does not take it.
        """
        self.socket.sendmsg([data], [asked], 0, addr)
