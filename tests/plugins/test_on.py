"""Programs are started at events, if that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kdns.corefile.errors import CorefileError
from kdns.plugin.seam import ServerContext
from kdns.plugins.on import PATIENCE, Command, Event, Programs, directive
from tests.support import built, parsed

AT = "Corefile:2 - Error during parsing: "
ERRORS = {
    "on": "Wrong argument count or unexpected line ending after 'on'",
    "on startup": "no command contained in ''",
    'on startup ""': "no command contained in ''",
    "on frob true": "Wrong event name or event not supported: 'frob'",
    'on startup "a \'b"': "error parsing command: EOF found when expecting closing quote.",
    "on startup true {\n frob\n}": "Unexpected token '{', expecting argument",
}


@implementer(IReactorProcess)
class ProgramReactor(Clock):
    """A reactor whose programs end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, tuple[str, ...], Mapping[str, str]]] = []

    def spawnProcess(self, processProtocol: Any, executable: Any, args: Any = (), env: Any = None, path: Any = None,
                     uid: Any = None, gid: Any = None, usePTY: Any = False, childFDs: Any = None) -> Any:  # fmt: skip
        """Remember it."""
        if executable == "missing":
            raise OSError("no such program")
        self.started.append((processProtocol, tuple(args), env))

    def end(self, number: int, status: int = 0) -> None:
        """A program has ended."""
        reason = ProcessDone(0) if not status else ProcessTerminated(status, None, status << 8)
        self.started[number][0].processEnded(Failure(reason))


class OnTests(SynchronousTestCase):
    """Words and programs."""

    def setUp(self) -> None:
        self.reactor = ProgramReactor()
        self.context = ServerContext(self.reactor, clock=self.reactor.seconds, environ={"A": "b"}, programs=True)

    def commands(self, *lines: str) -> tuple[Command, ...]:
        """The value of some lines."""
        made: tuple[Command, ...] = parsed(directive, ".:53 {\n" + "\n".join(lines) + "\n}\n")
        return made

    def programs(self, *lines: str) -> Programs:
        """What runs the programs of some lines."""
        programs = Programs(self.commands(*lines), self.context)
        self.addCleanup(programs.stop)
        return programs

    def test_errors(self) -> None:
        """What is wrong is said in CoreDNS's words, which do not name the plugin."""
        for text, wanted in ERRORS.items():
            error = self.assertRaises(CorefileError, self.commands, text)
            self.assertEqual(str(error), AT + wanted, text)

    def test_words(self) -> None:
        """Words are split like those of a shell, without a shell; a last ampersand is none of them."""
        self.assertEqual(
            self.commands("on STARTUP echo 'a b' \"c d\"", "on shutdown sleep 0 &", "on certrenew true"),
            (
                Command(Event.STARTUP, ("echo", "a b", "c", "d")),
                Command(Event.SHUTDOWN, ("sleep", "0"), background=True),
                Command(Event.CERTRENEW, ("true",)),
            ),
        )

    def test_not_allowed(self) -> None:
        """Without the command line's permission a Corefile with programs is refused."""
        self.context.programs = False
        error = self.assertRaises(CorefileError, built, directive, ".:53 {\n on startup true\n}\n", self.context)
        self.assertIn("-allow-programs", str(error))
        self.context.programs = True
        builder = built(directive, ".:53 {\n on startup true\n}\n", self.context)
        self.assertEqual(len(builder.resources), 1)

    def test_one_after_another(self) -> None:
        """Programs of the start wait for those before them, but for those in the background."""
        programs = self.programs("on startup a", "on shutdown x", "on startup b &", "on startup c d")
        with capturedLogs() as events:
            programs.serving()
            self.assertEqual([args for _, args, _ in self.reactor.started], [("a",)])
            self.reactor.end(0)
            self.assertEqual([args for _, args, _ in self.reactor.started], [("a",), ("b",), ("c", "d")])
        self.assertEqual(self.reactor.started[0][2], {"A": "b"})
        texts = [formatEvent(event).partition(" with ID ")[0] for event in events]
        self.assertEqual(texts, ['Blocking Command "a"', 'Nonblocking Command "b"', 'Blocking Command "c d"'])

    def test_failure(self) -> None:
        """A program that fails, or is not there, is logged, and the next one is started."""
        programs = self.programs("on startup missing", "on startup a", "on startup b")
        with capturedLogs() as events:
            programs.serving()
            self.reactor.end(0, 3)
        texts = [formatEvent(event) for event in events]
        self.assertEqual(len(self.reactor.started), 2)
        self.assertTrue(any("hook: no such program" in text for text in texts), texts)
        self.assertTrue(
            any(text.startswith("error on 'on-") and text.endswith("hook: exit status 3") for text in texts), texts
        )

    def test_end(self) -> None:
        """The end waits for its programs, but not for ever."""
        programs = self.programs("on shutdown a", "on shutdown b")
        left = programs.leave()
        assert left is not None
        self.assertNoResult(left)
        self.reactor.end(0)
        self.assertNoResult(left)
        with capturedLogs() as events:
            self.reactor.advance(PATIENCE)
        self.assertIsNone(self.successResultOf(left))
        self.assertIn("it runs for 60 s", formatEvent(events[0]))
        self.reactor.end(1)

    def test_stop(self) -> None:
        """Nothing is left behind when the configuration goes; a program goes on."""
        programs = self.programs("on startup a")
        programs.serving()
        programs.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.end(0)
