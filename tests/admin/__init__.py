"""Tests of :mod:`kdns.admin`."""
