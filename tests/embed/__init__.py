"""Tests of :mod:`kdns.embed`."""
