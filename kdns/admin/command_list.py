# -*- test-case-name: tests.admin.test_command_list -*-
"""What every kdns can be asked over its admin socket: the one list of commands."""

from __future__ import annotations

import os

from kdns import __version__
from kdns.admin.caches import Caches
from kdns.admin.commands import Arguments, Commands, Result
from kdns.admin.corefile import CorefileDifference
from kdns.admin.explain import Explainer
from kdns.admin.status import Status
from kdns.server.service import KdnsService


def commands_of(server: KdnsService) -> Commands:
    """The commands of a server, for its :class:`~kdns.admin.service.AdminSocket`; a program adds its own."""
    commands = Commands()
    commands.add("about", _about)
    commands.add("explain", Explainer(server))
    caches = Caches(server)
    commands.add("cache.list", caches.list)
    commands.add("cache.get", caches.get)
    commands.add("cache.flush", caches.flush)
    commands.add("status", Status(server))
    commands.add("corefile", CorefileDifference(server))
    server.context.ask = commands.ask
    return commands


def _about(arguments: Arguments) -> Result:
    return {"version": __version__, "pid": os.getpid()}
