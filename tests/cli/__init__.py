"""Tests of :mod:`kdns.cli`."""
