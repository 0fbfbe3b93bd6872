"""Tests of :mod:`kdns.plugins.web`."""
