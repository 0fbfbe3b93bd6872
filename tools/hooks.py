"""The hooks of MkDocs, which loads this file by its path: everything is in :mod:`tools.site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.site import on_config, on_files, on_page_markdown  # only now can it be found

__all__ = ["on_config", "on_files", "on_page_markdown"]
