"""Tests of :mod:`kdns.checking`."""
