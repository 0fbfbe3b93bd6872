"""
``twistd kdns``: its options and its service; :mod:`kdns.tap.daemon` is what ``kdns`` runs, too.

``kdns`` has its own command line, so what only twistd needs is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdns.tap.daemon import Daemon
    from kdns.tap.options import Options, makeService

__all__ = ["Daemon", "Options", "makeService"]

_ROOMS = {"Daemon": "kdns.tap.daemon", "Options": "kdns.tap.options", "makeService": "kdns.tap.options"}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
