"""Answer table, UDP and TCP shells, and the service that owns them."""
