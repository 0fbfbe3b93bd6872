"""``tls``: the certificate of encrypted listeners, and which clients they take."""

from kdns.plugins.tls.config import directive

__all__ = ["directive"]
