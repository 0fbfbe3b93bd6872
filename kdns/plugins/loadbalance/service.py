# -*- test-case-name: tests.plugins.loadbalance.test_service -*-
"""The weight file, read at the start and looked at from time to time."""

from __future__ import annotations

from twisted.logger import Logger

from kdns.core.config_files import config_file_status, read_config_file
from kdns.core.degraded import Fault
from kdns.core.stamps import Stamp
from kdns.core.text import reason_of
from kdns.core.timing import Timer, stop_timer
from kdns.corefile.errors import SetupError
from kdns.corefile.values import format_duration
from kdns.plugin.seam import Resource, ServerContext
from kdns.plugins.loadbalance.weights import Weights, parse_weights

log = Logger(namespace="plugin/loadbalance")


class WeightFile(Resource):
    """
    The weights of one file.

    A file that is not there may come later, unless nobody looks again. One that cannot be read or holds no weights fails the start; later
    the weights known stay as they are.
    """

    def __init__(self, path: str, every: float, context: ServerContext) -> None:
        self._path = path
        self._every = every
        self._context = context
        self._degraded = context.degraded.condition(Fault.WEIGHT_FILE, f"weight file {path}")
        self._timer: Timer | None = None
        self._seen: tuple[int, int] | None = None
        self.weights: Weights = {}
        self.stamp = Stamp()
        """Moves when the weights change: orders given out under the old ones are dead."""

    def start(self) -> None:
        """
        Read the file.

        :raises SetupError: it holds something else, or it cannot be read and nobody will look again.
        """
        try:
            self._look()
        except FileNotFoundError as error:
            if not self._every:
                raise SetupError("weight file open error", plugin="loadbalance", located=False) from error
            self._degraded.begin("not there yet", self._context.wall())
            log.warn(
                "Failed to open weight file:weight file open error. Will try again in {every}",
                every=format_duration(self._every),
            )
        except OSError as error:
            text = f"weight file {self._path}: {reason_of(error)}"
            raise SetupError(text, plugin="loadbalance", located=False) from error
        except ValueError as error:
            raise SetupError(str(error), plugin="loadbalance", located=False) from error
        self._wait()

    def stop(self) -> None:
        """Look no more."""
        stop_timer(self._timer)
        self._timer = None
        self._degraded.forget()

    def _wait(self) -> None:
        if self._every > 0:
            self._timer = self._context.reactor.callLater(self._every, self._again)

    def _again(self) -> None:
        self._wait()
        try:
            self._look()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                self._seen = None
            self._degraded.begin(f"not read again: {error}", self._context.wall(), log)

    def _look(self) -> None:
        status = config_file_status(self._path)
        seen = (status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        text = read_config_file(self._path).decode()
        self._seen = seen  # what makes no sense is not tried again before it changes
        weights = parse_weights(text, self._path)
        log.info("Successfully reloaded weight file {path}", path=self._path)
        self._degraded.end(self._context.wall(), log)
        if weights != self.weights:
            self.weights = weights
            self.stamp.bump()
