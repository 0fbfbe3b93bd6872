"""The ``kdns`` command."""
