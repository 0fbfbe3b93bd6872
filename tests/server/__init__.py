"""Tests of :mod:`kdns.server`."""
