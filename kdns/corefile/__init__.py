"""
The Corefile language: text to server blocks with places, and errors that name them.

:func:`load_file` and :func:`load_text` are the way in. A plugin reads its directive through a :class:`Dispenser` and its values with
:mod:`kdns.corefile.values`; :func:`server_keys` and :func:`zones_or_keys` tell for which zones.
"""

from kdns.corefile.dispenser import Dispenser
from kdns.corefile.errors import CorefileError, ParseError, Place, SetupError
from kdns.corefile.keys import ServerKey, Zone, server_keys, zones_of, zones_or_keys
from kdns.corefile.loader import Corefile, load_file, load_text
from kdns.corefile.order import CONFIGURATION_ONLY, DIRECTIVE_ORDER
from kdns.corefile.parser import Surroundings
from kdns.corefile.tree import Directive, ServerBlock

__all__ = [
    "CONFIGURATION_ONLY",
    "DIRECTIVE_ORDER",
    "Corefile",
    "CorefileError",
    "Directive",
    "Dispenser",
    "ParseError",
    "Place",
    "ServerBlock",
    "ServerKey",
    "SetupError",
    "Surroundings",
    "Zone",
    "load_file",
    "load_text",
    "server_keys",
    "zones_of",
    "zones_or_keys",
]
