"""Tests of kdns.plugins.auto."""
