"""Tests of :mod:`kdns.core`."""
