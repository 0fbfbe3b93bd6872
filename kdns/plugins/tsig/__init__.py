"""``tsig``: check the signatures of queries, and sign the replies (RFC 8945)."""

from kdns.plugins.tsig.config import directive

__all__ = ["directive"]
