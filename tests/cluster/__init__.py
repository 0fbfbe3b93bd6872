"""Tests of :mod:`kdns.cluster`."""
