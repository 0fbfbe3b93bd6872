# -*- test-case-name: tests.admin.test_client -*-
"""The client against servers that do not do as they should; against the real one see :mod:`tests.admin.test_service`."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from select import select
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from kdns.admin import client
from kdns.admin.client import AdminError, NobodyAnswers, NotAllowed, SaidNo, Session, ask


class ClientTests(SynchronousTestCase):
    """One question each."""

    def setUp(self) -> None:
        """A folder, and defaults that lie in it."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = str(self.folder / "kdns.sock")
        self.listed: list[str] = []
        self.patch(client, "default_places", lambda *arguments: (str(self.folder / "a"), str(self.folder / "b")))
        self.patch(client, "_listed", lambda: self.listed)

    def serve(self, path: str, reply: bytes) -> None:
        """A server that takes connections, reads a little, says *reply* and hangs up."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(5)

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    if connection.recv(65536):
                        connection.sendall(reply)

        thread = Thread(target=answer, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(listener.close)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    def test_result(self) -> None:
        """The result is returned."""
        self.serve(self.path, b'{"result":{"a":1}}\n')
        self.assertEqual(ask(self.path, "x"), {"a": 1})

    def test_error(self) -> None:
        """What the server objects to is raised in its words."""
        self.serve(self.path, b'{"error":"not today"}\n')
        self.assertEqual(str(self.assertRaises(SaidNo, ask, self.path, "x")), "not today")

    def test_session(self) -> None:
        """One connection carries all questions. It tells when the server is gone, and the next question opens another one."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(5)
        self.addCleanup(listener.close)
        replies = [b'{"result":{"a":1}}\n', b'{"error":"no"}\n']

        def serve_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                for reply in replies:
                    connection.recv(65536)
                    connection.sendall(reply)

        session = Session(self.path, patience=10)
        self.addCleanup(session.close)
        self.assertIsNone(session.fileno())
        for _ in range(2):
            thread = Thread(target=serve_one, daemon=True)
            thread.start()
            self.assertEqual(session.ask("x"), {"a": 1})
            self.assertRaises(SaidNo, session.ask, "x")
            thread.join(10)
            descriptor = session.fileno()
            assert descriptor is not None
            self.assertEqual(select([descriptor], [], [], 10)[0], [descriptor])
            self.assertRaises(AdminError, session.ask, "x")
            self.assertIsNone(session.fileno())

    def test_nobody(self) -> None:
        """Nobody there, or a file that a dead server left: both say that no kdns answers at the path."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        for path in (self.path, str(self.folder / "none")):
            error = self.assertRaises(NobodyAnswers, ask, path, "x")
            self.assertTrue(str(error).startswith(f"no kdns answers at {path}: "), error)

    def test_nobody_anywhere(self) -> None:
        """Without a path all places that were tried are named, with what to look at."""
        error = self.assertRaises(NobodyAnswers, ask, None, "x")
        self.assertTrue(str(error).startswith(f"no kdns answers at {self.folder / 'a'}, {self.folder / 'b'}."), error)
        self.assertIn("--socket", str(error))

    def test_default_place(self) -> None:
        """Without a path the places are tried in their order."""
        self.serve(str(self.folder / "b"), b'{"result":{"at":"b"}}\n')
        self.assertEqual(ask(None, "x"), {"at": "b"})

    def test_elsewhere(self) -> None:
        """When nobody is where this user's would be, one that the kernel knows of is asked, but not one of several."""
        self.serve(self.path, b'{"result":{"at":"elsewhere"}}\n')
        self.listed = [str(self.folder / "gone"), self.path]
        self.assertEqual(ask(None, "x"), {"at": "elsewhere"})
        second = str(self.folder / "second")
        self.serve(second, b"")
        self.listed.append(second)
        error = self.assertRaises(AdminError, ask, None, "x")
        self.assertEqual(str(error), f"several kdns run here; say which with --socket: {self.path}, {second}")

    def test_strangers(self) -> None:
        """What another user serves under the name is not asked; root asks it where it was told the path, and says so."""
        self.serve(self.path, b'{"result":{}}\n')
        self.patch(client, "peer_uid", lambda connection: 4711)
        self.patch(os, "geteuid", lambda: 1000)
        self.assertIn("belongs to user 4711", str(self.assertRaises(NotAllowed, ask, self.path, "x")))
        self.listed = [self.path]
        for uid in (1000, 0):
            self.patch(os, "geteuid", lambda uid=uid: uid)
            self.assertIn("belongs to user 4711", str(self.assertRaises(NotAllowed, ask, None, "x")))
        self.assertIn(f"--socket '{self.path}'", str(self.assertRaises(NotAllowed, ask, None, "x")))
        self.assertEqual(ask(self.path, "x"), {})

    def test_no_commands_for_terminals(self) -> None:
        """Nothing that a server says is more than printable text: not in values, names, lists or errors."""
        self.serve(self.path, b'{"result":{"a\\u001b":["\\u001b[2J",{"b":"c\\n\\u009b"},[["\\u202e"]],1,null]}}\n')
        self.assertEqual(ask(self.path, "x"), {"a\\x1b": ["\\x1b[2J", {"b": "c\\n\\u009b"}, [["\\u202e"]], 1, None]})
        other = str(self.folder / "other")
        self.serve(other, b'{"error":"\\u001b]0;x\\u0007"}\n')
        self.assertEqual(str(self.assertRaises(SaidNo, ask, other, "x")), "\\x1b]0;x\\a")

    def test_odd_servers(self) -> None:
        """What hangs up, and what says something else, is told apart."""
        for number, (reply, wanted) in enumerate(
            (
                (b"", "hung up"),
                (b'{"result":', "hung up"),
                (b"HTTP/1.1 400\n", "no kdns"),
                (b"[]\n", "no kdns"),
                (b'{"result":1}\n', "no kdns"),
            )
        ):
            path = f"{self.path}{number}"
            self.serve(path, reply)
            self.assertIn(wanted, str(self.assertRaises(AdminError, ask, path, "x")))

    def test_silence(self) -> None:
        """A server that takes the question and says nothing is not waited for without end."""
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(self.path)
            silent.listen(1)
            error = self.assertRaises(AdminError, ask, self.path, "x", patience=0.01)
        self.assertEqual(str(error), "kdns did not answer within 0.01 s: it is overloaded or stuck")
