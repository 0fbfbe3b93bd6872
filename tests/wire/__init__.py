"""Tests of :mod:`kdns.wire`."""
