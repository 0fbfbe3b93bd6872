"""Tests of :mod:`kdns.cli.checking`."""
