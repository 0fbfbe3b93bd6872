"""The ``kdns`` command: CoreDNS's flags, its output and its exit codes."""
