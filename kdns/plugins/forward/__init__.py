"""``forward``: ask other resolvers, and relay their replies as they came."""

from kdns.plugins.forward.config import HealthCheck, Stanza
from kdns.plugins.forward.forwarder import Forwarder
from kdns.plugins.forward.plugin import Forward, ForwardDirective, directive
from kdns.plugins.forward.targets import Carrier, NamedTarget, Target, parse_to

__all__ = [
    "Carrier",
    "Forward",
    "ForwardDirective",
    "Forwarder",
    "HealthCheck",
    "NamedTarget",
    "Stanza",
    "Target",
    "directive",
    "parse_to",
]
