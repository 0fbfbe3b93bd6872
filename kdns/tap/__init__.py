"""``twistd kdns``: its options and its service; :mod:`kdns.tap.daemon` is what ``kdns`` runs, too."""

from kdns.tap.daemon import Daemon
from kdns.tap.options import Options, makeService

__all__ = ["Daemon", "Options", "makeService"]
