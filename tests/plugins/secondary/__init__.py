"""Tests of kdns.plugins.secondary."""
