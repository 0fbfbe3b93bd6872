"""Tests of :mod:`kdns.tap`."""
