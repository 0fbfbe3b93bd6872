"""Tests of :mod:`kdns.cli.sizing`."""
