# -*- test-case-name: tests.cluster.test_api -*-
"""What can go wrong when the API is asked, as exceptions with fields; the texts are for the operator."""

from __future__ import annotations

from kdns.cluster.watched import Watched


class WatchProblem(Exception):
    """
    A request that failed, or a stream that broke.

    :ivar watched: what it was about.
    :ivar verb: ``list`` or ``watch``.
    :ivar retry_after: seconds that the server asks to wait, when it does.
    """

    def __init__(self, watched: Watched, verb: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.watched = watched
        self.verb = verb
        self.retry_after = retry_after

    @property
    def cause(self) -> str:
        """One word for the metric that counts them."""
        return "broken"


class ApiRefusal(WatchProblem):
    """The server said no: an HTTP status that is not 200, or an ERROR event."""

    def __init__(
        self, watched: Watched, verb: str, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(watched, verb, _text(watched, verb, status, reason, message), retry_after)

    @property
    def cause(self) -> str:
        """The status."""
        return str(self.status)

    @property
    def expired(self) -> bool:
        """Whether the version or the continue token is too old."""
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def refuses_lists_too(self) -> bool:
        """Whether a list in pages would be refused like a stream of the whole state, for want of credentials or because of the load."""
        return self.status in (401, 403, 429) or self.expired

    @property
    def too_large(self) -> bool:
        """Whether the server does not know so new a version (yet)."""
        return self.status == 504


def _text(watched: Watched, verb: str, status: int, reason: str, message: str) -> str:
    said = f"{message or reason or 'no reason given'}"
    if status == 401:
        return f"the API server refuses the credentials of kdns (401 {said}): the token or certificate is wrong or has ended"
    if status == 403:
        where = f' of API group "{watched.group}"' if watched.group else ""
        return f'{said} (403): kdns needs the verb "{verb}" on resource "{watched.plural}"{where}'
    if status == 404 and watched.group:
        return f"{said} (404): the cluster does not serve {watched.plural} of {watched.root.removeprefix('/apis/')}"
    return f"{said} ({status})"


class Unreachable(WatchProblem):
    """No answer came: no connection, a handshake that failed, or silence."""

    def __init__(self, watched: Watched, verb: str, text: str, tls: bool = False) -> None:
        super().__init__(watched, verb, text)
        self.tls = tls
        """Whether the two did not trust each other."""

    @property
    def cause(self) -> str:
        """What kind of trouble."""
        return "tls" if self.tls else "unreachable"


class NoCredentials(WatchProblem):
    """There is nothing to prove ourselves with: a program failed, or a file is unusable."""

    @property
    def cause(self) -> str:
        """One word."""
        return "credentials"
