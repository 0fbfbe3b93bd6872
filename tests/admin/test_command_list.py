# -*- test-case-name: tests.admin.test_command_list -*-
"""What every kdns can be asked."""

from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from kdns import __version__
from kdns.admin.command_list import commands_of
from kdns.plugin.seam import ServerContext
from kdns.server.assembly import read_text
from kdns.server.service import KdnsService
from kdns.testing.memory import MemoryReactor


class OfferedTests(SynchronousTestCase):
    """The commands of a server."""

    def test_about(self) -> None:
        """It says which program it is."""
        context = ServerContext(MemoryReactor(), kernel_sockets=False)
        commands = commands_of(KdnsService(context, lambda: read_text(".\n", {})))
        reply = json.loads(self.successResultOf(commands.run(b'{"command": "about"}')))
        self.assertEqual(reply, {"result": {"version": __version__, "pid": os.getpid()}})
