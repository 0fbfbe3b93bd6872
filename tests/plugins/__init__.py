"""Tests of :mod:`kdns.plugins`."""
