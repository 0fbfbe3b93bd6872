"""Tests of ``sign``."""
